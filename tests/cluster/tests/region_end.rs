//! Servers that are told to end do so at once, whoever else is left; and a copy of a server's data does not take part.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::time::{Duration, Instant};

use drover_cluster::dice::size;
use drover_cluster::region::{Region, authority, tls_files};
use drover_cluster::writers::{Writers, read_back};
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig, wait_for};
use rustix::process::Signal;

/// The longest time from SIGTERM to the end of a process: half a second is for requests under way, half a second for
/// those who hear of it, and the rest for a machine that is slow. Whoever waited for a majority would wait for ever.
const END_MAX: Duration = Duration::from_secs(60);

#[test]
fn a_leader_that_lost_its_majority_ends_at_once_when_it_is_told_to() {
    let mut region = Region::start("end-alone", 3);
    let leader = region.wait_for_leader();
    let others: Vec<usize> = (0..3).filter(|number| *number != leader).collect();
    region.kill_9(&others);
    let begin = Instant::now();
    region.terminate(leader);
    println!("a leader without majority ended {:?} after SIGTERM", begin.elapsed());
    assert!(begin.elapsed() < END_MAX, "{:?}\n{}", begin.elapsed(), region.log(leader));
    (0..3).for_each(|number| region.start_again(number));
    region.wait_until_whole();
}

#[test]
fn five_servers_are_restarted_in_turn_and_lose_two_at_once() {
    let rounds = size("DROVER_ROLLS", 1);
    let mut region = Region::start("end-five", 5);
    let writers = Writers::start(&region);
    for _ in 0..rounds {
        for number in 0..5 {
            writers.wait_for_more(10, &region);
            let begin = Instant::now();
            region.terminate(number);
            assert!(begin.elapsed() < END_MAX, "{:?}\n{}", begin.elapsed(), region.log(number));
            writers.wait_for_more(10, &region);
            region.start_again(number);
            region.wait_until_whole();
        }
        let leader = region.wait_for_leader();
        region.kill_9(&[leader, (leader + 1) % 5]);
        writers.wait_for_more(10, &region);
        region.start_again(leader);
        region.start_again((leader + 1) % 5);
        region.wait_until_whole();
    }
    writers.wait_for_more(10, &region);
    read_back(&region, &writers.stop());
}

#[test]
fn a_copy_of_a_servers_data_says_so_and_does_not_start() {
    let mut configs = AgentConfig::region("end-copy", 3);
    let files = tls_files(&authority("end-copy"));
    configs.iter_mut().for_each(|config| config.files.clone_from(&files));
    let program = binary("drover");
    let mut agents: Vec<Agent> = configs.iter().map(|config| Agent::spawn(&program, config.clone())).collect();
    agents.iter().for_each(Agent::wait_for_leader);

    // A copy of what was stopped for a moment, so that it is whole.
    assert_eq!(agents[2].terminate(Signal::TERM), Some(0), "{}", agents[2].log());
    let room = Agent::room();
    let copied = std::process::Command::new("cp").arg("-a").arg(agents[2].dir().join("data")).arg(room.path()).status();
    assert!(copied.unwrap().success());
    agents[2].start_again();
    agents[2].wait_for_leader();
    let mut moved = AgentConfig::server("s3");
    (moved.region, moved.bootstrap_expect) = (configs[2].region.clone(), 3);
    moved.joins.clone_from(&configs[2].joins);
    let mut copy = Agent::spawn_in(&program, moved, room);
    let code = wait_for("the copy's end", Duration::from_secs(120), || copy.ended().ok_or_else(|| copy.log()));
    let log = copy.log();
    let line = log.lines().find(|line| line.starts_with("==> Error")).unwrap_or_else(|| panic!("{log}"));
    assert_eq!(code, 1, "{log}");
    let original = format!("that one is at 127.0.0.1:{}", configs[2].rpc);
    assert!(line.contains("is a copy of another server's") && line.contains(&original), "{line}");
    agents.iter().for_each(Agent::wait_for_leader);

    // The same data at another address, with the other one gone, is a server that has moved.
    assert_eq!(agents[2].terminate(Signal::TERM), Some(0), "{}", agents[2].log());
    copy.start_again();
    copy.wait_for_leader();
}
