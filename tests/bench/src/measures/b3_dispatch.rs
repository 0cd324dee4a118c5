//! Dispatches of parameterized jobs from many clients at once, until each of them has an alloc that is complete. The edges are
//! simulated: they say at once that a task is done. Only drover: a peer has other edges.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use drover_api_client::{Client, QueryOptions};
use serde_json::{Value, json};

use crate::cluster::client;
use crate::figure::Figure;
use crate::fleet::{Edges, open_server};
use crate::product::{Product, job, register};

/// Dispatches of one turn; another number by `DROVER_DISPATCHES`.
const DISPATCHES: usize = 10_000;
const CLIENTS: usize = 200;
const EDGES: usize = 25;
/// Parameterized jobs that they are spread over.
const PARENTS: usize = 5;
const TURNS_MAX: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest that the last may take to complete.
const COMPLETE_MAX: Duration = Duration::from_secs(300);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let count = match std::env::var("DROVER_DISPATCHES") {
        Ok(text) => text.parse().context("DROVER_DISPATCHES")?,
        Err(_) => DISPATCHES,
    };
    // As many of each parent.
    let count = (count / PARENTS).max(1) * PARENTS;
    let mut figures = Vec::new();
    for product in products.iter().filter(|product| product.is_drover()) {
        let (mut accepted, mut after, mut complete) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..runs.min(TURNS_MAX) {
            // A server of its own for each turn: the jobs of an earlier one would be a load of their own.
            let server = open_server(product, "bench-dispatch");
            let _edges = Edges::start(&server, EDGES)?;
            let parents: Vec<String> = (0..PARENTS).map(|number| format!("b3-dispatch-{turn}-{number}")).collect();
            let api = client(&server.address(), PATIENCE)?;
            for parent in &parents {
                let mut job = job(parent, "batch", "raw_exec", 1, "/bin/true", &[]);
                job["ParameterizedJob"] = json!({});
                register(&api, &job)?;
            }
            let begin = Instant::now();
            dispatch(&server.address(), &parents, count)?;
            let taken = begin.elapsed();
            wait_until_complete(&api, &parents, count / PARENTS)?;
            let all = begin.elapsed();
            accepted.push(count as f64 / taken.as_secs_f64());
            after.push((all - taken).as_secs_f64());
            complete.push(count as f64 / all.as_secs_f64());
        }
        let name = |what: &str| format!("b3-dispatch {what}");
        figures.push(Figure::of(name(&format!("accepted from {CLIENTS} clients")), &product.name, "1/s", accepted));
        figures.push(Figure::of(name("all complete after the last"), &product.name, "s", after));
        figures.push(Figure::of(name("complete"), &product.name, "1/s", complete));
    }
    if figures.is_empty() { bail!("only drover has simulated edges") } else { Ok(figures) }
}

/// Dispatches from many clients; gives back when all are accepted.
fn dispatch(address: &str, parents: &[String], count: usize) -> anyhow::Result<()> {
    let (next, problem) = (AtomicUsize::new(0), Mutex::new(None));
    let one_client = || -> anyhow::Result<()> {
        let api = client(address, PATIENCE)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            let path = format!("/v1/job/{}/dispatch", parents[number % parents.len()]);
            api.write::<Value>(&path, &json!({}), &QueryOptions::default())?;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                if let Err(error) = one_client() {
                    // The first one is enough; the others end soon too.
                    next.store(count, Ordering::Relaxed);
                    problem.lock().map(|mut problem| *problem = Some(error)).unwrap_or_default();
                }
            });
        }
    });
    let problem = problem.into_inner().map_err(|_| anyhow!("a client panicked"))?;
    problem.map_or(Ok(()), |error| Err(error).context("a dispatch of many"))
}

/// A dispatched job is dead when none of its allocs and evals is open.
fn wait_until_complete(api: &Client, parents: &[String], wanted: usize) -> anyhow::Result<()> {
    let end = Instant::now() + COMPLETE_MAX;
    for parent in parents {
        loop {
            let path = format!("/v1/job/{parent}/summary");
            let summary = api.read::<Value>(&path, &QueryOptions::default())?.value;
            if summary["Children"]["Dead"] == wanted {
                break;
            }
            if Instant::now() > end {
                bail!("{parent}: {} and not {wanted} dead", summary["Children"]);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    Ok(())
}
