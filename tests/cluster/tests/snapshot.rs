//! A region's state is saved on one server and brought back: into the region it came from, by a follower, and into another region.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::time::Duration;

use drover_cluster::cli::{drover, drover_ok};
use drover_cluster::jobs::{job_text, shell, wait_for_status, write};
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig, wait_for};

const WAIT: Duration = Duration::from_secs(120);

fn ids(agent: &Agent, path: &str) -> Vec<String> {
    // Where another leader is elected meanwhile nobody answers for a moment.
    let all = wait_for("an answer", WAIT, || agent.get(path));
    all.as_array().into_iter().flatten().filter_map(|one| one["ID"].as_str().map(str::to_owned)).collect()
}

/// The address of a server that does not lead.
fn follower(agents: &[Agent]) -> &Agent {
    wait_for("a follower", WAIT, || {
        let leader = agents[0].get("/v1/status/leader")?;
        let other = |agent: &&Agent| leader != format!("127.0.0.1:{}", agent.config().rpc);
        agents.iter().find(other).ok_or_else(|| "none".to_owned())
    })
}

#[test]
fn a_region_moves_by_a_file() {
    // One server and its client, with a job that runs and a token.
    let one = Agent::start(&binary("drover"), AgentConfig::both("snapshot1"));
    let (address, dir) = (one.address(), one.dir().to_path_buf());
    one.wait_for_nodes(1);
    let text = job_text("steady", "service", 1, "raw_exec", &shell("while true; do sleep 1; done"));
    write(&dir, "steady.nomad.hcl", &text);
    drover_ok(&address, &dir, &["job", "run", "-detach", "steady.nomad.hcl"]);
    let alloc = wait_for_status(&one, "steady", "running", 1)[0]["ID"].as_str().unwrap().to_owned();
    drover_ok(&address, &dir, &["node", "join-token", "create"]);
    let tokens = ids(&one, "/v1/operator/join-token");
    assert_eq!(tokens.len(), 1);
    let said = drover_ok(&address, &dir, &["operator", "snapshot", "save", "state.snap"]);
    assert_eq!(said, "State file written to state.snap\n");
    let inspected = drover_ok(&address, &dir, &["operator", "snapshot", "inspect", "state.snap"]);
    assert!(inspected.contains("\nNode ") && inspected.contains("\nJoinToken "), "{inspected}");

    // What happened since is gone after the restore, and what was there runs on as the same alloc.
    let late = job_text("late", "service", 1, "raw_exec", &shell("while true; do sleep 1; done"));
    write(&dir, "late.nomad.hcl", &late);
    drover_ok(&address, &dir, &["job", "run", "-detach", "late.nomad.hcl"]);
    wait_for_status(&one, "late", "running", 1);
    assert_eq!(drover_ok(&address, &dir, &["operator", "snapshot", "restore", "state.snap"]), "Snapshot Restored\n");
    assert_eq!(ids(&one, "/v1/jobs"), ["steady"]);
    assert_eq!(wait_for_status(&one, "steady", "running", 1)[0]["ID"], alloc.as_str());
    // The leader and the edge go on from there.
    drover_ok(&address, &dir, &["job", "run", "-detach", "late.nomad.hcl"]);
    wait_for_status(&one, "late", "running", 1);

    // A new region of three takes it through a server that does not lead.
    let mut agents: Vec<Agent> =
        AgentConfig::region("snapshot3", 3).into_iter().map(|config| Agent::spawn(&binary("drover"), config)).collect();
    agents.iter().for_each(Agent::wait_for_leader);
    let asked = follower(&agents);
    let damaged = dir.join("damaged.snap");
    let mut bytes = std::fs::read(dir.join("state.snap")).unwrap();
    let half = bytes.len() / 2;
    bytes[half] ^= 1;
    std::fs::write(&damaged, &bytes).unwrap();
    let refused = drover(&asked.address(), &dir, &["operator", "snapshot", "restore", "damaged.snap"]);
    assert_eq!((refused.code, refused.stderr.lines().count()), (1, 1), "{refused:?}");
    assert!(refused.stderr.contains("its digest differs"), "{refused:?}");
    drover_ok(&asked.address(), &dir, &["operator", "snapshot", "restore", "state.snap"]);
    for agent in &agents {
        assert_eq!(ids(agent, "/v1/jobs"), ["steady"]);
        assert_eq!(ids(agent, "/v1/operator/join-token"), tokens);
        assert!(ids(agent, "/v1/allocations").contains(&alloc));
        assert_eq!(ids(agent, "/v1/deployments").len(), 1);
    }
    // Each of them takes a write. The file's indexes are beyond those of this region's log: who hands a write to the leader must not
    // wait for a place in the log that is far away.
    for (number, agent) in agents.iter().enumerate() {
        wait_for("a write", WAIT, || {
            let written = drover(&agent.address(), &dir, &["namespace", "apply", &format!("after-{number}")]);
            if written.code == 0 { Ok(()) } else { Err(format!("{written:?}")) }
        });
    }
    // A server saves what it has without asking anybody, and the file is as good.
    drover_ok(&asked.address(), &dir, &["operator", "snapshot", "save", "-stale", "again.snap"]);
    let state = drover_ok(&asked.address(), &dir, &["operator", "snapshot", "state", "again.snap"]);
    assert!(state.contains(&alloc), "{state}");
    // Not asked to end their tasks: those are the other region's, and would be waited for.
    agents.iter_mut().for_each(Agent::kill_9);
}
