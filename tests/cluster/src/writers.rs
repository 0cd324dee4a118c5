//! Steady small writes to all servers of a region, each remembered once it is acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use drover_api_client::{Client, QueryOptions};
use drover_harness::{Told, wait_for};
use serde_json::{Value, json};

use crate::region::{Place, Region, WHOLE_MAX};

/// The rest after a write that failed: a server that is gone refuses thousands in a second.
const REST: Duration = Duration::from_millis(10);

/// A job without a task to run, as small as jobs are. `note` is its one metadata entry.
pub fn small_job(id: &str, note: &str) -> Value {
    json!({
        "ID": id, "Name": id, "Type": "service", "Datacenters": ["*"], "Meta": { "note": note },
        "TaskGroups": [{
            "Name": "g", "Count": 0,
            "Tasks": [{ "Name": "t", "Driver": "raw_exec", "Config": { "command": "/bin/true" } }],
        }],
    })
}

/// An acknowledged write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The job.
    pub id: String,
    /// The index that was acknowledged.
    pub index: u64,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    count: AtomicUsize,
    written: Mutex<Vec<Written>>,
    last_problem: Mutex<String>,
}

/// Writers, as many for each server; they end with [`Writers::stop`] or when this is dropped.
pub struct Writers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Starts one for each server.
    pub fn start(region: &Region) -> Self {
        Self::start_more(region, 1)
    }

    /// Starts that many for each server: where a write is long on its way, others are under way beside it.
    pub fn start_more(region: &Region, each: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let writer = |(number, place): (usize, &Place)| {
            let (shared, place) = (shared.clone(), place.clone());
            std::thread::spawn(move || write(number, &place, &shared))
        };
        let places = region.places().iter().flat_map(|place| std::iter::repeat_n(place, each));
        Self { threads: places.enumerate().map(writer).collect(), shared }
    }

    /// How many writes are acknowledged.
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// Waits until that many more are acknowledged.
    ///
    /// # Panics
    /// They are not in time.
    pub fn wait_for_more(&self, more: usize, region: &Region) {
        let before = self.count();
        wait_for(&format!("{more} more writes"), WHOLE_MAX, || {
            if self.count() >= before + more {
                return Ok(());
            }
            Err(Told(move || {
                let problem = self.shared.last_problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
                format!("{} more; {problem}\n{}", self.count() - before, region.logs())
            }))
        });
    }

    /// Waits until nothing was acknowledged for that long; gives the time until the last acknowledgement.
    ///
    /// # Panics
    /// It goes on.
    pub fn wait_for_quiet(&self, quiet: Duration) -> Duration {
        let begin = Instant::now();
        let (mut count, mut last) = (self.count(), begin);
        wait_for("an end of the writes", WHOLE_MAX, || {
            let now = self.count();
            if now != count {
                (count, last) = (now, Instant::now());
            }
            if last.elapsed() >= quiet { Ok(()) } else { Err(count.to_string()) }
        });
        last.duration_since(begin)
    }

    /// Ends them; gives all that was acknowledged.
    pub fn stop(mut self) -> Vec<Written> {
        self.end();
        std::mem::take(&mut self.shared.written.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // A writer that panicked has said so; its writes count all the same.
            let _ = thread.join();
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.end();
    }
}

fn write(number: usize, place: &Place, shared: &Shared) {
    let client = place.client();
    for turn in 0.. {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let id = format!("w{number}-{turn}");
        match register(&client, &small_job(&id, &id)) {
            Ok(index) => {
                shared.written.lock().unwrap_or_else(PoisonError::into_inner).push(Written { id, index });
                shared.count.fetch_add(1, Ordering::SeqCst);
            }
            Err(problem) => {
                *shared.last_problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
                std::thread::sleep(REST);
            }
        }
    }
}

/// Registers a job; gives the index that was acknowledged, or what went wrong as text.
///
/// # Errors
/// It was not acknowledged.
pub fn register(client: &Client, job: &Value) -> Result<u64, String> {
    let answer = client.write::<Value>("/v1/jobs", &json!({ "Job": job }), &QueryOptions::default());
    let answer = answer.map_err(|error| error.to_string())?;
    answer.value["JobModifyIndex"].as_u64().ok_or_else(|| format!("no index: {}", answer.value))
}

/// The path that lists all jobs of writers, with their metadata.
pub const JOBS: &str = "/v1/jobs?prefix=w&meta=true";

/// What of the acknowledged writes is not in a server's list of jobs, or not as it was acknowledged.
pub fn missing<'a>(jobs: &Value, written: impl IntoIterator<Item = &'a Written>) -> Vec<String> {
    let jobs: BTreeMap<&str, &Value> =
        jobs.as_array().into_iter().flatten().filter_map(|job| Some((job["ID"].as_str()?, job))).collect();
    let look = |Written { id, index }: &Written| match jobs.get(id.as_str()) {
        None => Some(format!("{id} of index {index} is gone")),
        Some(job) if job["JobModifyIndex"] != *index || job["Meta"]["note"] != *id => {
            Some(format!("{id} of index {index} is another: {job}"))
        }
        Some(_) => None,
    };
    written.into_iter().filter_map(look).collect()
}

/// Reads every acknowledged write back from every server: it is there, as it was acknowledged.
///
/// # Panics
/// One is not, or a server does not answer.
pub fn read_back(region: &Region, written: &[Written]) {
    let begin = Instant::now();
    for number in 0..region.count() {
        let jobs = wait_for("the jobs", WHOLE_MAX, || region.get(number, JOBS));
        let wrong = missing(&jobs, written);
        assert!(wrong.is_empty(), "server {number}: {} acknowledged writes: {wrong:#?}", wrong.len());
    }
    println!(
        "{} acknowledged writes read back from {} servers in {:?}",
        written.len(),
        region.count(),
        begin.elapsed()
    );
}
