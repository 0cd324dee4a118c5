use serde_json::{Value, json as j};

use super::{Agent, Line, json};

fn member(name: &str, port: u16, rpc_port: &str, status: &str) -> Value {
    j!({
        "Name": name, "Addr": "127.0.0.1", "Port": port, "Status": status, "ProtocolCur": 2,
        "Tags": { "region": "global", "dc": "dc1", "build": "2.0.6-dev", "raft_vsn": "3", "port": rpc_port, "rpc_addr": "127.0.0.1" },
    })
}

#[test]
fn members() {
    let members = [
        member("s3.global", 24473, "24463", "alive"),
        member("s1.global", 24471, "24461", "leaving"),
        member("s2.global", 24472, "24462", "alive"),
    ];
    let agent = Agent::start(&[
        ("GET /v1/agent/members", vec![json(j!({ "Members": members }))]),
        ("GET /v1/status/leader", vec![json(j!("127.0.0.1:24462"))]),
    ]);
    let expected = "\
Name       Address    Port   Status   Leader  Raft Version  Build      Datacenter  Region
s1.global  127.0.0.1  24471  leaving  false   3             2.0.6-dev  dc1         global
s2.global  127.0.0.1  24472  alive    true    3             2.0.6-dev  dc1         global
s3.global  127.0.0.1  24473  alive    false   3             2.0.6-dev  dc1         global";
    agent.run("server members").printed(expected);
    assert_eq!(agent.asked(), ["GET /v1/agent/members", "GET /v1/status/leader?region=global"]);
    let old = agent.run("server-members");
    assert_eq!(old.stdout, format!("{expected}\n"));
    assert!(old.stderr.starts_with("WARNING! The \"drover server-members\" command is deprecated."), "{}", old.stderr);
    let verbose = agent.run("server members -verbose").stdout;
    let mut lines = verbose.lines();
    assert_eq!(
        lines.next().unwrap(),
        "Name       Address    Port   Status   Leader  Protocol  Raft Version  Build      Datacenter  Region  Tags"
    );
    assert!(
        lines
            .next()
            .unwrap()
            .ends_with("global  build=2.0.6-dev,dc=dc1,port=24461,raft_vsn=3,region=global,rpc_addr=127.0.0.1")
    );
    Line::new("server members").env("NOMAD_ADDR", "http://127.0.0.1:1").run().failed(
        "Error querying servers: Get \"http://127.0.0.1:1/v1/agent/members\": dial tcp 127.0.0.1:1: connect: connection refused",
    );
}

#[test]
fn what_the_agent_says_of_itself() {
    let stats =
        j!({ "stats": { "nomad": { "bootstrap": "true" }, "client": { "node_id": "4f2b", "heartbeat_ttl": "13s" } } });
    let agent = Agent::start(&[("GET /v1/agent/self", vec![json(stats)])]);
    agent.run("agent-info").printed("client\n  heartbeat_ttl = 13s\n  node_id = 4f2b\nnomad\n  bootstrap = true");
    agent.run("agent-info -t '{{.stats.client.node_id}}'").printed("4f2b");
}

#[test]
fn the_log_of_an_agent() {
    let frames = "{}{\"Data\":\"b25lCg==\",\"Offset\":4}{}{\"Data\":\"dHdv\",\"Offset\":7}";
    let agent = Agent::start(&[("GET /v1/agent/monitor", vec![super::text(200, frames)])]);
    let ran = agent.run("monitor -log-level debug -json -server-id s2");
    assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (0, "one\ntwo", ""));
    assert_eq!(agent.asked(), ["GET /v1/agent/monitor?log_json=true&log_level=DEBUG&server_id=s2"]);
    agent.run("monitor");
    assert_eq!(agent.asked()[1], "GET /v1/agent/monitor?log_json=false&log_level=INFO");
    agent.run("monitor -node-id x").failed("Node ID must contain at least two characters.");
    let refusing = Agent::start(&[("GET /v1/agent/monitor", vec![super::text(400, "unknown Nomad server nope1")])]);
    refusing.run("monitor -server-id nope1").failed(
        "Error starting monitor: Unexpected response code: 400 (unknown Nomad server nope1)\n\
         For additional help try 'drover monitor -help'",
    );
}
