//! Footprint: memory of an idle server and an idle client (with all processes of theirs), per running task, and the
//! binary's size.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use drover_harness::{AgentConfig, processes};

use crate::figure::Figure;
use crate::product::{Product, job, register, wait_for_allocs};

const IDLE: Duration = Duration::from_secs(20);
const TASKS: usize = 50;
const MIB: f64 = 1024.0 * 1024.0;

pub fn run(products: &[Product], _runs: usize) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for product in products {
        let name = &product.name;
        let bytes = std::fs::metadata(&product.binary)?.len();
        figures.push(Figure::of("b8 binary", name, "MiB", vec![bytes as f64 / MIB]));
        let edge = product.binary.with_file_name("drover-edge");
        let client_binary = if name == "drover" && edge.is_file() {
            let bytes = std::fs::metadata(&edge)?.len();
            figures.push(Figure::of("b8 edge binary", name, "MiB", vec![bytes as f64 / MIB]));
            Product { name: name.clone(), binary: edge }
        } else {
            product.clone()
        };
        let server = product.spawn(AgentConfig::server("bench-server"));
        server.wait_for_leader();
        let rpc = format!("127.0.0.1:{}", server.config().rpc);
        let client = client_binary.spawn(AgentConfig::client("bench-client", &[rpc]));
        server.wait_for_nodes(1);
        // Idle means that nothing of the start is left: a fixed rest is the measure's own definition.
        std::thread::sleep(IDLE);
        figures.push(Figure::of("b8 idle server PSS", name, "MiB", vec![pss(server.dir(), server.pid(), &[])? / MIB]));
        let idle = pss(client.dir(), client.pid(), &[])?;
        figures.push(Figure::of("b8 idle client PSS", name, "MiB", vec![idle / MIB]));

        let api = server.client();
        register(&api, &job("b8", "service", "raw_exec", TASKS, "/bin/sleep", &["3600"]))?;
        wait_for_allocs(&api, "b8", "running", TASKS)?;
        std::thread::sleep(IDLE);
        let busy = pss(client.dir(), client.pid(), &["sleep"])?;
        let per_task = (busy - idle).max(0.0) / TASKS as f64 / 1024.0;
        figures.push(Figure::of("b8 per running task", name, "KiB", vec![per_task]));
    }
    Ok(figures)
}

/// The agent's memory: its process, what it has started, and what names its directory; not the tasks themselves.
fn pss(dir: &Path, pid: u32, tasks: &[&str]) -> anyhow::Result<f64> {
    let mut ids: BTreeSet<u32> = processes::naming(dir).into_iter().collect();
    ids.insert(pid);
    ids.extend(descendants(&ids));
    let mut total = 0.0;
    for id in ids {
        let command = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        if tasks.contains(&command.trim()) {
            continue;
        }
        if let Some(bytes) = processes::pss_bytes(id) {
            total += bytes as f64;
        } else if id == pid {
            return Err(anyhow::anyhow!("no memory figures of process {id}"))
                .context("is it running, and are you root?");
        }
    }
    Ok(total)
}

fn descendants(roots: &BTreeSet<u32>) -> BTreeSet<u32> {
    let mut found = roots.clone();
    loop {
        let before = found.len();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
            if parent.is_some_and(|parent| found.contains(&parent)) {
                found.insert(pid);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}
