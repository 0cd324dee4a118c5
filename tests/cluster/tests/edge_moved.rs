//! An edge whose machine gets another address goes on with the connection it has, and with what runs on it.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use drover_cluster::cli::{Said, said};
use drover_cluster::jobs::{job_text, shell, write};
use drover_harness::binaries::binary;
use drover_harness::network::TwoNetworks;
use drover_harness::output::{Lines, finish, output};
use drover_harness::{processes, wait_for};
use rustix::process::Signal;

const WAIT: Duration = Duration::from_secs(120);

/// An agent in a namespace, with its directory.
struct Running<'a>(Child, &'a Path);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        processes::end(&mut self.0);
        for pid in processes::naming(self.1) {
            processes::signal(pid, Signal::TERM);
        }
    }
}

fn start<'a>(networks: &TwoNetworks, place: usize, program: &str, dir: &'a Path, config: &str) -> Running<'a> {
    std::fs::create_dir_all(dir).unwrap();
    let text = format!("data_dir = \"{}/data\"\nlog_level = \"DEBUG\"\n{config}", dir.display());
    std::fs::write(dir.join("agent.hcl"), text).unwrap();
    let log = std::fs::File::create(dir.join("agent.log")).unwrap();
    let mut command = networks.command(place, &binary(program));
    command.args(["agent", "-config", "agent.hcl"]).current_dir(dir).stdout(log.try_clone().unwrap()).stderr(log);
    Running(command.spawn().unwrap(), dir)
}

fn ip(args: &[&str]) {
    let output = output(Command::new("ip").args(args));
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_command_inside_a_task_goes_on_when_its_machine_moves() {
    let Some(networks) = TwoNetworks::new() else { return };
    let dir = tempfile::Builder::new().prefix("drover-moved-").tempdir().unwrap();
    let (server_dir, edge_dir) = (dir.path().join("server"), dir.path().join("edge"));
    let log = |dir: &Path| std::fs::read_to_string(dir.join("agent.log")).unwrap_or_default();
    let cli = |args: &[&str]| -> Said {
        let mut command = networks.command(0, &binary("drover"));
        said(output(command.args(args).env_remove("DROVER_ADDR").env_remove("NOMAD_ADDR")))
    };
    let address = &networks.addresses[0];
    let config = format!(
        "addresses {{\n  rpc = \"{address}\"\n}}\nadvertise {{\n  rpc = \"{address}\"\n}}\n\
         server {{\n  enabled = true\n  bootstrap_expect = 1\n}}\n"
    );
    let _server = start(&networks, 0, "drover", &server_dir, &config);
    wait_for("the server", WAIT, || {
        let said = cli(&["server", "members"]);
        if said.stdout.contains("alive") { Ok(()) } else { Err(format!("{said:#?}\n{}", log(&server_dir))) }
    });
    let made = cli(&["node", "join-token", "create", "-uses", "1", "-json"]);
    let made: serde_json::Value = serde_json::from_str(&made.stdout).unwrap();
    std::fs::write(dir.path().join("token"), made["Token"].as_str().unwrap()).unwrap();
    let config = format!(
        "client {{\n  enabled = true\n  servers = [\"{address}:4647\"]\n  join_token_file = \"{}/token\"\n}}\n\
         plugin \"raw_exec\" {{\n  config {{\n    enabled = true\n  }}\n}}\n",
        dir.path().display()
    );
    let _edge = start(&networks, 1, "drover-edge", &edge_dir, &config);
    wait_for("the node", WAIT, || {
        let said = cli(&["node", "status"]);
        if said.stdout.contains(" ready") { Ok(()) } else { Err(format!("{said:#?}\n{}", log(&edge_dir))) }
    });

    write(dir.path(), "wait.nomad.hcl", &job_text("wait", "service", 1, "raw_exec", &shell("sleep 1000")));
    let file = dir.path().join("wait.nomad.hcl").display().to_string();
    let run = cli(&["job", "run", "-detach", &file]);
    assert_eq!(run.code, 0, "{run:#?}");
    let alloc = wait_for("a running alloc", WAIT, || {
        let said = cli(&["job", "allocs", "-t", "{{range .}}{{.ID}} {{.ClientStatus}}{{end}}", "wait"]).stdout;
        let alloc = said.trim().strip_suffix(" running").map(str::to_owned);
        alloc.ok_or(format!("{said}\n{}", log(&edge_dir)))
    });

    let mut session = networks
        .command(0, &binary("drover"))
        .args(["alloc", "exec", "-i", "-t=false", &alloc, "/bin/sh", "-c", "while read word; do echo $$ $word; done"])
        .env_remove("DROVER_ADDR")
        .env_remove("NOMAD_ADDR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = session.stdin.take().unwrap();
    let lines = Lines::of(session.stdout.take().unwrap());
    let mut ask = |word: &str| {
        writeln!(stdin, "{word}").unwrap();
        lines.next_line().expect("the command goes on")
    };
    let before = ask("before");
    let pid = before.strip_suffix(" before").unwrap().to_owned();
    let name = &networks.names[1];
    for round in 3..6 {
        let (old, new) = (format!("10.77.0.{}/24", round - 1), format!("10.77.0.{round}/24"));
        // The other way round the kernel would take both: the second belongs to the first.
        ip(&["-n", name, "addr", "del", &old, "dev", "wire"]);
        ip(&["-n", name, "addr", "add", &new, "dev", "wire"]);
        assert_eq!(ask("moved"), format!("{pid} moved"), "the same command, from address {new}");
    }
    drop(stdin);
    assert!(finish(session).status.success());
    let registered = log(&edge_dir).matches("registered").count();
    assert!(registered <= 1, "it connected anew: {}", log(&edge_dir));
    cli(&["job", "stop", "-purge", "-detach", "wait"]);
    wait_for("the end of the task", WAIT, || {
        let said = cli(&["job", "allocs", "wait"]);
        if said.stdout.contains(" run ") { Err(said.stdout) } else { Ok(()) }
    });
}
