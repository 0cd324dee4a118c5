//! A disk that is full, or whose syncs fail: the server says so and acknowledges nothing it may lose; once the disk is well
//! again it comes back with all that was acknowledged.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::time::Duration;

use drover_cluster::acked::{Acked, write};
use drover_cluster::writers::{JOBS, missing, register, small_job};
use drover_harness::binaries::binary;
use drover_harness::recorded_disk::Mood;
use drover_harness::{Agent, AgentConfig, RecordedDisk, wait_for};

const WRITES: usize = 60;
const END_MAX: Duration = Duration::from_secs(120);

/// A server on a disk of the test's own; none where that can't be.
fn start(name: &str) -> Option<(Agent, RecordedDisk)> {
    let dir = Agent::room();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let disk = match RecordedDisk::mount(&data) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("skipped: {reason}");
            return None;
        }
    };
    let agent = Agent::spawn_in(&binary("drover"), AgentConfig::server(name), dir);
    agent.wait_for_leader();
    Some((agent, disk))
}

/// The disk falls ill under writes; the server ends by itself, in words, or refuses. Then the disk is well again.
fn falls_ill(name: &str, mood: Mood, words: &str) {
    let Some((mut agent, disk)) = start(name) else { return };
    let mut acked: Vec<Acked> = write(&agent, "before", 3, WRITES, || 0);
    assert_eq!(acked.len(), WRITES, "{}", agent.log());
    disk.set_mood(mood);
    // Writes until one is not acknowledged.
    acked.extend(write(&agent, "ill", 3, WRITES, || 0));
    assert!(acked.len() < 2 * WRITES, "writes are acknowledged that are not on the disk: {}", agent.log());
    let (client, job) = (agent.client(), small_job("w-late", "w-late"));
    let code = wait_for("an end or a refusal", END_MAX, || match (agent.ended(), register(&client, &job)) {
        (Some(code), _) => Ok(Some(code)),
        (None, Err(refusal)) if refusal.contains(words) => Ok(None),
        (None, Ok(index)) => Err(format!("acknowledged at {index}")),
        (None, Err(other)) => Err(other),
    });
    let log = agent.log();
    if let Some(code) = code {
        assert_eq!(code, 1, "{log}");
        let line = log.lines().find(|line| line.starts_with("==> Agent failed: "));
        assert!(line.is_some_and(|line| line.contains(words)), "{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
    disk.set_mood(Mood::Well);
    if code.is_some() {
        agent.start_again();
    }
    agent.wait_for_leader();
    let jobs = wait_for("the jobs", END_MAX, || agent.get(JOBS));
    let lost = missing(&jobs, acked.iter().map(|(_, written)| written));
    assert!(lost.is_empty(), "{lost:#?}");
    assert_eq!(write(&agent, "after", 3, WRITES, || 0).len(), WRITES, "{}", agent.log());
    agent.kill_9();
}

#[test]
fn a_full_disk_ends_the_server_in_words_and_nothing_is_lost() {
    falls_ill("disk-full", Mood::Full, "No space left on device");
}

#[test]
fn a_sync_that_fails_is_believed_and_nothing_is_lost() {
    falls_ill("disk-sync", Mood::Unsynced, "Input/output error");
}
