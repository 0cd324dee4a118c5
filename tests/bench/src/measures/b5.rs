//! Task churn: many short tasks, from submit to all complete.

use std::time::Instant;

use crate::figure::Figure;
use crate::product::{Product, job, purge, register, wait_for_allocs};

const TASKS: usize = 500;
const ROUNDS_MAX: usize = 3;

pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let agents: Vec<_> = products.iter().map(|product| (product, product.start())).collect();
    let mut samples = vec![Vec::new(); agents.len()];
    for number in 0..runs.min(ROUNDS_MAX) {
        for (place, (_, agent)) in agents.iter().enumerate() {
            let client = agent.client();
            let id = format!("b5-{number}");
            let job = job(&id, "batch", "raw_exec", TASKS, "/bin/true", &[]);
            let start = Instant::now();
            register(&client, &job)?;
            wait_for_allocs(&client, &id, "complete", TASKS)?;
            samples[place].push(TASKS as f64 / start.elapsed().as_secs_f64());
            purge(&client, &id)?;
        }
    }
    let figure = |(product, samples): (&Product, _)| Figure::of("b5 short tasks", &product.name, "tasks/s", samples);
    Ok(agents.iter().map(|(product, _)| *product).zip(samples).map(figure).collect())
}
