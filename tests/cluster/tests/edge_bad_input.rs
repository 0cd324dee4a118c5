//! What can't be had is told in one sentence as an event of the task, its restart policy is followed, and nothing is left.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use drover_cluster::cli::drover_ok;
use drover_cluster::image_server::ImageServer;
use drover_cluster::jobs::{allocs, job_text, shell, text, wait_for_status, write};
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig, Told, wait_for};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;

/// The longest wait for a task that is tried twice, beside others.
const WAIT: Duration = Duration::from_secs(240);

/// One wish that can't be fulfilled.
struct Case {
    id: &'static str,
    driver: &'static str,
    body: String,
    /// More of the group.
    group: String,
    /// What the event says.
    says: String,
    /// Trying again may help, so it is tried again as its policy says.
    is_tried_again: bool,
}

impl Case {
    fn new(id: &'static str, driver: &'static str, body: String, says: &str, is_tried_again: bool) -> Case {
        Case { id, driver, body, group: String::new(), says: says.to_owned(), is_tried_again }
    }

    /// It is tried twice at most, and nowhere else afterwards.
    fn text(&self) -> String {
        let policy = "      restart {\n        attempts = 1\n        delay = \"1s\"\n        interval = \"1h\"\n        mode = \"fail\"\n      }\n";
        let group = "    reschedule {\n      attempts = 0\n      unlimited = false\n    }\n";
        let text = job_text(self.id, "batch", 1, self.driver, &format!("{}{policy}", self.body));
        // A machine wants more.
        text.replacen("memory = 16", "memory = 128", 1).replacen(
            "    count",
            &format!("{group}{}    count", self.group),
            1,
        )
    }
}

fn image(host: &str, tag: &str) -> String {
    format!("      config {{\n        image = \"{host}/{tag}\"\n        args = [\"-c\", \"true\"]\n      }}\n")
}

