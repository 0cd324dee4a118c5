//! Server and edge as processes of their own.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use drover_cluster::cli::drover_ok;
use drover_cluster::jobs::{SETTLE_MAX, job_text, shell, wait_for_status, write};
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig, wait_for};
use serde_json::Value;

/// A cloud that says where a machine is; nothing any more when it is told so. It ends with the test.
fn cloud(is_silent: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/metadata/v1/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let asked = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let answer = match asked.as_str() {
                _ if is_silent.load(Ordering::SeqCst) => "500 x\r\nContent-Length: 0\r\n\r\n",
                "GET /metadata/v1/region HTTP/1.1" => "200 OK\r\nContent-Length: 4\r\n\r\nfra1",
                "GET /metadata/v1/id HTTP/1.1" => "200 OK\r\nContent-Length: 2\r\n\r\n42",
                _ => "404 x\r\nContent-Length: 0\r\n\r\n",
            };
            let _ = write!(stream, "HTTP/1.1 {answer}");
        }
    });
    url
}

/// The program with a variable in its environment.
fn with_variable(dir: &Path, name: &str, value: &str) -> PathBuf {
    let script = dir.join("drover-edge");
    let program = binary("drover-edge");
    std::fs::write(&script, format!("#!/bin/sh\n{name}='{value}' exec '{}' \"$@\"\n", program.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// The node of that name, whole, once it fits.
fn wait_for_node(server: &Agent, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("node {name}"), SETTLE_MAX, || {
        let nodes = server.get("/v1/nodes")?;
        let node = nodes.as_array().into_iter().flatten().find(|node| node["Name"] == name);
        let id = node.and_then(|node| node["ID"].as_str()).ok_or("it is not there")?;
        let node = server.get(&format!("/v1/node/{id}"))?;
        if fits(&node) { Ok(node) } else { Err(format!("{node:#}")) }
    })
}

#[test]
fn drover_edge_joins_a_server_of_the_same_host_without_any_setting() {
    let server = Agent::start(&binary("drover"), AgentConfig::server("alone"));
    let rpc = format!("127.0.0.1:{}", server.config().rpc);
    let is_silent = Arc::new(AtomicBool::new(false));
    let programs = tempfile::tempdir().unwrap();
    let program = with_variable(programs.path(), "DO_ENV_URL", &cloud(is_silent.clone()));
    let mut edge = Agent::spawn(&program, AgentConfig::client("edge1", std::slice::from_ref(&rpc)));
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

    // What its cloud says came after its start, and stays when the cloud says nothing any more.
    let is_known = |node: &Value| node["Attributes"]["platform.digitalocean.region"] == "fra1";
    let node = wait_for_node(&server, "edge1", is_known);
    assert_eq!(
        (&node["Attributes"]["unique.platform.digitalocean.id"], &node["Links"]["digitalocean"]),
        (&"42".into(), &"42".into())
    );
    is_silent.store(true, Ordering::SeqCst);
    edge.kill_9();
    edge.start_again();
    wait_for("its next life", SETTLE_MAX, || {
        let log = edge.log();
        if log.matches("node registered").count() > 1 { Ok(()) } else { Err(log) }
    });
    let again = wait_for_node(&server, "edge1", |node| node["Status"] == "ready");
    assert!(is_known(&again), "{again:#}");
    drop((edge, second));
}
