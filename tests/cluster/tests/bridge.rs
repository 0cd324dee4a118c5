//! A job with a bridge network under a real agent, on a host of its own: reached, shown, and gone when the agent was killed.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use drover_cluster::cli::{Said, said};
use drover_cluster::jobs::{job_text, shell, write};
use drover_cluster::room;
use drover_harness::binaries::binary;
use drover_harness::output::output;
use drover_harness::{processes, wait_for};
use rustix::process::Signal;

const WAIT: Duration = Duration::from_secs(120);

/// Network and mounts of its own, there as long as this.
struct Host(Child);

impl Host {
    fn new() -> Host {
        let script = "mount -t tmpfs none /run && ip link set lo up && echo made && exec cat";
        let mut keeper = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "made\n");
        Host(keeper)
    }

    fn command(&self, dir: &Path, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.0.id().to_string(), "-n", "-m"]).arg(format!("--wd={}", dir.display())).arg(program);
        command.env_remove("DROVER_ADDR").env_remove("NOMAD_ADDR").env("TMPDIR", dir).stdin(Stdio::null());
        command
    }

    fn drover(&self, dir: &Path, args: &[&str]) -> Said {
        said(output(self.command(dir, &binary("drover")).args(args)))
    }

    fn links(&self, dir: &Path) -> String {
        said(output(self.command(dir, Path::new("ip")).args(["-br", "link"]))).stdout
    }
}

/// An agent, which ends when this is dropped.
struct Running(Child);

impl Running {
    fn end(&mut self, signal: Signal) {
        room::end(&mut self.0, signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its supervisor sees it and takes everything away.
        if matches!(self.0.try_wait(), Ok(None)) {
            self.end(Signal::KILL);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn a_bridged_job_is_reached_and_leaves_nothing_after_a_kill() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a network namespace of its own needs root");
        return;
    }
    let dir = tempfile::Builder::new().prefix("drover-bridge-").tempdir().unwrap();
    let dir = dir.path();
    let host = Host::new();
    let log_file = std::fs::File::create(dir.join("agent.log")).unwrap();
    let log = || std::fs::read_to_string(dir.join("agent.log")).unwrap_or_default();
    let agent = host
        .command(dir, &binary("drover"))
        .args(["agent", "-dev"])
        .stderr(log_file.try_clone().unwrap())
        .stdout(log_file)
        .spawn();
    let mut agent = Running(agent.unwrap());
    wait_for("a ready node", WAIT, || {
        let said = host.drover(dir, &["node", "status"]);
        if said.stdout.contains(" ready") { Ok(()) } else { Err(format!("{said:#?}\n{}", log())) }
    });
    let shown = host.drover(dir, &["node", "status", "-self", "-verbose"]).stdout;
    if shown.contains("network.bridge.undetected") {
        agent.end(Signal::INT);
        return println!("skipped: {shown}");
    }
    let plugin = shown.lines().find(|line| line.contains("plugins.cni.version.bridge"));
    assert!(plugin.is_some_and(|line| line.ends_with("1.0.0")), "{shown}");

    let script = "while :; do echo $NOMAD_ALLOC_ADDR_http | busybox nc -l -p 80; done";
    let network = "    network {\n      mode = \"bridge\"\n      port \"http\" {\n        static = 8080\n        to = 80\n      }\n    }\n    count";
    let text = job_text("web", "service", 1, "exec", &shell(script)).replacen("    count", network, 1);
    write(dir, "web.nomad.hcl", &text);
    let run = host.drover(dir, &["job", "run", "-detach", "web.nomad.hcl"]);
    assert_eq!(run.code, 0, "{run:#?}\n{}", log());
    wait_for("an answer at the published port", WAIT, || {
        let said = said(output(host.command(dir, Path::new("busybox")).args(["nc", "127.0.0.1", "8080"])));
        if said.stdout == "172.26.64.2:80\n" { Ok(()) } else { Err(format!("{said:#?}\n{}", log())) }
    });
    let allocs = host.drover(dir, &["job", "allocs", "-t", "{{range .}}{{.ID}}{{end}}", "web"]).stdout;
    let status = wait_for("a running alloc", WAIT, || {
        let status = host.drover(dir, &["alloc", "status", allocs.trim()]).stdout;
        if status.contains("Client Status       = running") { Ok(status) } else { Err(status) }
    });
    assert!(status.contains("Allocation Addresses (mode = \"bridge\"):\n"), "{status}");
    let row = status.lines().find(|line| line.starts_with("*http")).unwrap_or_default();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["*http", "127.0.0.1:8080", "->", "80"], "{status}");
    let told = host.drover(dir, &["alloc", "status", "-json", allocs.trim()]).stdout;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["NetworkStatus"]["InterfaceName"], "eth0", "{told:#}");
    assert_eq!(told["NetworkStatus"]["Address"], "172.26.64.2");
    assert!(host.links(dir).contains("drover-"), "{}", host.links(dir));

    agent.end(Signal::KILL);
    wait_for("nothing but loopback", WAIT, || {
        let links = host.links(dir);
        if links.lines().count() == 1 && links.starts_with("lo ") { Ok(()) } else { Err(format!("{links}\n{}", log())) }
    });
    wait_for("the end of all its processes", WAIT, || {
        let left = processes::naming(dir);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}
