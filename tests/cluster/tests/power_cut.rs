//! A server's whole directory is on a disk that notes every write and sync; the power is cut at places of that, and what the
//! disk may hold then is given to a server that must start by itself with all that was acknowledged.
//!
//! Longer: `DROVER_CUTS=5000 cargo test -p drover-cluster --test power_cut -- --nocapture`. `DROVER_SEED` has the same places.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use drover_cluster::acked::{Acked, write};
use drover_cluster::dice::{Dice, size};
use drover_cluster::writers::{JOBS, missing};
use drover_harness::binaries::binary;
use drover_harness::journal::{Journal, Step, Unsynced};
use drover_harness::wires::Door;
use drover_harness::{Agent, AgentConfig, RecordedDisk, Wires, wait_for};
use rustix::process::Signal;

const WRITERS: usize = 4;
/// Servers that are started at once after cuts, each in a network of its own: they all have the same ports.
const AT_ONCE: usize = 3;
/// Writes of one life of the server: those of two are more entries of the log than a snapshot is made after.
const WRITES: usize = 500;
/// The longest wait for a server after a cut.
const BACK_MAX: Duration = Duration::from_secs(120);

/// What one server did to its disk in three lives, and what it acknowledged.
struct Recorded {
    config: AgentConfig,
    journal: Journal,
    acked: Vec<Acked>,
    /// The steps of the first start, until it led.
    first_start: usize,
}

fn record() -> Option<Recorded> {
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
    let mut config = AgentConfig::server("cut");
    config.more.push_str("server {\n  raft_snapshot_threshold = 1000\n  raft_trailing_logs = 1000\n}\n");
    let mut agent = Agent::spawn_in(&binary("drover"), config.clone(), dir);
    agent.wait_for_leader();
    let first_start = disk.steps();
    let mut acked = write(&agent, "first", WRITERS, WRITES, || disk.steps());
    assert_eq!(agent.terminate(Signal::TERM), Some(0), "{}", agent.log());
    agent.start_again();
    agent.wait_for_leader();
    acked.extend(write(&agent, "second", WRITERS, WRITES, || disk.steps()));
    agent.kill_9();
    agent.start_again();
    agent.wait_for_leader();
    acked.extend(write(&agent, "third", WRITERS, WRITES / 10, || disk.steps()));
    agent.kill_9();
    assert_eq!(acked.len(), WRITES * 2 + WRITES / 10, "{}", agent.log());
    let journal = disk.journal();
    let left = journal.cut(journal.len(), Unsynced::Kept).paths();
    assert!(left.keys().any(|path| path.ends_with(".snapshot")), "no snapshot was written: {left:?}");
    drop(agent);
    Some(Recorded { config, journal, acked, first_start })
}

/// Where the power is cut: in the first start, around syncs and changes of names, and anywhere.
fn places(recorded: &Recorded, count: usize, dice: &mut Dice) -> Vec<usize> {
    let journal = &recorded.journal;
    let is_edge = |place: &usize| !matches!(journal.step(*place), Some(Step::Write { .. }));
    let edges: Vec<usize> = (0..journal.len()).filter(is_edge).collect();
    let place = |turn: usize| match turn % 4 {
        0 => dice.roll(recorded.first_start),
        1 | 2 => edges[dice.roll(edges.len())] + dice.roll(2),
        _ => dice.roll(journal.len() + 1),
    };
    (0..count).map(place).collect()
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_anywhere() {
    let count = size("DROVER_CUTS", 100);
    let mut dice = Dice::of_environment("power cuts");
    let Some(recorded) = record() else { return };
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for number in 0..recorded.journal.len() {
        let kind = match recorded.journal.step(number).unwrap() {
            Step::New { .. } => "new",
            Step::Names { .. } => "names",
            Step::Mode { .. } => "mode",
            Step::Write { .. } => "write",
            Step::Length { .. } => "length",
            Step::Sync { .. } => "sync",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    println!("{} steps, {} of the first start: {kinds:?}", recorded.journal.len(), recorded.first_start);
    let begin = Instant::now();
    // Rolled before anything runs at once: a seed has them again.
    let cuts: Vec<(usize, Unsynced)> = places(&recorded, count, &mut dice)
        .into_iter()
        .enumerate()
        .map(|(turn, place)| match turn % 3 {
            0 => (place, Unsynced::Lost),
            1 => (place, Unsynced::Kept),
            _ => (place, Unsynced::Some(Dice::new(dice.roll(usize::MAX) as u64))),
        })
        .collect();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let networks = Wires::new(AT_ONCE).expect("root, who has recorded, makes networks");
    let look = |door: Door| {
        door.enter();
        while let Some((place, unsynced)) = cuts.get(next.fetch_add(1, Ordering::SeqCst)) {
            if let Err(failure) = survives(&recorded, *place, unsynced.clone()) {
                println!("cut before step {place}, {unsynced:?}: {failure}");
                println!("{:#?}", recorded.journal.cut(*place, unsynced.clone()).paths());
                failures.lock().unwrap().push((*place, unsynced.clone()));
            }
        }
    };
    std::thread::scope(|scope| {
        let look = &look;
        for number in 0..AT_ONCE {
            let door = networks.door(number);
            scope.spawn(move || look(door));
        }
    });
    println!("{count} cuts in {:?}", begin.elapsed());
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {count}: {failures:?}", failures.len());
}

fn survives(recorded: &Recorded, place: usize, unsynced: Unsynced) -> Result<(), String> {
    // In memory where there is a place for it: what is synced now is not the matter.
    let shared = std::path::Path::new("/dev/shm");
    let dir = tempfile::Builder::new().prefix("drover-test-").tempdir_in(shared).unwrap_or_else(|_| Agent::room());
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    recorded.journal.cut(place, unsynced).place(&data).unwrap();
    let mut agent = Agent::spawn_in(&binary("drover"), recorded.config.clone(), dir);
    let end = Instant::now() + BACK_MAX;
    let jobs = wait_for("the jobs", BACK_MAX * 2, || match agent.get(JOBS) {
        Ok(jobs) => Ok(Ok(jobs)),
        Err(error) if agent.ended().is_some() || Instant::now() > end => Ok(Err(format!("{error}\n{}", agent.log()))),
        Err(error) => Err(error),
    })?;
    let wrong = missing(&jobs, recorded.acked.iter().filter(|(at, _)| *at <= place).map(|(_, written)| written));
    // Its jobs need no end of their own.
    agent.kill_9();
    if wrong.is_empty() {
        return Ok(());
    }
    let some = &wrong[..wrong.len().min(3)];
    Err(format!("{} acknowledged writes: {some:?}\n{}", wrong.len(), agent.log()))
}
