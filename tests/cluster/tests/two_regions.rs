//! Two regions as processes: joined, each answers for the other; the death of one costs the other nothing.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::time::Duration;

use drover_api_client::{Client, Config, QueryOptions};
use drover_cluster::cli::{drover, drover_ok};
use drover_cluster::jobs::write;
use drover_cluster::writers::small_job;
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

const WAIT: Duration = Duration::from_secs(120);
const JOB: &str = "job \"web\" {\n  group \"main\" {\n    count = 0\n    task \"work\" {\n      driver = \"raw_exec\"\n      \
                   config {\n        command = \"/bin/true\"\n      }\n    }\n  }\n}\n";

fn server(region: &str, joins: Vec<String>, more: &str) -> Agent {
    let mut config = AgentConfig::server(&format!("{region}-1"));
    config.region = region.to_owned();
    config.joins = joins;
    config.more.push_str(more);
    Agent::start(&binary("drover"), config)
}

/// Both below one root: west makes it, and east is founded with a token that is made there.
fn two_regions() -> (Agent, Agent) {
    let west = server("west", Vec::new(), "");
    let made = ["server", "join-token", "create", "-region", "east"];
    let token = drover_ok(&west.address(), west.dir(), &made);
    let file = west.dir().join("token-for-east");
    std::fs::write(&file, token).unwrap();
    let more = format!("server {{\n  join_token_file = {file:?}\n}}\n");
    let gossip = format!("127.0.0.1:{}", west.config().serf);
    let east = server("east", vec![gossip], &more);
    (west, east)
}

fn is_member(agent: &Agent, name: &str, status: &str) -> Result<(), String> {
    let members = drover_ok(&agent.address(), agent.dir(), &["server", "members"]);
    let is_there = members.lines().any(|line| line.starts_with(name) && line.contains(&format!(" {status} ")));
    if is_there { Ok(()) } else { Err(format!("{members}\n{}", agent.log())) }
}

fn register(client: &Client, id: &str, region: &str) -> Result<Value, String> {
    let options = QueryOptions { region: region.to_owned(), ..QueryOptions::default() };
    let answer = client.write::<Value>("/v1/jobs", &json!({ "Job": small_job(id, "") }), &options);
    answer.map(|answer| answer.value).map_err(|error| error.to_string())
}

#[test]
fn a_region_founded_by_a_token_and_its_founder_answer_for_each_other() {
    let (west, mut east) = two_regions();
    register(&west.client(), "before-west", "").unwrap();
    register(&east.client(), "before-east", "").unwrap();
    for agent in [&west, &east] {
        wait_for("both regions", WAIT, || match agent.get("/v1/regions")? {
            regions if regions == json!(["east", "west"]) => Ok(()),
            regions => Err(format!("{regions}\n{}", agent.log())),
        });
        wait_for("west", WAIT, || is_member(agent, "west-1.west", "alive"));
        wait_for("east", WAIT, || is_member(agent, "east-1.east", "alive"));
    }

    // To join by name what is joined already is no error.
    let gossip = format!("127.0.0.1:{}", west.config().serf);
    drover_ok(&east.address(), east.dir(), &["server", "join", &gossip]);
    // The token was for one server.
    let said = drover(&west.address(), west.dir(), &["server", "join-token", "create", "-region", "east"]);
    assert!(said.code != 0 && said.stderr.contains("region east is there already"), "{said:#?}");

    // What they had stays theirs, and either shows both.
    for (agent, region, id) in [(&west, "east", "before-east"), (&east, "west", "before-west")] {
        let job = agent.get(&format!("/v1/job/{id}?region={region}")).unwrap();
        assert_eq!(job["Region"], region);
        assert!(agent.get(&format!("/v1/job/{id}")).is_err(), "{id} is of region {region} alone");
    }
    // By the command line: by flag, by environment, by the job file.
    write(west.dir(), "web.nomad.hcl", JOB);
    drover_ok(&west.address(), west.dir(), &["job", "run", "-detach", "-region", "east", "web.nomad.hcl"]);
    let status = drover_ok(&east.address(), east.dir(), &["job", "status"]);
    assert!(status.contains("web "), "{status}");
    let status = drover_ok(&west.address(), west.dir(), &["job", "status", "-region=east", "web"]);
    assert!(status.contains("= web"), "{status}");
    write(east.dir(), "own.nomad.hcl", &JOB.replace("\"web\" {", "\"own\" {\n  region = \"west\""));
    drover_ok(&east.address(), east.dir(), &["job", "run", "-detach", "own.nomad.hcl"]);
    assert_eq!(west.get("/v1/job/own").unwrap()["Region"], "west");

    // The other one dies while writes go on here: none of them fails, and none waits for it.
    let soon = Config { address: west.address(), timeout: Duration::from_secs(30), ..Config::default() };
    let west_client = Client::new(soon).unwrap();
    east.kill_9();
    let mut number = 0;
    wait_for("the word of its death", WAIT, || {
        number += 1;
        register(&west_client, &format!("during{number}"), "").unwrap();
        is_member(&west, "east-1.east", "failed")
    });
    assert_eq!(west.get("/v1/regions").unwrap(), json!(["east", "west"]));
    let said = drover(&west.address(), west.dir(), &["job", "status", "-region", "east"]);
    assert!(said.code != 0 && said.stderr.contains("can't be reached"), "{said:#?}");
    let said = drover(&west.address(), west.dir(), &["job", "status", "-region", "north"]);
    assert!(said.code != 0 && said.stderr.contains("No path to region"), "{said:#?}");

    // It comes back and finds the other again by itself, because that one looks for it.
    east.start_again();
    east.wait_for_leader();
    wait_for("the other region again", WAIT, || {
        register(&west_client, "again", "east").map_err(|e| format!("{e}\n{}\n{}", west.log(), east.log()))
    });
    assert_eq!(east.get("/v1/job/again").unwrap()["Region"], "east");

    // A region that ends in order has not failed: it has left.
    drover_ok(&west.address(), west.dir(), &["server", "members"]);
    assert_eq!(east.terminate(Signal::TERM), Some(0), "{}", east.log());
    register(&west_client, "after", "").unwrap();
}

#[test]
fn regions_of_different_authorities_stay_apart() {
    let (west, stranger) = (server("west", Vec::new(), ""), server("east", Vec::new(), ""));
    let gossip = format!("127.0.0.1:{}", west.config().serf);
    let said = drover(&stranger.address(), stranger.dir(), &["server", "join", &gossip]);
    assert_ne!(said.code, 0, "{said:#?}");
    assert!(format!("{said:?}").contains("drover server join-token create"), "{said:#?}");
    for (agent, own) in [(&west, "west"), (&stranger, "east")] {
        assert_eq!(agent.get("/v1/regions").unwrap(), json!([own]));
        register(&agent.client(), "goes-on", "").unwrap();
    }
}
