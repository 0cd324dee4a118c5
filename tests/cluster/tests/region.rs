//! Three servers as processes of their own form a region, lose their leader under writes, and take it in again.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drover_api_client::QueryOptions;
use drover_cluster::cli::drover_ok;
use drover_cluster::jobs::{job_text, shell, wait_for_status, write};
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig, Told, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

const WAIT: Duration = Duration::from_secs(120);

fn start(region: &str, more: &str) -> Vec<Agent> {
    let mut configs = AgentConfig::region(region, 3);
    configs.iter_mut().for_each(|config| config.more.push_str(more));
    let agents: Vec<Agent> = configs.into_iter().map(|config| Agent::spawn(&binary("drover"), config)).collect();
    agents.iter().for_each(Agent::wait_for_leader);
    agents
}

/// The server that leads, as `asked` knows it.
fn leader(asked: &Agent, agents: &[Agent]) -> Option<usize> {
    let address = asked.get("/v1/status/leader").ok()?;
    agents.iter().position(|agent| address == format!("127.0.0.1:{}", agent.config().rpc))
}

fn voters(agent: &Agent) -> usize {
    let Ok(peers) = agent.get("/v1/operator/raft/configuration") else { return 0 };
    peers["Servers"].as_array().map_or(0, |peers| peers.iter().filter(|peer| peer["Voter"] == true).count())
}

/// A stopped job: it is written and nothing more happens.
fn register(agent: &Agent, id: &str) -> Result<(), String> {
    let job = json!({ "Job": {
        "ID": id, "Name": id, "Type": "batch", "Datacenters": ["nowhere"],
        "TaskGroups": [{ "Name": "g", "Tasks": [{ "Name": "t", "Driver": "raw_exec", "Config": { "command": "/bin/true" } }] }],
    } });
    agent.client().write::<Value>("/v1/jobs", &job, &QueryOptions::default()).map(drop).map_err(|e| e.to_string())
}

