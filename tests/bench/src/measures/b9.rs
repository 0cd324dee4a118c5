//! Cold start: from the start of the process, or of three, to the first write that is accepted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use drover_api_client::Client;
use drover_harness::AgentConfig;

use crate::cluster::{Cluster, Writing, client};
use crate::figure::Figure;
use crate::product::{Product, job, register};

const LOOK_AGAIN: Duration = Duration::from_millis(1);
const START_MAX: Duration = Duration::from_secs(60);

pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let mut samples = vec![Vec::new(); products.len()];
    for _ in 0..runs {
        for (place, product) in products.iter().enumerate() {
            let config = AgentConfig::server("bench");
            let start = Instant::now();
            let agent = product.spawn(config);
            let client = agent.client();
            let job = job("b9", "batch", "raw_exec", 1, "/bin/true", &[]);
            loop {
                match register(&client, &job) {
                    Ok(()) => break,
                    Err(error) if start.elapsed() > START_MAX => bail!("{}: {error}", product.name),
                    Err(_) => std::thread::sleep(LOOK_AGAIN),
                }
            }
            samples[place].push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let figure = |(product, samples): (&Product, _)| Figure::of("b9 start->first write", &product.name, "ms", samples);
    Ok(products.iter().zip(samples).map(figure).collect())
}

/// The same for three servers that form a region: whichever of them takes the first write.
pub fn run_three(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let mut samples = vec![Vec::new(); products.len()];
    for _ in 0..runs {
        for (place, product) in products.iter().enumerate() {
            let start = Instant::now();
            let cluster = Cluster::spawn(product);
            let clients = cluster.servers.iter().map(|server| client(&server.address(), START_MAX));
            let clients = clients.collect::<anyhow::Result<Vec<_>>>()?;
            samples[place].push(first_write(&clients, start).with_context(|| product.name.clone())?);
        }
    }
    let figure =
        |(product, samples): (&Product, _)| Figure::of("b9 three start->first write", &product.name, "ms", samples);
    Ok(products.iter().zip(samples).map(figure).collect())
}

/// Milliseconds until one of them has taken a write. Each is asked by a thread of its own: one may hold a write back until it can
/// be done.
fn first_write(clients: &[Client], start: Instant) -> anyhow::Result<f64> {
    let done = AtomicBool::new(false);
    let ask = &|client: &Client| {
        while !done.load(Ordering::Relaxed) && start.elapsed() < START_MAX {
            if Writing::Jobs.write(client, "b9").is_ok() {
                done.store(true, Ordering::Relaxed);
                return Some(start.elapsed());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        None
    };
    let took = std::thread::scope(|scope| {
        let threads: Vec<_> = clients.iter().map(|client| scope.spawn(move || ask(client))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok().flatten()).min()
    });
    took.map(|took| took.as_secs_f64() * 1e3).context("no write was taken")
}
