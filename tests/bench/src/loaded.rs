//! A server that holds a large state: how it got there, its way down, and its way up again.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use drover_api_client::{Client, QueryOptions};
use drover_harness::Agent;
use serde_json::Value;

use crate::cluster::{Writing, client};
use crate::fleet::open_server;
use crate::product::Product;

/// The longest wait for anything.
const WAIT_MAX: Duration = Duration::from_secs(600);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How long the data directory must be as it is until nothing of a restore is left to be done.
const QUIET: Duration = Duration::from_secs(3);

/// A server alone, killed and not asked when this is dropped: it may hold very many jobs.
pub struct Loaded(Agent);

impl Deref for Loaded {
    type Target = Agent;
    fn deref(&self) -> &Agent {
        &self.0
    }
}

impl DerefMut for Loaded {
    fn deref_mut(&mut self) -> &mut Agent {
        &mut self.0
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.0.kill_9();
    }
}

/// How long a restart took, from the start of the process.
pub struct Restart {
    /// Until a linearizable read was answered.
    pub read: Duration,
    /// Until a write was.
    pub write: Duration,
}

impl Loaded {
    /// An empty one.
    pub fn start(product: &Product) -> Self {
        Self(open_server(product, "bench-loaded"))
    }

    /// Calls that have time.
    ///
    /// # Errors
    /// Never: the address is one.
    pub fn api(&self) -> anyhow::Result<Client> {
        client(&self.address(), WAIT_MAX)
    }

    /// Restores a snapshot over HTTP; gives how long that took.
    ///
    /// # Errors
    /// It is refused.
    pub fn restore(&self, snapshot: &File) -> anyhow::Result<Duration> {
        let mut file = snapshot.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        let (len, begin) = (file.metadata()?.len(), Instant::now());
        self.api()?.restore_snapshot(file, len, &QueryOptions::default()).context("restore a snapshot")?;
        Ok(begin.elapsed())
    }

    /// Waits until the server has a snapshot of its own of about that length, and writes nothing more.
    ///
    /// # Errors
    /// That does not come.
    pub fn wait_until_settled(&self, snapshot_len: u64) -> anyhow::Result<()> {
        let end = Instant::now() + WAIT_MAX;
        let (mut before, mut since) = (Vec::new(), Instant::now());
        loop {
            let now = files(&self.dir().join("data/server/raft"));
            let has_snapshot = now.iter().any(|(path, len)| {
                path.extension().is_some_and(|extension| extension == "snapshot") && *len >= snapshot_len / 2
            });
            if now != before {
                (before, since) = (now, Instant::now());
            } else if has_snapshot && since.elapsed() >= QUIET {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("no snapshot of {snapshot_len} bytes on disk: {before:?}");
            }
            std::thread::sleep(LOOK_AGAIN * 50);
        }
    }

    /// Bytes of the log, snapshots aside.
    pub fn log_bytes(&self) -> u64 {
        files(&self.dir().join("data/server/raft/log")).iter().map(|(_, len)| len).sum()
    }

    /// Kills it and starts it again; `job` is one that it must know then.
    ///
    /// # Errors
    /// It does not answer in time.
    pub fn restart(&mut self, job: &str, number: usize) -> anyhow::Result<Restart> {
        self.kill_9();
        let begin = Instant::now();
        self.start_again();
        let api = self.api()?;
        let path = format!("/v1/job/{job}");
        let read = self.until(begin, || api.read::<Value>(&path, &QueryOptions::default()).map(drop))?;
        let name = format!("bench-restart-{number}");
        let write = self.until(begin, || Writing::Namespaces.write(&api, &name))?;
        Ok(Restart { read, write })
    }

    fn until<E: std::fmt::Display>(&self, begin: Instant, ask: impl Fn() -> Result<(), E>) -> anyhow::Result<Duration> {
        loop {
            match ask() {
                Ok(()) => return Ok(begin.elapsed()),
                Err(error) if begin.elapsed() > WAIT_MAX => bail!("{error}; {}", self.log()),
                Err(_) => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }
}

/// Files below a directory with their lengths.
fn files(dir: &std::path::Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => found.extend(files(&path)),
            Ok(metadata) => found.push((path, metadata.len())),
            // Gone meanwhile.
            Err(_) => {}
        }
    }
    found.sort();
    found
}

/// How many allocs: what `DROVER_ALLOCS` says, or the usual sizes.
///
/// # Errors
/// It says no number.
pub fn sizes(usual: &[usize]) -> anyhow::Result<Vec<usize>> {
    match std::env::var("DROVER_ALLOCS") {
        Ok(text) => Ok(vec![text.parse().context("DROVER_ALLOCS")?]),
        Err(_) => Ok(usual.to_vec()),
    }
}
