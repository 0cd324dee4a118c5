//! Submit to running: one job after the other on an idle agent.

use std::time::Instant;

use crate::figure::Figure;
use crate::product::{Product, job, purge, register, wait_for_allocs};

pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let agents: Vec<_> = products.iter().map(|product| (product, product.start())).collect();
    let mut figures = Vec::new();
    for driver in ["raw_exec", "exec"] {
        let mut samples = vec![Vec::new(); agents.len()];
        let mut left_out = vec![false; agents.len()];
        for number in 0..runs {
            for (place, (product, agent)) in agents.iter().enumerate() {
                if left_out[place] {
                    continue;
                }
                let client = agent.client();
                let id = format!("b4-{driver}-{number}");
                let job = job(&id, "service", driver, 1, "/bin/sleep", &["300"]);
                let start = Instant::now();
                register(&client, &job)?;
                if let Err(error) = wait_for_allocs(&client, &id, "running", 1) {
                    if number > 0 {
                        return Err(error);
                    }
                    // A driver that a product can't use on this machine has no figure there.
                    eprintln!("{driver} of {} is left out: {error:#}", product.name);
                    left_out[place] = true;
                    purge(&client, &id)?;
                    continue;
                }
                samples[place].push(start.elapsed().as_secs_f64() * 1e3);
                purge(&client, &id)?;
            }
        }
        for ((product, _), samples) in agents.iter().zip(samples).filter(|(_, samples)| !samples.is_empty()) {
            figures.push(Figure::of(format!("b4 submit->running {driver}"), &product.name, "ms", samples));
        }
    }
    Ok(figures)
}