fn ids(agent: &Agent) -> Vec<String> {
    // Where another leader is elected meanwhile nobody answers for a moment.
    let jobs = wait_for("the jobs", WAIT, || agent.get("/v1/jobs"));
    jobs.as_array().into_iter().flatten().filter_map(|job| job["ID"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_region_of_three_loses_its_leader_and_nothing_else() {
    let mut agents = start("kill3", "enable_debug = true\nautopilot {\n  server_stabilization_time = \"1s\"\n}\n");
    wait_for("three voters", WAIT, || match voters(&agents[0]) {
        3 => Ok(()),
        count => Err(format!("{count}\n{}", agents[0].log())),
    });
    let shows = |agent: &Agent, words: &[&str], expected: [(&str, usize); 2]| {
        wait_for(&format!("{expected:?}"), WAIT, || {
            let said = drover_ok(&agent.address(), agent.dir(), words);
            let is_so = expected.iter().all(|(word, count)| said.matches(word).count() == *count);
            if is_so { Ok(()) } else { Err(said) }
        });
    };
    shows(&agents[1], &["server", "members"], [(" alive ", 3), (" true ", 1)]);
    shows(&agents[2], &["operator", "raft", "list-peers"], [("follower", 2), ("leader", 1)]);

    // Any of them tells of any other one itself.
    let members = wait_for("the members", WAIT, || agents[0].get("/v1/agent/members"));
    for member in members["Members"].as_array().unwrap() {
        let (name, id) = (member["Name"].as_str().unwrap(), &member["Tags"]["id"]);
        let host = wait_for("its host", WAIT, || agents[1].get(&format!("/v1/agent/host?server_id={name}")));
        assert_eq!(&host["AgentID"], id);
    }

    // Every server takes a job, and every server has it.
    for (number, agent) in agents.iter().enumerate() {
        wait_for("a write", WAIT, || register(agent, &format!("through{number}")));
        for other in &agents {
            assert!(ids(other).contains(&format!("through{number}")));
        }
    }

    // An edge of the leader with a task that runs on.
    let first = wait_for("a leader", WAIT, || leader(&agents[0], &agents).ok_or("none"));
    let rpc: Vec<String> = agents.iter().map(|agent| format!("127.0.0.1:{}", agent.config().rpc)).collect();
    let mut config = AgentConfig::client("edge", &[rpc[first].clone()]);
    config.region = "kill3".to_owned();
    let edge = Agent::spawn(&binary("drover-edge"), config);
    agents[first].wait_for_nodes(1);
    let text = job_text("steady", "service", 1, "raw_exec", &shell("while true; do echo tick; sleep 1; done"));
    write(agents[first].dir(), "steady.nomad.hcl", &text);
    drover_ok(&agents[first].address(), agents[first].dir(), &["job", "run", "-detach", "steady.nomad.hcl"]);
    let running = wait_for_status(&agents[first], "steady", "running", 1);
    let alloc = running[0]["ID"].as_str().unwrap().to_owned();
    // Logs come through any server, whichever the edge is connected to.
    for agent in &agents {
        let log = wait_for("the log", WAIT, || {
            let path = format!("/v1/client/fs/logs/{alloc}?task=work&type=stdout&plain=true&origin=start");
            let mut text = String::new();
            let read = agent.client().stream(&path, &QueryOptions::default());
            let mut reader = read.map_err(|e| e.to_string())?;
            std::io::Read::read_to_string(&mut reader, &mut text).map_err(|e| e.to_string())?;
            if text.contains("tick") { Ok(text) } else { Err(text) }
        });
        assert!(log.starts_with("tick"), "{log}");
    }

    // Writes go on while the leader is killed: what was acknowledged is read back on the others.
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let others: Vec<usize> = (0..3).filter(|number| *number != first).collect();
    let client = agents[others[0]].client();
    let writer = std::thread::spawn({
        let (acknowledged, stop) = (acknowledged.clone(), stop.clone());
        move || {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let id = format!("write{number}");
                let job = json!({ "Job": { "ID": id, "Name": id, "Type": "batch", "Datacenters": ["nowhere"],
                    "TaskGroups": [{ "Name": "g", "Tasks": [{ "Name": "t", "Driver": "raw_exec", "Config": { "command": "/bin/true" } }] }] } });
                if client.write::<Value>("/v1/jobs", &job, &QueryOptions::default()).is_ok() {
                    acknowledged.lock().unwrap().push(id);
                } else {
                    // Whoever is elected meanwhile needs a processor too.
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    });
    let count = || acknowledged.lock().unwrap().len();
    wait_for("writes", WAIT, || if count() >= 20 { Ok(()) } else { Err(count().to_string()) });
    agents[first].kill_9();
    let before = count();
    wait_for("writes under the next leader", WAIT, || {
        if count() >= before + 20 { Ok(()) } else { Err(Told(|| agents[others[0]].log())) }
    });
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    for number in &others {
        let known = ids(&agents[*number]);
        for id in acknowledged.lock().unwrap().iter() {
            assert!(known.contains(id), "{id} was acknowledged and is gone");
        }
        assert_ne!(leader(&agents[*number], &agents), Some(first));
    }

    // The edge has found another server; its task never stopped, and the node was never down.
    wait_for("the edge's next server", WAIT, || {
        let nodes = agents[others[0]].get("/v1/nodes").map_err(|e| e.to_string())?;
        let is_back = edge.log().matches("node registered").count() >= 2;
        if nodes[0]["Status"] == "ready" && is_back { Ok(()) } else { Err(format!("{nodes}\n{}", edge.log())) }
    });
    let still = wait_for_status(&agents[others[0]], "steady", "running", 1);
    assert_eq!(still[0]["ID"], alloc.as_str());
    let stats = format!("/v1/client/allocation/{alloc}/stats");
    wait_for("the edge through the new region", WAIT, || agents[others[1]].get(&stats).map(drop));

    // The killed one comes back and has everything.
    agents[first].start_again();
    wait_for("three voters again", WAIT, || match voters(&agents[others[0]]) {
        3 => Ok(()),
        count => Err(format!("{count}\n{}", agents[first].log())),
    });
    wait_for("its state", WAIT, || {
        let known = ids(&agents[first]);
        let missing = acknowledged.lock().unwrap().iter().filter(|id| !known.contains(id)).count();
        if missing == 0 { Ok(()) } else { Err(missing.to_string()) }
    });
    drover_ok(&agents[first].address(), agents[first].dir(), &["job", "stop", "-detach", "steady"]);
    wait_for_status(&agents[first], "steady", "running", 0);
    drop(edge);
}

#[test]
fn a_server_leaves_its_region_when_it_is_told_to() {
    let mut agents = start("leave3", "leave_on_terminate = true\n");
    wait_for("three voters", WAIT, || match voters(&agents[0]) {
        3 => Ok(()),
        count => Err(format!("{count}\n{}", agents[0].log())),
    });
    let first = wait_for("a leader", WAIT, || leader(&agents[0], &agents).ok_or("none"));
    assert_eq!(agents[first].terminate(Signal::TERM), Some(0), "{}", agents[first].log());
    let other = (first + 1) % 3;
    wait_for("two voters", WAIT, || match voters(&agents[other]) {
        2 => Ok(()),
        count => Err(format!("{count}\n{}", agents[other].log())),
    });
    wait_for("a write", WAIT, || register(&agents[other], "after"));
    let members = drover_ok(&agents[other].address(), agents[other].dir(), &["server", "members"]);
    assert!(members.contains(" left "), "{members}");
    let gone = format!("s{}.leave3", first + 1);
    drover_ok(&agents[other].address(), agents[other].dir(), &["server", "force-leave", "-prune", &gone]);
    wait_for("the member forgotten", WAIT, || {
        let members = drover_ok(&agents[other].address(), agents[other].dir(), &["server", "members"]);
        if members.contains(&gone) { Err(members) } else { Ok(()) }
    });
}
