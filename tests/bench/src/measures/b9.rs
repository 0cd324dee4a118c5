//! Cold start: from the start of the process to the first write that is accepted.

use std::time::{Duration, Instant};

use anyhow::bail;
use drover_harness::AgentConfig;

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
