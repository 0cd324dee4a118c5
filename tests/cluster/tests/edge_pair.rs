//! Two agents on one host, each with tasks and a bridge of its own: what one of them goes through is not the other's business, and
//! neither takes a port that the other has.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::collections::BTreeSet;
use std::process::Child;
use std::time::Duration;

use drover_cluster::cli::Said;
use drover_cluster::jobs::{job_text, shell};
use drover_cluster::room::Room;
use drover_harness::output::output;
use drover_harness::{processes, wait_for};
use rustix::process::Signal;
use serde_json::Value;

const WAIT: Duration = Duration::from_secs(120);

/// One agent, server and client in one.
struct Agent<'a> {
    room: &'a Room,
    name: &'static str,
    /// The first of its ports; all of the room's are free.
    port: u16,
    child: Child,
}

impl<'a> Agent<'a> {
    fn start(room: &'a Room, name: &'static str, port: u16) -> Agent<'a> {
        let config = format!(
            "name = \"{name}\"\ndata_dir = \"/run/work/{name}\"\nbind_addr = \"127.0.0.1\"\nregion = \"{name}\"\nlog_level = \"DEBUG\"\n\
             ports {{\n  http = {port}\n  rpc = {}\n  serf = {}\n}}\nserver {{\n  enabled = true\n  bootstrap_expect = 1\n}}\n\
             client {{\n  enabled = true\n  servers = [\"127.0.0.1:{}\"]\n}}\n\
             plugin \"raw_exec\" {{\n  config {{\n    enabled = true\n  }}\n}}\n",
            port + 1,
            port + 2,
            port + 1
        );
        std::fs::write(room.dir().join(format!("{name}.hcl")), config).unwrap();
        let agent = Agent { room, name, port, child: spawn(room, name) };
        agent.wait_ready();
        agent
    }

    fn wait_ready(&self) {
        wait_for("a ready node", WAIT, || {
            let said = self.cli(&["node", "status"]);
            if said.stdout.contains(" ready") {
                Ok(())
            } else {
                Err(format!("{said:#?}\n{}", self.room.log(self.name)))
            }
        });
    }

    fn cli(&self, args: &[&str]) -> Said {
        let mut command = self.room.command("drover", args);
        command.env("DROVER_ADDR", format!("http://127.0.0.1:{}", self.port));
        drover_cluster::cli::said(output(&mut command))
    }

    fn run(&self, text: &str) {
        let file = self.room.dir().join(format!("{}-job.hcl", self.name));
        std::fs::write(file, text).unwrap();
        let said = self.cli(&["job", "run", "-detach", &format!("{}-job.hcl", self.name)]);
        assert_eq!(said.code, 0, "{said:#?}");
    }

    /// The allocs of a job, once as many run as there are to be.
    fn running(&self, job: &str) -> Vec<Value> {
        wait_for(&format!("{job} of {}", self.name), WAIT, || {
            let said = self.cli(&["job", "allocs", "-json", job]);
            let allocs: Vec<Value> =
                serde_json::from_str(&said.stdout).map_err(|error| format!("{error}: {said:#?}"))?;
            let runs = |alloc: &&Value| alloc["ClientStatus"] == "running";
            if allocs.iter().filter(runs).count() == 1 {
                Ok(allocs)
            } else {
                Err(format!("{allocs:#?}\n{}", self.room.log(self.name)))
            }
        })
    }

    /// It dies, something becomes of what it knew, and it comes again.
    fn dies(&mut self, knew: impl FnOnce(&std::path::Path)) {
        processes::signal(self.child.id(), Signal::KILL);
        self.child.wait().unwrap();
        knew(&self.room.dir().join(self.name).join("client/state.log"));
        self.child = spawn(self.room, self.name);
        self.wait_ready();
    }

    /// The main processes of its tasks and its supervisor, with the kernel's word on when each began.
    fn processes(&self) -> BTreeSet<(u32, String)> {
        let node = self.cli(&["node", "status", "-t", "{{range .}}{{.ID}}{{end}}"]).stdout;
        let own = format!("/{}/", node.get(..8).expect("the node has an id"));
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let its = pids.filter_map(|pid| {
            let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
            let leads = fields.get(3)?.parse() == Ok(pid);
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let is_supervisor = String::from_utf8_lossy(&line).contains("__supervisor\0run");
            let is_its = cgroups.contains(&own) && !cgroups.contains("/.spare-") && (leads || is_supervisor);
            is_its.then(|| (pid, fields.get(19).copied().unwrap_or_default().to_owned()))
        });
        its.collect()
    }

    fn mounts(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.room.path("/proc/self/mounts")).unwrap_or_default();
        let own = format!("/run/work/{}/", self.name);
        text.lines().filter(|line| line.contains(&own)).map(str::to_owned).collect()
    }
}

fn spawn(room: &Room, name: &str) -> Child {
    room.agent("drover", name, &["-config", &format!("{name}.hcl")])
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        for job in ["web", "plain", "steal", "hosted"] {
            self.cli(&["job", "stop", "-purge", "-detach", job]);
        }
        // What is left ends with the room.
        processes::end(&mut self.child);
    }
}