fn cases(agent: &Agent, images: Option<&ImageServer>, taken: u16) -> Vec<Case> {
    let outside = agent.dir().join("outside.sh");
    std::fs::write(&outside, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&outside, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let command = format!("      config {{\n        command = \"{}\"\n      }}\n", outside.display());
    let port = format!("    network {{\n      port \"web\" {{\n        static = {taken}\n      }}\n    }}\n");
    let mut all = vec![
        Case::new("outside", "exec", command, "outside.sh", true),
        Case::new("user", "exec", format!("      user = \"no-such-user\"\n{}", shell("true")), "no-such-user", true),
        Case {
            group: port,
            ..Case::new(
                "port",
                "raw_exec",
                shell("true"),
                &format!(":{taken} is held by process {}", std::process::id()),
                true,
            )
        },
    ];
    if let Some(ImageServer { host }) = images {
        let pull = |what: &str| format!("Failed to pull `{host}/{what}`: ");
        all.push(Case::new("none", "container", image(host, "busybox:none"), &pull("busybox:none"), true));
        all.push(Case::new("digest", "container", image(host, "busybox:bad"), &pull("busybox:bad"), true));
        all.push(Case::new("hangs", "container", image(host, "busybox:slow"), &pull("busybox:slow"), true));
    }
    if agent_has(agent, "qemu") {
        let config = "      config {\n        image_path = \"/etc/passwd\"\n      }\n".to_owned();
        all.push(Case::new("machine", "qemu", config, "image_path is not in the allowed paths", false));
    }
    all
}

fn agent_has(agent: &Agent, driver: &str) -> bool {
    let nodes = agent.get("/v1/nodes").unwrap();
    let has = nodes[0]["Drivers"][driver]["Detected"] == true;
    if !has {
        println!("skipped: {driver} is not there");
    }
    has
}

/// The text of the event that tells why a task did not start; it must be one sentence.
fn failure(alloc: &Value) -> String {
    let events = alloc["TaskStates"]["work"]["Events"].as_array().unwrap();
    let kinds = ["Driver Failure", "Setup Failure", "Failed Validation"];
    let told = events.iter().find(|event| kinds.iter().any(|kind| event["Type"] == *kind));
    let told = told.unwrap_or_else(|| panic!("no reason is told: {events:#?}"));
    told["DisplayMessage"].as_str().unwrap().to_owned()
}

fn check(agent: &Agent, case: &Case) {
    let alloc = wait_for(&format!("the end of {}", case.id), WAIT, || {
        let found = allocs(agent, case.id).into_iter().find(|alloc| alloc["ClientStatus"] == "failed");
        found.ok_or(Told(|| format!("{:#?}\n{}", allocs(agent, case.id), agent.log())))
    });
    let said = failure(&alloc);
    assert!(said.contains(&case.says), "{}: {said}", case.id);
    assert!(!said.trim_end().contains('\n'), "{}: more than a sentence: {said}", case.id);
    let task = &alloc["TaskStates"]["work"];
    let restarts = task["Restarts"].as_u64().unwrap_or_default();
    assert_eq!(restarts, u64::from(case.is_tried_again), "{}: {task:#}", case.id);
    assert!(task["Events"].to_string().contains("Not Restarting"), "{}: {task:#}", case.id);
}

/// Nothing of allocs is mounted, and no cgroup but the supervisor's is there.
fn wait_for_nothing(agent: &Agent, node: &str) {
    wait_for("nothing of a task", drover_cluster::jobs::SETTLE_MAX, || {
        let mounts = std::fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
        let below = format!("{}/data/alloc/", agent.dir().display());
        let mut left: Vec<String> = mounts.lines().filter(|line| line.contains(&below)).map(str::to_owned).collect();
        for root in mounts.lines().filter(|line| line.contains(" cgroup")).filter_map(|line| line.split(' ').nth(1)) {
            let of_node = std::path::Path::new(root).join("drover").join(&node[..8]);
            let dirs = std::fs::read_dir(of_node).into_iter().flatten().flatten();
            let names = dirs
                .filter(|entry| entry.path().is_dir())
                .map(|entry| entry.file_name().to_string_lossy().into_owned());
            left.extend(names.filter(|name| !name.starts_with('.')));
        }
        if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
    });
}

#[test]
fn what_cannot_be_had_is_told_in_one_sentence_and_leaves_nothing() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: exec and container need root");
    }
    let images = ImageServer::start();
    let mut config = AgentConfig::both("wishes");
    config
        .more
        .push_str(&images.as_ref().map(|images| images.plugin("image_pull_timeout = \"5s\"")).unwrap_or_default());
    config.more.push_str("client {\n  network_interface = \"lo\"\n  disk_total_mb = 16384\n}\n");
    let dir = Agent::room();
    // A disk for allocs that can be filled.
    let allocs_dir = dir.path().join("data/alloc");
    std::fs::create_dir_all(&allocs_dir).unwrap();
    mount("tmpfs", &allocs_dir, "tmpfs", MountFlags::empty(), Some(c"size=64m,nr_inodes=3000,mode=711")).unwrap();
    let agent = Agent::spawn_in(&binary("drover"), config, dir);
    agent.wait_for_leader();
    agent.wait_for_nodes(1);
    let node = text(&agent.get("/v1/nodes").unwrap()[0], "ID").to_owned();
    let (address, dir) = (agent.address(), agent.dir().to_path_buf());
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    let cases = cases(&agent, images.as_ref(), taken);
    for case in &cases {
        write(&dir, "job.nomad.hcl", &case.text());
        drover_ok(&address, &dir, &["job", "run", "-detach", "job.nomad.hcl"]);
    }
    for case in &cases {
        check(&agent, case);
    }

    // The disk of allocs is full.
    let mut filler = std::fs::File::create(allocs_dir.join("filler")).unwrap();
    let full = std::io::copy(&mut std::io::repeat(1).take(1 << 30), &mut filler).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let inodes = (0..).map(|number| std::fs::create_dir(allocs_dir.join(format!("filler-{number}"))));
    let refused = inodes.take(1_000_000).find_map(Result::err);
    println!("directories: {refused:?}");
    let full = Case::new("full", "raw_exec", shell("true"), "no space left on device", false);
    write(&dir, "job.nomad.hcl", &full.text());
    drover_ok(&address, &dir, &["job", "run", "-detach", "job.nomad.hcl"]);
    let alloc = wait_for_status(&agent, "full", "failed", 1).remove(0);
    let said = failure(&alloc);
    assert!(said.to_lowercase().contains("no space left on device"), "{said}");
    assert!(!said.trim_end().contains('\n'), "{said}");

    for id in cases.iter().map(|case| case.id).chain(["full"]) {
        drover_ok(&address, &dir, &["job", "stop", "-purge", "-detach", id]);
    }
    wait_for_nothing(&agent, &node);
    drop(agent);
    let _ = unmount(&allocs_dir, UnmountFlags::DETACH);
}
