//! Servers that are started at the same moment form one region, with an authority's files and without.
//!
//! Longer: `DROVER_STARTS=50 cargo test -p drover-cluster --test region_start -- --nocapture`.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use drover_cluster::dice::size;
use drover_cluster::region::{authority, tls_files};
use drover_cluster::writers::{register, small_job};
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig, Told, wait_for};

const READY_MAX: Duration = Duration::from_secs(120);

/// Starts servers as fast as processes start; gives the time until the first acknowledged write through each.
fn start(region: &str, count: u32, with_files: bool) -> Duration {
    let mut configs = AgentConfig::region(region, count);
    if with_files {
        let files = tls_files(&authority(region));
        configs.iter_mut().for_each(|config| config.files.clone_from(&files));
    }
    let program = binary("drover");
    let begin = Instant::now();
    let agents: Vec<Agent> = configs.into_iter().map(|config| Agent::spawn(&program, config)).collect();
    let logs = || agents.iter().map(Agent::log).collect::<Vec<_>>().join("\n");
    for (number, agent) in agents.iter().enumerate() {
        let (client, job) = (agent.client(), small_job(&format!("through-{number}"), "1"));
        wait_for("a write", READY_MAX, || {
            register(&client, &job).map_err(|error| Told(move || format!("{error}\n{}", logs())))
        });
    }
    let taken = begin.elapsed();
    // One region, not two of one name: all see all, and what was written through each is on each.
    for agent in &agents {
        let jobs = wait_for("the jobs", READY_MAX, || agent.get("/v1/jobs?prefix=through-"));
        assert_eq!(jobs.as_array().unwrap().len(), count as usize, "{jobs}\n{}", logs());
        wait_for("all votes", READY_MAX, || {
            let peers = agent.get("/v1/operator/raft/configuration")?;
            let peers = peers["Servers"].as_array().cloned().unwrap_or_default();
            let voters: BTreeSet<&str> =
                peers.iter().filter(|peer| peer["Voter"] == true).filter_map(|peer| peer["ID"].as_str()).collect();
            if voters.len() == count as usize { Ok(()) } else { Err(format!("{voters:?}\n{}", logs())) }
        });
    }
    let ended = agents.into_iter().map(|mut agent| {
        agent.kill_9();
        agent.log()
    });
    for log in ended {
        assert!(!log.contains("panicked"), "{log}");
    }
    taken
}

fn start_many(name: &str, count: u32, times: usize, with_files: bool) {
    let mut taken: Vec<Duration> = (0..times).map(|turn| start(&format!("{name}{turn}"), count, with_files)).collect();
    taken.sort();
    println!("{name}: {times} starts of {count}, median {:?}, longest {:?}", taken[times / 2], taken[times - 1]);
}

#[test]
fn three_at_once_form_one_region_by_themselves() {
    start_many("starts", 3, size("DROVER_STARTS", 4), false);
}

#[test]
fn three_at_once_form_one_region_with_an_authoritys_files() {
    start_many("startsfiles", 3, size("DROVER_STARTS", 4), true);
}

#[test]
fn five_at_once_form_one_region() {
    start_many("startsfive", 5, size("DROVER_STARTS", 10).div_ceil(10), false);
}
