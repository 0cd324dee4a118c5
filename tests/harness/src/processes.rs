//! Processes of a test: found by their data directory, ended by their id.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The longest time in which a process ends that was asked to.
const END_MAX: Duration = Duration::from_secs(60);

/// Ids of the processes whose command line names that directory.
pub fn naming(dir: &Path) -> Vec<u32> {
    let dir = dir.display().to_string();
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return found;
    };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let command_line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if pid != std::process::id() && String::from_utf8_lossy(&command_line).contains(&dir) {
            found.push(pid);
        }
    }
    found
}

/// Sends a signal; a process that is gone is no failure.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, signal);
    }
}

/// Asks a process to end and waits until it has. One that does not is killed.
pub fn end(child: &mut Child) {
    let end = Instant::now() + END_MAX;
    if matches!(child.try_wait(), Ok(None)) {
        signal(child.id(), Signal::TERM);
    }
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > end {
            signal(child.id(), Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The process is there and is not a zombie.
pub fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
}

/// Proportional set size of a process in bytes: what is its own, and its share of what it shares.
pub fn pss_bytes(pid: u32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
