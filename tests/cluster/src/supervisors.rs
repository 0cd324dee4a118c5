//! The processes that own the tasks of agents.

use drover_harness::Agent;

/// The supervisor of that agent, while there is one.
pub fn supervisor_of(agent: &Agent) -> Option<u32> {
    let data = agent.dir().join("data").display().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains("__supervisor\0run") && line.contains(&data)
        })
        .collect();
    // The one that is nobody's child among them; the others are about to become tasks.
    let parent = |pid: u32| -> u32 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok()).unwrap_or(0)
    };
    all.iter().find(|pid| !all.contains(&parent(**pid))).copied()
}
