//! What connected idle edges cost their server: memory for each, processor time of all, and the time until all are there.
//! The edges are simulated in this process; the server is a process of its own. Only drover: a peer has other edges.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use drover_harness::Agent;

use crate::figure::Figure;
use crate::fleet::{Edges, open_server};
use crate::product::Product;
use crate::usage::cpu_ms;

/// How many there are; another number by `DROVER_EDGES`.
const EDGES: usize = 2000;
/// Until nothing of the start is left: longer than the time between two heartbeats of so many.
const REST: Duration = Duration::from_secs(30);
/// Over which processor time is counted.
const IDLE: Duration = Duration::from_secs(60);
const KIB: f64 = 1024.0;

pub fn run(products: &[Product], _runs: usize) -> anyhow::Result<Vec<Figure>> {
    let count = match std::env::var("DROVER_EDGES") {
        Ok(text) => text.parse().context("DROVER_EDGES")?,
        Err(_) => EDGES,
    };
    let mut figures = Vec::new();
    for product in products.iter().filter(|product| product.is_drover()) {
        let mut server = open_server(product, "bench-edges");
        // Fixed times are the measure's own definition.
        std::thread::sleep(REST);
        let ids = BTreeSet::from([server.pid()]);
        let (before, cpu_began) = (memory(&server)?, cpu_ms(&ids, false));
        let begin = Instant::now();
        let edges = Edges::start(&server, count)?;
        let ready = begin.elapsed();
        let joining_ms = cpu_ms(&ids, false) - cpu_began;
        std::thread::sleep(REST);
        let (after, cpu_before) = (memory(&server)?, cpu_ms(&ids, false));
        std::thread::sleep(IDLE);
        let idle = (cpu_ms(&ids, false) - cpu_before) / IDLE.as_secs_f64() / 10.0;
        let nodes = server.get("/v1/nodes").map_err(anyhow::Error::msg)?;
        let here = nodes.as_array().map_or(0, |nodes| nodes.iter().filter(|node| node["Status"] == "ready").count());
        if here != count {
            bail!("{here} of {count} nodes are ready at the end");
        }
        // The same nodes in a server that has just read its log, without their connections.
        drop(edges);
        server.kill_9();
        server.start_again();
        server.wait_for_leader();
        std::thread::sleep(REST);
        let known = memory(&server)?;
        let mut figure = |what: &str, unit, value| {
            figures.push(Figure::one(format!("edges {count}, {what}"), &product.name, unit, value));
        };
        let each = |before: f64, after: f64| (after - before) / count as f64 / KIB;
        figure("server PSS for each", "KiB", each(before.0, after.0));
        figure("server RSS for each", "KiB", each(before.1, after.1));
        figure("of that PSS, known nodes and their log", "KiB", each(before.0, known.0));
        figure("all ready after", "s", ready.as_secs_f64());
        figure("server CPU until then, for each", "ms", joining_ms / count as f64);
        figure("server CPU idle, of one core", "%", idle);
    }
    if figures.is_empty() { bail!("only drover has simulated edges") } else { Ok(figures) }
}

/// Proportional and resident set of the server in bytes.
fn memory(server: &Agent) -> anyhow::Result<(f64, f64)> {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", server.pid()))
        .context("read the server's memory figures; are you root?")?;
    let kib = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let both = kib("Pss:").zip(kib("Rss:")).context("no memory figures of the server")?;
    Ok((both.0 * KIB, both.1 * KIB))
}
