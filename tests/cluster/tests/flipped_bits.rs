//! One bit of one file in the data directory is another: the agent names the file and does not start, or nothing is missing.
//!
//! Longer: `DROVER_FLIPS=200 cargo test -p drover-cluster --test flipped_bits -- --nocapture`. `DROVER_SEED` has the same bits.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use drover_cluster::acked::{Acked, write};
use drover_cluster::dice::{Dice, size};
use drover_cluster::writers::{JOBS, missing};
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig, wait_for};
use rustix::process::Signal;

/// Writes of the first life; the second adds some that are in the log alone.
const WRITES: usize = 700;
/// The longest time in which an agent starts or refuses.
const START_MAX: Duration = Duration::from_secs(120);

/// Files below a directory, with their paths below it.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && entry.metadata().unwrap().len() > 0 {
                found.push(entry.path().strip_prefix(dir).unwrap().to_path_buf());
            }
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        fs::create_dir_all(to.join(&path).parent().unwrap()).unwrap();
        // With their permissions.
        fs::copy(from.join(&path), to.join(&path)).unwrap();
    }
}

/// What an agent made of the data: what is missing when it runs, or its exit code; and its words.
enum Outcome {
    Runs(Vec<String>),
    Refuses(i32),
    Hangs,
}

fn start(config: &AgentConfig, data: &Path, path: &Path, bit: usize, acked: &[Acked]) -> (Outcome, String) {
    let dir = Agent::room();
    copy(data, &dir.path().join("data"));
    let damaged = dir.path().join("data").join(path);
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(&damaged, bytes).unwrap();
    let mut agent = Agent::spawn_in(&binary("drover"), config.clone(), dir);
    let end = Instant::now() + START_MAX;
    let outcome = wait_for("an outcome", START_MAX * 2, || {
        if let Some(code) = agent.ended() {
            return Ok(Outcome::Refuses(code));
        }
        match agent.get(JOBS) {
            Ok(jobs) => Ok(Outcome::Runs(missing(&jobs, acked.iter().map(|(_, written)| written)))),
            Err(_) if Instant::now() > end => Ok(Outcome::Hangs),
            Err(error) => Err(error),
        }
    });
    agent.kill_9();
    (outcome, agent.log())
}

/// The kind of a file: its path without what differs between two of a kind.
fn kind(path: &Path) -> String {
    path.to_str().unwrap().chars().filter(|one| !one.is_ascii_digit()).collect()
}

/// The file by which a region that has lost its quorum is brought back, here with the one server that there is.
fn peers_file(data: &Path, config: &AgentConfig) -> String {
    let id = fs::read_to_string(data.join("server/node-id")).unwrap();
    let address = format!("127.0.0.1:{}", config.rpc);
    serde_json::json!([{ "id": id.trim(), "address": address, "non_voter": false }]).to_string()
}

#[test]
fn a_flipped_bit_is_named_or_harmless() {
    let flips = size("DROVER_FLIPS", 2);
    let mut dice = Dice::of_environment("flipped bits");
    let mut config = AgentConfig::server("flip");
    config.more.push_str("server {\n  raft_snapshot_threshold = 1000\n  raft_trailing_logs = 1000\n}\n");
    config.more.push_str("client {\n  enabled = true\n}\n");
    let mut agent = Agent::start(&binary("drover"), config.clone());
    let mut acked = write(&agent, "first", 4, WRITES, || 0);
    assert_eq!(agent.terminate(Signal::TERM), Some(0), "{}", agent.log());
    agent.start_again();
    agent.wait_for_leader();
    acked.extend(write(&agent, "second", 4, WRITES / 10, || 0));
    agent.kill_9();
    let room = Agent::room();
    let data = room.path().join("kept");
    copy(&agent.dir().join("data"), &data);
    // Its supervisor too: two of one node are refused.
    drop(agent);
    let mut kinds: BTreeMap<String, (&Path, Vec<PathBuf>)> = BTreeMap::new();
    for path in files(&data) {
        kinds.entry(kind(&path)).or_insert((&data, Vec::new())).1.push(path);
    }
    // What an operator puts there after a disaster; a start takes it away, so it is there for its own bits only.
    let recovered = room.path().join("recovered");
    copy(&data, &recovered);
    let peers = PathBuf::from("server/raft/peers.json");
    fs::write(recovered.join(&peers), peers_file(&data, &config)).unwrap();
    kinds.insert(kind(&peers), (&recovered, vec![peers]));
    println!("{} kinds: {:?}", kinds.len(), kinds.keys());
    let mut wrong = Vec::new();
    for (kind, (data, paths)) in &kinds {
        let (mut harmless, mut refused) = (0, 0);
        for _ in 0..flips {
            let path = &paths[dice.roll(paths.len())];
            let bit = dice.roll(8 * fs::metadata(data.join(path)).unwrap().len() as usize);
            let (outcome, log) = start(&config, data, path, bit, &acked);
            // Of the log's store its directory is named: which of its files it was says nothing to anybody. So it is with
            // certificates: when one does not go with another, nobody can tell which of them was damaged.
            let text = path.to_str().unwrap();
            let together = ["raft/log", "server/tls"].into_iter().find(|dir| text.contains(&format!("{dir}/")));
            let name = together.unwrap_or_else(|| path.file_name().unwrap().to_str().unwrap());
            let named = log.lines().any(|line| line.starts_with("==> Error") && line.contains(name));
            match outcome {
                Outcome::Runs(lost) if lost.is_empty() && !log.contains("panicked") => harmless += 1,
                Outcome::Refuses(1) if named && !log.contains("panicked") => refused += 1,
                Outcome::Runs(lost) => wrong.push(format!("{path:?} bit {bit}: lost {lost:?}\n{log}")),
                Outcome::Refuses(code) => wrong.push(format!("{path:?} bit {bit}: exit {code}\n{log}")),
                Outcome::Hangs => wrong.push(format!("{path:?} bit {bit}: hangs\n{log}")),
            }
        }
        println!("{kind}: {refused} named, {harmless} harmless");
    }
    assert!(wrong.is_empty(), "{} are wrong: {}", wrong.len(), wrong.join("\n"));
}