/// A job that says its name at a published port.
fn web(id: &str, says: &str, port: u16) -> String {
    let script = format!("while :; do echo {says} | busybox nc -l -p 80; done");
    let network = format!(
        "    network {{\n      mode = \"bridge\"\n      port \"http\" {{\n        static = {port}\n        to = 80\n      }}\n    }}\n    count"
    );
    job_text(id, "service", 1, "exec", &shell(&script)).replacen("    count", &network, 1)
}

fn answer(room: &Room, port: u16) -> String {
    let output = output(&mut room.command("/bin/busybox", &["nc", "127.0.0.1", &port.to_string()]));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn wait_for_answer(room: &Room, port: u16, says: &str) {
    wait_for("an answer", WAIT, || {
        let said = answer(room, port);
        if said == format!("{says}\n") { Ok(()) } else { Err(format!("{port} says {said:?}")) }
    });
}

#[test]
fn two_agents_of_a_host_leave_each_other_alone() {
    let Some(room) = Room::new() else { return };
    if !std::path::Path::new("/bin/busybox").exists() {
        return println!("skipped: no /bin/busybox");
    }
    let mut one = Agent::start(&room, "one", 4000);
    let two = Agent::start(&room, "two", 5000);
    let shown = two.cli(&["node", "status", "-self", "-verbose"]).stdout;
    if shown.contains("network.bridge.undetected") {
        return println!("skipped: {shown}");
    }
    for (agent, port) in [(&one, 8080), (&two, 8081)] {
        agent.run(&web("web", agent.name, port));
        agent.run(&job_text("plain", "service", 1, "raw_exec", &shell("while :; do sleep 0.1; done")));
        agent.running("web");
        agent.running("plain");
        wait_for_answer(&room, port, agent.name);
    }

    // A port that leads to the other's alloc, and one that a task of the other holds.
    two.run(&web("steal", "thief", 8080).replacen(
        "    count",
        "    restart {\n      attempts = 0\n      mode = \"fail\"\n    }\n    count",
        1,
    ));
    let refused = wait_for("the word about the port", WAIT, || {
        let said = two.cli(&["job", "allocs", "-json", "steal"]).stdout;
        if said.contains("is published by another agent on this host") { Ok(said) } else { Err(said) }
    });
    assert!(refused.contains("port \\\"http\\\" can't be had: "), "{refused}");
    two.cli(&["job", "stop", "-purge", "-detach", "steal"]);
    let holding = "while :; do echo held | busybox nc -l -p 8090; done";
    let port = "    network {\n      port \"p\" {\n        static = 8090\n      }\n    }\n    count";
    one.run(&job_text("hosted", "service", 1, "raw_exec", &shell(holding)).replacen("    count", port, 1));
    one.running("hosted");
    wait_for_answer(&room, 8090, "held");
    two.run(&web("steal", "thief", 8090).replacen(
        "    count",
        "    restart {\n      attempts = 0\n      mode = \"fail\"\n    }\n    count",
        1,
    ));
    wait_for("the word about the port", WAIT, || {
        let said = two.cli(&["job", "allocs", "-json", "steal"]).stdout;
        if said.contains(":8090 is held by process") { Ok(()) } else { Err(said) }
    });
    two.cli(&["job", "stop", "-purge", "-detach", "steal"]);
    one.cli(&["job", "stop", "-purge", "-detach", "hosted"]);
    wait_for_answer(&room, 8080, "one");

    let ids = |agent: &Agent<'_>| -> Vec<String> {
        let id = |job: &str| agent.running(job)[0]["ID"].as_str().unwrap().to_owned();
        vec![id("web"), id("plain")]
    };
    let (before, mounts, its_own, allocs) = (two.processes(), two.mounts(), one.processes(), ids(&one));
    assert!(before.len() >= 3, "{before:?}");
    let untouched = |one: &Agent<'_>, when: &str| {
        assert_eq!(two.processes(), before, "{when}: processes of the other");
        assert_eq!(two.mounts(), mounts, "{when}: mounts of the other");
        wait_for_answer(&room, 8081, "two");
        assert_eq!(ids(one), allocs, "{when}: its own allocs");
        assert_eq!(one.processes(), its_own, "{when}: its own processes");
        wait_for_answer(&room, 8080, "one");
    };
    one.dies(|_| {});
    untouched(&one, "killed");
    one.dies(|state| std::fs::write(state, "").unwrap());
    untouched(&one, "with an empty store");
    one.dies(|state| {
        let bytes = std::fs::read(state).unwrap();
        // There may be room behind the last record.
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        std::fs::write(state, &bytes[..end - 3]).unwrap();
    });
    untouched(&one, "with a torn store");

    // Nothing is wanted of the one any more: all that is its own goes.
    for job in ["web", "plain"] {
        one.cli(&["job", "stop", "-purge", "-detach", job]);
    }
    wait_for("nothing but its supervisor", WAIT, || {
        let left = one.processes();
        if left.len() <= 1 && answer(&room, 8080).is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert_eq!(two.processes(), before);
    assert_eq!(two.mounts(), mounts);
    wait_for_answer(&room, 8081, "two");
}
