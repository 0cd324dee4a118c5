//! Server and edge as processes of their own.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use drover_cluster::cli::drover_ok;
use drover_cluster::jobs::{job_text, shell, wait_for_status, write};
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig};

#[test]
fn drover_edge_joins_a_server_of_the_same_host_without_any_setting() {
    let server = Agent::start(&binary("drover"), AgentConfig::server("alone"));
    let rpc = format!("127.0.0.1:{}", server.config().rpc);
    let edge = Agent::spawn(&binary("drover-edge"), AgentConfig::client("edge1", std::slice::from_ref(&rpc)));
    let second = Agent::spawn(&binary("drover"), AgentConfig::client("edge2", &[rpc]));
    server.wait_for_nodes(2);
    let (address, dir) = (server.address(), server.dir());
    let spread = job_text("pair", "service", 2, "raw_exec", &shell("sleep 300")).replacen(
        "    count",
        "    constraint {\n      operator = \"distinct_hosts\"\n      value = \"true\"\n    }\n    count",
        1,
    );
    write(dir, "pair.nomad.hcl", &spread);
    drover_ok(&address, dir, &["job", "run", "-detach", "pair.nomad.hcl"]);
    let running = wait_for_status(&server, "pair", "running", 2);
    assert_ne!(running[0]["NodeID"], running[1]["NodeID"]);
    drover_ok(&address, dir, &["job", "stop", "-detach", "pair"]);
    wait_for_status(&server, "pair", "running", 0);
    drop((edge, second));
}
