//! A snapshot of a very large region: restored, saved while writes go on, and what a start from it costs. Only drover: the
//! snapshot is in its form.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use drover_api_client::{Client, QueryOptions};

use crate::cluster::Writing;
use crate::crowd::{self, CrowdFile};
use crate::figure::Figure;
use crate::loaded::{Loaded, sizes};
use crate::product::Product;
use crate::usage::pss_bytes;

/// How many allocs, of a hundredth as many jobs on a two-hundredth as many nodes; another number by `DROVER_ALLOCS`.
const SIZE: usize = 1_000_000;
/// How long writes are timed with nothing beside them.
const ALONE: Duration = Duration::from_secs(10);
/// Between two writes: few enough that the disk is not the measure.
const PAUSE: Duration = Duration::from_millis(2);
const SAVES_MAX: usize = 3;
const PIECE_BYTES: usize = 256 << 10;
const MIB: f64 = 1024.0 * 1024.0;

pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let [size] = sizes(&[SIZE])?[..] else { bail!("one size") };
    let crowd = CrowdFile::of(size)?;
    let (snapshot, count) = (crowd.open()?, crowd.count);
    let len = snapshot.metadata()?.len();
    for product in products.iter().filter(|product| product.is_drover()) {
        let mut server = Loaded::start(product);
        let restored = server.restore(&snapshot)?;
        let mut put = |what: &str, unit, samples: Vec<f64>| {
            figures.push(Figure::of(format!("b13 {count} allocs, {what}"), &product.name, unit, samples));
        };
        put("file", "MiB", vec![len as f64 / MIB]);
        put("restore", "ms", vec![restored.as_secs_f64() * 1e3]);
        server.wait_until_settled(len)?;
        put("PSS after restore", "MiB", vec![pss_bytes(&server, &[])? / MIB]);
        let api = server.api()?;
        put(
            "write alone",
            "ms",
            writes_beside(&server, "alone", || {
                // The time is the measure's own definition.
                std::thread::sleep(ALONE);
                Ok(())
            })?,
        );
        let mut saves = Vec::new();
        let beside = writes_beside(&server, "beside", || {
            for _ in 0..runs.min(SAVES_MAX) {
                saves.push(save(&api, len)?.as_secs_f64() * 1e3);
            }
            Ok(())
        })?;
        put("write while a snapshot is made", "ms", beside);
        put("save", "ms", saves);
        server.wait_until_settled(len)?;
        let restart = server.restart(crowd::SOME_JOB, 0)?;
        put("start->first read", "ms", vec![restart.read.as_secs_f64() * 1e3]);
        put("start->first write", "ms", vec![restart.write.as_secs_f64() * 1e3]);
        put("PSS after start", "MiB", vec![pss_bytes(&server, &[])? / MIB]);
    }
    if figures.is_empty() { bail!("only drover reads the snapshot that this makes") } else { Ok(figures) }
}

/// Saves a snapshot and reads it whole; gives how long that took.
fn save(api: &Client, like: u64) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let mut answer = api.save_snapshot(&QueryOptions::default()).context("save a snapshot")?;
    let (mut piece, mut len) = (vec![0; PIECE_BYTES], 0);
    loop {
        match answer.body.read(&mut piece)? {
            0 => break,
            some => len += some as u64,
        }
    }
    if len < like / 2 { bail!("a snapshot of {len} bytes, not {like}") } else { Ok(begin.elapsed()) }
}

/// Milliseconds of each small durable write, one after the other, while something else is done.
fn writes_beside(server: &Loaded, name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Vec<f64>> {
    let (over, api) = (AtomicBool::new(false), server.api()?);
    let write = || -> anyhow::Result<Vec<f64>> {
        let mut samples = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let begin = Instant::now();
            Writing::Namespaces.write(&api, &format!("bench-{name}-{}", samples.len() % 100))?;
            samples.push(begin.elapsed().as_secs_f64() * 1e3);
            std::thread::sleep(PAUSE);
        }
        Ok(samples)
    };
    let samples = std::thread::scope(|scope| {
        let writer = scope.spawn(write);
        let done = work();
        over.store(true, Ordering::Relaxed);
        let samples = writer.join().map_err(|_| anyhow!("the writer panicked"))?;
        done.and(samples)
    })?;
    if samples.is_empty() { bail!("nothing was written") } else { Ok(samples) }
}
