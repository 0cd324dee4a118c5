//! What the processes of an agent take: memory, processor time, wake-ups; and what the kernel takes beside them.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use drover_harness::{Agent, processes};

/// Milliseconds of a clock tick of `/proc/<pid>/stat`; the kernel's interface has a hundred in a second.
const TICK_MS: f64 = 10.0;

/// Processes of an agent: its own, what it has started, and what names its directory; not tasks, which are known by their
/// programs' names.
pub fn processes_of(agent: &Agent, tasks: &[&str]) -> BTreeSet<u32> {
    of_dir(agent.dir(), agent.pid(), tasks)
}

fn of_dir(dir: &Path, pid: u32, tasks: &[&str]) -> BTreeSet<u32> {
    let mut ids: BTreeSet<u32> = processes::naming(dir).into_iter().collect();
    ids.insert(pid);
    ids.extend(descendants(&ids));
    ids.retain(|id| {
        let command = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        !tasks.contains(&command.trim())
    });
    ids
}

/// Their proportional set size in bytes: what is their own, and their share of what they share.
///
/// # Errors
/// The agent itself has no such figure.
pub fn pss_bytes(agent: &Agent, tasks: &[&str]) -> anyhow::Result<f64> {
    processes::pss_bytes(agent.pid()).context("no memory figures of the agent; does it run, and are you root?")?;
    // One that has ended meanwhile takes nothing.
    let all = processes_of(agent, tasks).into_iter().filter_map(processes::pss_bytes);
    Ok(all.map(|bytes| bytes as f64).sum())
}

/// Processor time that these processes have taken so far, in milliseconds; with that of ended children of theirs if so told.
pub fn cpu_ms(ids: &BTreeSet<u32>, with_children: bool) -> f64 {
    let fields = if with_children { 11..15 } else { 11..13 };
    let of_one = |id: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let rest: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .map(|text| text.parse().unwrap_or(0))
            .collect();
        rest.get(fields.clone()).unwrap_or_default().iter().sum::<u64>() as f64
    };
    ids.iter().map(of_one).sum::<f64>() * TICK_MS
}

/// How often threads of these processes have gone to sleep by themselves, which is how often they were woken.
pub fn wake_ups(ids: &BTreeSet<u32>) -> u64 {
    let threads =
        ids.iter().flat_map(|id| std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten());
    let of_thread = |entry: std::fs::DirEntry| {
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    threads.filter_map(of_thread).sum()
}

/// Memory of the kernel that is nobody's page: slabs that can't be reclaimed, stacks, page tables, what it has per processor.
///
/// # Errors
/// The kernel does not say.
pub fn kernel_bytes() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let parts = ["SUnreclaim:", "KernelStack:", "PageTables:", "Percpu:"];
    Ok(parts.into_iter().filter_map(kib).sum::<f64>() * 1024.0)
}

fn descendants(roots: &BTreeSet<u32>) -> BTreeSet<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let mut found = roots.clone();
    loop {
        let before = found.len();
        for (pid, parent) in &parents {
            if found.contains(parent) {
                found.insert(*pid);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}
