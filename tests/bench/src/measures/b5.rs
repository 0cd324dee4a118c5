//! Churn: short batch tasks of one job on one client, from submit until all are complete; and what each takes of a processor.

use std::time::{Duration, Instant};

use crate::figure::Figure;
use crate::product::{Product, ROOM_FOR_MANY, job, lacks_driver, purge, register, wait_for_count};
use crate::usage::{cpu_ms, processes_of};

const TASKS: usize = 2000;
/// A peer that does a tenth of it would take minutes: it runs fewer, which its row says.
const TASKS_OF_PEERS: usize = 500;
const ROUNDS_MAX: usize = 3;
/// The longest that a round may take.
const ROUND_MAX: Duration = Duration::from_secs(600);

pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let start = |product: &Product| product.start_with(ROOM_FOR_MANY);
    let agents: Vec<_> = products.iter().map(|product| (product, start(product))).collect();
    let mut figures = Vec::new();
    for driver in ["raw_exec", "exec"] {
        let mut rates = vec![Vec::new(); agents.len()];
        let mut costs = vec![Vec::new(); agents.len()];
        for number in 0..runs.min(ROUNDS_MAX) {
            for (place, (product, agent)) in agents.iter().enumerate() {
                let client = agent.client();
                if let Some(lack) = lacks_driver(&client, driver)? {
                    eprintln!("{driver} of {} is left out: {lack}", product.name);
                    continue;
                }
                if number > 0 && rates[place].is_empty() {
                    continue;
                }
                let tasks = tasks_of(product);
                let id = format!("b5-{driver}-{number}");
                let job = job(&id, "batch", driver, tasks, "/bin/true", &[]);
                let ids = processes_of(agent, &[]);
                let (start, before) = (Instant::now(), cpu_ms(&ids, true));
                register(&client, &job)?;
                if let Err(error) = wait_for_count(&client, &id, "Complete", tasks, ROUND_MAX) {
                    if number > 0 {
                        return Err(error);
                    }
                    // A driver that a product can't use on this machine has no figure there.
                    eprintln!("{driver} of {} is left out: {error:#}", product.name);
                    purge(&client, &id)?;
                    continue;
                }
                rates[place].push(tasks as f64 / start.elapsed().as_secs_f64());
                // Those that it had before and has still: helpers that came and went count when they were reaped.
                costs[place].push((cpu_ms(&ids, true) - before) / tasks as f64);
                purge(&client, &id)?;
            }
        }
        for (((product, _), rates), costs) in agents.iter().zip(rates).zip(costs) {
            if !rates.is_empty() {
                let what = format!("{} short {driver} tasks", tasks_of(product));
                figures.push(Figure::of(format!("b5 {what}"), &product.name, "tasks/s", rates));
                figures.push(Figure::of(format!("b5 {what}, processor each"), &product.name, "ms", costs));
            }
        }
    }
    Ok(figures)
}

fn tasks_of(product: &Product) -> usize {
    if product.is_drover() { TASKS } else { TASKS_OF_PEERS }
}
