//! Jobs and what becomes of them.

use std::path::Path;
use std::time::Duration;

use drover_harness::{Agent, Told, wait_for};
use serde_json::Value;

/// The longest wait for something to happen to a job.
pub const SETTLE_MAX: Duration = Duration::from_secs(120);

/// A job file with one group and one task; `body` goes into the task.
pub fn job_text(id: &str, kind: &str, count: usize, driver: &str, body: &str) -> String {
    format!(
        "job \"{id}\" {{\n  type = \"{kind}\"\n  group \"main\" {{\n    count = {count}\n    task \"work\" {{\n      \
         driver = \"{driver}\"\n{body}\n      resources {{\n        cpu = 10\n        memory = 16\n      }}\n    }}\n  }}\n}}\n"
    )
}

/// A shell command as a task's config.
pub fn shell(script: &str) -> String {
    format!("      config {{\n        command = \"/bin/sh\"\n        args = [\"-c\", {script:?}]\n      }}\n")
}

/// Writes a job file.
///
/// # Panics
/// The directory takes no file.
pub fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).expect("the directory takes a file");
}

/// The allocs of a job, newest last.
///
/// # Panics
/// The agent does not answer.
pub fn allocs(agent: &Agent, id: &str) -> Vec<Value> {
    let answer = agent.get(&format!("/v1/job/{id}/allocations")).expect("the agent answers");
    let mut allocs = answer.as_array().cloned().unwrap_or_default();
    allocs.sort_by_key(|alloc| alloc["CreateIndex"].as_u64());
    allocs
}

/// Waits until exactly `count` allocs that shall run have that client status; gives them.
///
/// # Panics
/// They do not in time.
pub fn wait_for_status(agent: &Agent, id: &str, status: &str, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} allocs of {id} {status}"), SETTLE_MAX, || {
        let all = allocs(agent, id);
        let fit: Vec<Value> = all.iter().filter(|alloc| alloc["ClientStatus"] == status).cloned().collect();
        if fit.len() == count {
            return Ok(fit);
        }
        Err(Told(move || {
            let seen = all.iter();
            let seen = seen
                .map(|alloc| format!("{} {} {}", alloc["DesiredStatus"], alloc["ClientStatus"], alloc["TaskStates"]));
            format!("{}\n{}", seen.collect::<Vec<_>>().join("\n"), agent.log())
        }))
    })
}

/// A field of an alloc as text.
pub fn text<'a>(alloc: &'a Value, field: &str) -> &'a str {
    alloc[field].as_str().unwrap_or_default()
}
