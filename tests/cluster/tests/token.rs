//! A machine in another network joins with a token, and only with one: a client, a server.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use drover_cluster::cli::{Said, said};
use drover_harness::binaries::binary;
use drover_harness::network::TwoNetworks;
use drover_harness::output::output;
use drover_harness::{processes, wait_for};
use rustix::process::Signal;

const WAIT: Duration = Duration::from_secs(120);

/// An agent in a namespace; ended by its id when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        processes::end(&mut self.0);
    }
}

fn start(networks: &TwoNetworks, place: usize, name: &str, dir: &Path, config: &str) -> Running {
    let home = dir.join(name);
    std::fs::create_dir(&home).unwrap();
    let text = format!("name = \"{name}\"\ndata_dir = \"{}/data\"\nlog_level = \"DEBUG\"\n{config}", home.display());
    std::fs::write(home.join("agent.hcl"), text).unwrap();
    let log = std::fs::File::create(home.join("agent.log")).unwrap();
    let program = binary(if name.starts_with("server") { "drover" } else { "drover-edge" });
    let child = networks
        .command(place, &program)
        .args(["agent", "-config", "agent.hcl"])
        .current_dir(&home)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    Running(child)
}

fn cli(networks: &TwoNetworks, args: &[&str]) -> Said {
    let mut command = networks.command(0, &binary("drover"));
    said(output(command.args(args).env_remove("DROVER_ADDR").env_remove("NOMAD_ADDR")))
}

#[test]
fn a_client_of_another_network_joins_with_a_token_and_only_with_one() {
    let Some(networks) = TwoNetworks::new() else { return };
    let dir = tempfile::Builder::new().prefix("drover-token-").tempdir().unwrap();
    let log = |name: &str| std::fs::read_to_string(dir.path().join(name).join("agent.log")).unwrap_or_default();
    let server_config = format!(
        "addresses {{\n  rpc = \"{0}\"\n}}\nadvertise {{\n  rpc = \"{0}\"\n}}\nserver {{\n  enabled = true\n  bootstrap_expect = 1\n}}\n",
        networks.addresses[0]
    );
    let server = start(&networks, 0, "server", dir.path(), &server_config);
    wait_for("the server", WAIT, || {
        let said = cli(&networks, &["server", "members"]);
        if said.stdout.contains("alive") { Ok(()) } else { Err(format!("{said:#?}\n{}", log("server"))) }
    });

    let client = |name: &str, more: &str| {
        let config =
            format!("client {{\n  enabled = true\n  servers = [\"{}:4647\"]\n{more}}}\n", networks.addresses[0]);
        start(&networks, 1, name, dir.path(), &config)
    };
    let without = client("without", "");
    wait_for("the word about the token", WAIT, || {
        if log("without").contains("join-token") { Ok(()) } else { Err(log("without")) }
    });
    drop(without);

    let made = cli(&networks, &["node", "join-token", "create", "-uses", "1", "-json"]);
    assert_eq!(made.code, 0, "{made:#?}");
    let made: serde_json::Value = serde_json::from_str(&made.stdout).unwrap();
    let token = made["Token"].as_str().unwrap();
    std::fs::write(dir.path().join("token"), token).unwrap();
    let more = format!("  join_token_file = \"{}/token\"\n", dir.path().display());
    let first = client("first", &more);
    wait_for("the node", WAIT, || {
        let said = cli(&networks, &["node", "status"]);
        let ready = said.stdout.contains("first") && said.stdout.contains("ready");
        if ready { Ok(()) } else { Err(format!("{said:#?}\n{}", log("first"))) }
    });

    // The token was good for one use.
    let second = client("second", &more);
    wait_for("the refusal", WAIT, || {
        if log("second").contains("this join token is used up") { Ok(()) } else { Err(log("second")) }
    });
    let nodes = cli(&networks, &["node", "status"]);
    assert!(!nodes.stdout.contains("second"), "{nodes:#?}");
    drop((first, second, server));
    wait_for_end(dir.path());
}

fn wait_for_end(dir: &Path) {
    for pid in processes::naming(dir) {
        processes::signal(pid, Signal::TERM);
    }
    wait_for("the end of all processes", WAIT, || {
        let left = processes::naming(dir);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn a_server_of_another_network_joins_with_a_token_and_says_what_it_lacks_without() {
    let Some(networks) = TwoNetworks::new() else { return };
    let dir = tempfile::Builder::new().prefix("drover-token-").tempdir().unwrap();
    let log = |name: &str| std::fs::read_to_string(dir.path().join(name).join("agent.log")).unwrap_or_default();
    let config = |place: usize, expect: u32, more: &str| {
        let (here, there) = (&networks.addresses[place], &networks.addresses[0]);
        format!(
            "addresses {{\n  rpc = \"{here}\"\n  serf = \"{here}\"\n}}\nautopilot {{\n  server_stabilization_time = \"1s\"\n}}\n\
             server {{\n  enabled = true\n  bootstrap_expect = {expect}\n  retry_join = [\"{there}\"]\n{more}}}\n"
        )
    };
    let first = start(&networks, 0, "server1", dir.path(), &config(0, 1, ""));
    wait_for("the server", WAIT, || {
        let said = cli(&networks, &["server", "members"]);
        if said.stdout.contains("alive") { Ok(()) } else { Err(format!("{said:#?}\n{}", log("server1"))) }
    });

    let without = start(&networks, 1, "server2", dir.path(), &config(1, 0, ""));
    wait_for("the word about the token", WAIT, || {
        let command = format!("`drover server join-token create` on one of {}", networks.addresses[0]);
        if log("server2").contains(&command) { Ok(()) } else { Err(log("server2")) }
    });
    drop(without);

    let made = cli(&networks, &["server", "join-token", "create"]);
    assert_eq!(made.code, 0, "{made:#?}");
    std::fs::write(dir.path().join("token"), &made.stdout).unwrap();
    let more = format!("  join_token_file = \"{}/token\"\n", dir.path().display());
    let second = start(&networks, 1, "server3", dir.path(), &config(1, 0, &more));
    wait_for("two voters", WAIT, || {
        let said = cli(&networks, &["operator", "raft", "list-peers"]);
        let voters = said.stdout.lines().filter(|line| line.contains("server") && line.contains("true")).count();
        if voters == 2 { Ok(()) } else { Err(format!("{said:#?}\n{}", log("server3"))) }
    });
    drop((second, first));
    wait_for_end(dir.path());
}
