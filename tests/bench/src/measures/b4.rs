//! Submit to running: one job after the other on an idle agent.

use std::time::Instant;

use crate::figure::Figure;
use crate::product::{Product, job, purge, register, wait_for_allocs};

pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let agents: Vec<_> = products.iter().map(|product| (product, product.start())).collect();
    let mut figures = Vec::new();
    for driver in ["raw_exec", "exec"] {
        let mut samples = vec![Vec::new(); agents.len()];
        for number in 0..runs {
            for (place, (_, agent)) in agents.iter().enumerate() {
                let client = agent.client();
                let id = format!("b4-{driver}-{number}");
                let job = job(&id, "service", driver, 1, "/bin/sleep", &["300"]);
                let start = Instant::now();
                register(&client, &job)?;
                wait_for_allocs(&client, &id, "running", 1)?;
                samples[place].push(start.elapsed().as_secs_f64() * 1e3);
                purge(&client, &id)?;
            }
        }
        for ((product, _), samples) in agents.iter().zip(samples) {
            figures.push(Figure::of(format!("b4 submit->running {driver}"), &product.name, "ms", samples));
        }
    }
    Ok(figures)
}
