//! Durable writes to three servers: one after the other, and from many clients at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use crate::cluster::{Cluster, Writing, client, common_writing};
use crate::figure::Figure;
use crate::product::Product;

/// Serial writes of one turn.
const SERIAL: usize = 20;
/// Clients at once.
const CLIENTS: usize = 256;
/// Writes of all of them together in one turn.
const TOGETHER: usize = 4096;
const TURNS_MAX: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let clusters: Vec<Cluster> = products.iter().map(Cluster::start).collect::<anyhow::Result<_>>()?;
    let writing = common_writing(&clusters);
    let places = ["leader", "follower"];
    let mut serial = vec![[Vec::new(), Vec::new()]; products.len()];
    let mut together = vec![Vec::new(); products.len()];
    let mut figures = Vec::new();
    for turn in 0..runs {
        for (product, cluster) in clusters.iter().enumerate() {
            let leader = cluster.leader()?;
            for (place, server) in [leader, (leader + 1) % cluster.servers.len()].into_iter().enumerate() {
                let api = client(&cluster.servers[server].address(), PATIENCE)?;
                for number in 0..SERIAL {
                    let start = Instant::now();
                    writing.write(&api, &format!("s{turn}-{place}-{number}"))?;
                    serial[product][place].push(start.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
    }
    for turn in 0..runs.min(TURNS_MAX) {
        for (product, cluster) in clusters.iter().enumerate() {
            let address = cluster.servers[cluster.leader()?].address();
            together[product].push(at_once(&address, writing, turn)?);
        }
    }
    for (product, (serial, together)) in products.iter().zip(serial.into_iter().zip(together)) {
        let word = writing.word();
        for (place, samples) in places.iter().zip(serial) {
            figures.push(Figure::of(format!("b3 {word} written at the {place}"), &product.name, "ms", samples));
        }
        let name = format!("b3 {word}s from {CLIENTS} clients");
        figures.push(Figure::of(name, &product.name, "writes/s", together));
    }
    Ok(figures)
}

/// Writes per second of many clients.
fn at_once(address: &str, writing: Writing, turn: usize) -> anyhow::Result<f64> {
    let (next, problem) = (AtomicUsize::new(0), Mutex::new(None));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let write = || -> anyhow::Result<()> {
                    let api = client(address, PATIENCE)?;
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= TOGETHER {
                            return Ok(());
                        }
                        writing.write(&api, &format!("m{turn}-{number}"))?;
                    }
                };
                if let Err(error) = write() {
                    // The first one is enough; the others end soon too.
                    next.store(TOGETHER, Ordering::Relaxed);
                    problem.lock().map(|mut problem| *problem = Some(error)).unwrap_or_default();
                }
            });
        }
    });
    let took = begin.elapsed();
    let problem = problem.into_inner().map_err(|_| anyhow!("a client panicked"))?;
    match problem {
        Some(error) => Err(error).context("a write of many"),
        None => Ok(TOGETHER as f64 / took.as_secs_f64()),
    }
}
