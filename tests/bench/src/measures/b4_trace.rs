//! Where the milliseconds of one start go: by the times that server and edge note, and by the calls that wait for the disk.
//!
//! ```text
//! submit .. eval .. alloc .. received .. set up .. started .. reported .. seen
//! ```
//! All of it happens on one host, so that all clocks are one.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::Context;
use drover_api_client::{Client, QueryOptions};
use drover_harness::{Agent, processes};
use rustix::process::Signal;
use serde_json::Value;

use crate::deeds::now_ns;
use crate::figure::Figure;
use crate::product::{Product, job, only_alloc, register, stop_and_rest, wait_for_allocs};
use crate::usage::processes_of;

const DRIVER: &str = "raw_exec";
/// The steps between two times, in their order.
const STEPS: [&str; 7] = ["eval", "alloc", "received", "set up", "started", "reported", "seen"];
/// Starts under the tracer, which slows them down: they are counted and not timed.
const TRACED: usize = 10;
/// Calls that wait for the disk.
const DISK_CALLS: [&str; 5] = ["fsync", "fdatasync", "sync_file_range", "syncfs", "msync"];

pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for product in products {
        let agent = product.start();
        let client = agent.client();
        let mut samples = vec![Vec::new(); STEPS.len()];
        for number in 0..=runs {
            let times = once(&client, &format!("trace-{number}"))?;
            // The first one meets cold caches.
            for (place, pair) in times.windows(2).enumerate().filter(|_| number > 0) {
                samples[place].push((pair[1] - pair[0]) as f64 / 1e6);
            }
        }
        for (step, samples) in STEPS.iter().zip(samples) {
            figures.push(Figure::of(format!("b4-trace {DRIVER} ..{step}"), &product.name, "ms", samples));
        }
        match Tracer::of(&agent) {
            Err(error) => eprintln!("disk calls of {} are not counted: {error:#}", product.name),
            Ok(tracer) => {
                for number in 0..TRACED {
                    once(&client, &format!("traced-{number}"))?;
                }
                for (call, count) in tracer.end()? {
                    let name = format!("b4-trace {call} per start and end");
                    figures.push(Figure::one(name, &product.name, "calls", count as f64 / TRACED as f64));
                }
            }
        }
    }
    Ok(figures)
}

/// The times of one start, one more than there are steps, in nanoseconds since 1970.
fn once(client: &Client, id: &str) -> anyhow::Result<Vec<i64>> {
    let job = job(id, "service", DRIVER, 1, "/bin/sleep", &["300"]);
    let submitted = now_ns() as i64;
    register(client, &job)?;
    wait_for_allocs(client, id, "running", 1)?;
    let seen = now_ns() as i64;
    let options = QueryOptions::default();
    let alloc = client.read::<Value>(&format!("/v1/allocation/{}", only_alloc(client, id)?), &options)?.value;
    let eval_id = alloc["EvalID"].as_str().context("the alloc names no eval")?;
    let eval = client.read::<Value>(&format!("/v1/evaluation/{eval_id}"), &options)?.value;
    let events = alloc["TaskStates"]["t"]["Events"].as_array().cloned().unwrap_or_default();
    let event = |kind: &str| events.iter().find(|event| event["Type"] == kind).and_then(|event| event["Time"].as_i64());
    let time = |value: &Value| value.as_i64();
    let times = [
        ("submitted", Some(submitted)),
        ("the eval's creation", time(&eval["CreateTime"])),
        ("the alloc's creation", time(&alloc["CreateTime"])),
        ("Received", event("Received")),
        ("Task Setup", event("Task Setup")),
        ("Started", event("Started")),
        ("the report", time(&alloc["ModifyTime"])),
        ("seen", Some(seen)),
    ];
    stop_and_rest(client, id)?;
    times.into_iter().map(|(what, time)| time.with_context(|| format!("{id}: no time of {what}"))).collect()
}

/// Counts calls of an agent's processes.
struct Tracer {
    child: Child,
    output: tempfile::NamedTempFile,
}

impl Tracer {
    fn of(agent: &Agent) -> anyhow::Result<Self> {
        let output = tempfile::NamedTempFile::new()?;
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-q", "-e", &format!("trace={}", DISK_CALLS.join(",")), "-o"]).arg(output.path());
        for id in processes_of(agent, &[]) {
            command.args(["-p", &id.to_string()]);
        }
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("run strace")?;
        let tracer = Self { child, output };
        let (end, pid) = (Instant::now() + std::time::Duration::from_secs(10), agent.pid());
        loop {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            if status.lines().any(|line| line == format!("TracerPid:\t{}", tracer.child.id())) {
                return Ok(tracer);
            }
            anyhow::ensure!(Instant::now() < end, "strace does not get hold of the agent");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// How often each call was made.
    fn end(mut self) -> anyhow::Result<Vec<(String, u64)>> {
        processes::signal(self.child.id(), Signal::INT);
        self.child.wait().context("end strace")?;
        let table = std::fs::read_to_string(self.output.path())?;
        let row = |line: &str| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let name = *columns.last().filter(|name| DISK_CALLS.contains(name))?;
            Some((name.to_owned(), columns.get(3)?.parse().ok()?))
        };
        Ok(table.lines().filter_map(row).collect())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Ended already, mostly.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
