//! A few jobs of very many groups: registered, placed, run by simulated edges; then the server is killed and started again.
//! Only drover: a peer has other edges.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use drover_api_client::{Client, QueryOptions};
use serde_json::{Value, json};

use crate::figure::Figure;
use crate::fleet::Edges;
use crate::loaded::Loaded;
use crate::product::{Product, register, wait_for_count};
use crate::usage::pss_bytes;

const JOBS: usize = 5;
/// Groups of each; another number by `DROVER_GROUPS`.
const GROUPS: usize = 2000;
const EDGES: usize = 25;
const WAIT_MAX: Duration = Duration::from_secs(600);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const TURNS_MAX: usize = 3;
const MIB: f64 = 1024.0 * 1024.0;

pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let groups = match std::env::var("DROVER_GROUPS") {
        Ok(text) => text.parse().context("DROVER_GROUPS")?,
        Err(_) => GROUPS,
    };
    let mut figures = Vec::new();
    for product in products.iter().filter(|product| product.is_drover()) {
        let mut server = Loaded::start(product);
        let edges = Edges::start(&server, EDGES)?;
        let api = server.api()?;
        let ids: Vec<String> = (0..JOBS).map(|number| format!("b13b-{number}")).collect();
        let jobs: Vec<Value> = ids.iter().map(|id| job_of_groups(id, groups)).collect();
        let begin = Instant::now();
        jobs.iter().try_for_each(|job| register(&api, job))?;
        let registered = begin.elapsed();
        ids.iter().try_for_each(|id| wait_until_placed(&api, id, groups))?;
        let placed = begin.elapsed();
        ids.iter().try_for_each(|id| wait_for_count(&api, id, "Running", groups, WAIT_MAX))?;
        let running = begin.elapsed();
        let mut put = |what: &str, unit, samples: Vec<f64>| {
            let name = format!("b13b {JOBS} jobs x {groups} groups, {what}");
            figures.push(Figure::of(name, &product.name, unit, samples));
        };
        let seconds = |time: Duration| vec![time.as_secs_f64()];
        put("registered", "s", seconds(registered));
        put("placed", "s", seconds(placed));
        put("running", "s", seconds(running));
        put("PSS then", "MiB", vec![pss_bytes(&server, &[])? / MIB]);
        put("log", "MiB", vec![server.log_bytes() as f64 / MIB]);
        // Edges that come back at once are no part of a start.
        drop(edges);
        let (mut reads, mut writes, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..runs.min(TURNS_MAX) {
            let restart = server.restart(&ids[0], number)?;
            reads.push(restart.read.as_secs_f64() * 1e3);
            writes.push(restart.write.as_secs_f64() * 1e3);
            memory.push(pss_bytes(&server, &[])? / MIB);
        }
        put("start->first read", "ms", reads);
        put("start->first write", "ms", writes);
        put("PSS after start", "MiB", memory);
    }
    if figures.is_empty() { bail!("only drover has simulated edges") } else { Ok(figures) }
}

fn job_of_groups(id: &str, groups: usize) -> Value {
    let group = |number: usize| {
        json!({
            "Name": format!("g{number}"), "Count": 1,
            "EphemeralDisk": {"SizeMB": 10},
            "Tasks": [{
                "Name": "t", "Driver": "raw_exec", "Config": {"command": "/bin/sleep", "args": ["3600"]},
                "Resources": {"CPU": 1, "MemoryMB": 10},
                "LogConfig": {"MaxFiles": 1, "MaxFileSizeMB": 1},
            }],
        })
    };
    json!({
        "ID": id, "Name": id, "Type": "service", "Datacenters": ["*"],
        "TaskGroups": (0..groups).map(group).collect::<Vec<_>>(),
    })
}

/// A job is placed when its evals are done and none of its allocs is still wanted.
fn wait_until_placed(api: &Client, id: &str, groups: usize) -> anyhow::Result<()> {
    let (end, options) = (Instant::now() + WAIT_MAX, QueryOptions::default());
    loop {
        let evals = api.read::<Value>(&format!("/v1/job/{id}/evaluations"), &options)?.value;
        let evals = evals.as_array().cloned().unwrap_or_default();
        if !evals.is_empty() && evals.iter().all(|eval| eval["Status"] == "complete") {
            break;
        }
        if Instant::now() > end || evals.iter().any(|eval| eval["Status"] == "blocked") {
            let all: Vec<&Value> = evals.iter().map(|eval| &eval["Status"]).collect();
            bail!("job {id} is not placed; its evals: {all:?}");
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let summary = api.read::<Value>(&format!("/v1/job/{id}/summary"), &options)?.value;
    let counts = summary["Summary"].as_object().cloned().unwrap_or_default();
    let placed = |group: &&Value| group["Starting"] == 1 || group["Running"] == 1;
    match counts.values().filter(placed).count() {
        placed if placed == groups => Ok(()),
        placed => bail!("job {id}: {placed} of {groups} groups are placed"),
    }
}
