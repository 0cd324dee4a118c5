//! Failover: the longest time without an acknowledged write when the leader of three is killed, and when it is asked to end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use rustix::process::Signal;

use crate::cluster::{Cluster, Writing, client, common_writing};
use crate::figure::Figure;
use crate::product::Product;

/// Writers at each server.
const WRITERS: usize = 2;
/// A write that a dead server has swallowed is given up after this.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two writes of a writer: some 500 in a second by all of them.
const PACE: Duration = Duration::from_millis(10);
/// Writes before the fault, and after it.
const STEADY: usize = 50;
const LOOK_AGAIN: Duration = Duration::from_millis(1);
const WAIT_MAX: Duration = Duration::from_secs(60);

pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let mut clusters: Vec<Cluster> = products.iter().map(Cluster::start).collect::<anyhow::Result<_>>()?;
    let writing = common_writing(&clusters);
    let mut figures = Vec::new();
    for (word, signal) in [("kill -9", Signal::KILL), ("SIGTERM", Signal::TERM)] {
        let mut samples = vec![Vec::new(); products.len()];
        for turn in 0..runs {
            for (place, cluster) in clusters.iter_mut().enumerate() {
                samples[place].push(gap(cluster, writing, signal, &format!("{}-{turn}", signal.as_raw()))?);
                cluster.wait_until_whole()?;
            }
        }
        for (product, samples) in products.iter().zip(samples) {
            let most = samples.iter().copied().fold(0.0, f64::max);
            figures.push(Figure::of(format!("b10 gap at {word}"), &product.name, "ms", samples));
            figures.push(Figure::of(format!("b10 gap at {word}, longest"), &product.name, "ms", vec![most]));
        }
    }
    Ok(figures)
}

/// Milliseconds between two acknowledged writes around the leader's end, the longest.
fn gap(cluster: &mut Cluster, writing: Writing, signal: Signal, turn: &str) -> anyhow::Result<f64> {
    let leader = cluster.leader()?;
    let addresses: Vec<String> = cluster.servers.iter().map(|server| server.address()).collect();
    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let acknowledged = Mutex::new(Vec::new());
    let ended = std::thread::scope(|scope| {
        for (server, address) in addresses.iter().enumerate() {
            for writer in 0..WRITERS {
                let (stop, count, acknowledged) = (&stop, &count, &acknowledged);
                scope.spawn(move || -> anyhow::Result<()> {
                    let api = client(address, PATIENCE)?;
                    for number in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        // What is refused is not acknowledged: the next one may be.
                        if writing.write(&api, &format!("g{turn}-{server}-{writer}-{number}")).is_ok() {
                            acknowledged.lock().map_err(|_| anyhow!("a writer panicked"))?.push(Instant::now());
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        std::thread::sleep(PACE);
                    }
                    Ok(())
                });
            }
        }
        let ended = wait_for_more(&count, STEADY).and_then(|()| {
            let ended = Instant::now();
            if signal == Signal::KILL {
                cluster.servers[leader].kill_9();
            } else {
                cluster.servers[leader].terminate(signal);
            }
            wait_for_more(&count, STEADY)?;
            Ok(ended)
        });
        stop.store(true, Ordering::Relaxed);
        ended
    })?;
    cluster.servers[leader].start_again();
    let mut times = acknowledged.into_inner().map_err(|_| anyhow!("a writer panicked"))?;
    times.sort_unstable();
    let around = times.windows(2).filter(|pair| pair[1] >= ended);
    let longest = around.map(|pair| pair[1].duration_since(pair[0])).max();
    longest.map(|gap| gap.as_secs_f64() * 1e3).ok_or_else(|| anyhow!("no writes around the leader's end"))
}

fn wait_for_more(count: &AtomicUsize, more: usize) -> anyhow::Result<()> {
    let (before, end) = (count.load(Ordering::Relaxed), Instant::now() + WAIT_MAX);
    while count.load(Ordering::Relaxed) < before + more {
        if Instant::now() > end {
            bail!("{more} writes were not acknowledged in {WAIT_MAX:?}");
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}
