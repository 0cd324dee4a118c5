//! `drover agent -dev` on its fixed ports, in a network and mount namespace of its own: it leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use drover_cluster::cli::said;
use drover_cluster::jobs::{job_text, shell, write};
use drover_harness::binaries::binary;
use drover_harness::output::output;
use drover_harness::{processes, wait_for};
use rustix::process::Signal;

const WAIT: Duration = Duration::from_secs(120);

fn in_namespace(agent: u32, dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("nsenter");
    command
        .args(["-t", &agent.to_string(), "-n", "-m"])
        .arg(format!("--wd={}", dir.display()))
        .arg(binary("drover"))
        .args(args)
        .env_remove("DROVER_ADDR")
        .env_remove("NOMAD_ADDR");
    output(&mut command)
}

/// An agent, which has ended when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        processes::end(&mut self.0);
    }
}

/// The agent itself: `unshare` execs the shell, which execs the agent, so the id stays.
fn spawn(dir: &Path, user: Option<u32>) -> Running {
    let log = std::fs::File::create(dir.join("agent.log")).unwrap();
    let become_user = user.map(|user| {
        std::os::unix::fs::chown(dir, Some(user), Some(user)).unwrap();
        format!("setpriv --reuid={user} --regid={user} --clear-groups")
    });
    // What was built may be where that user can't look.
    let script = format!(
        "mount -t tmpfs none /run && mkdir /run/drover-built && mount --bind \"$0\" /run/drover-built && \
         ip link set lo up && exec {} /run/drover-built/drover agent -dev",
        become_user.unwrap_or_default()
    );
    let agent = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", &script])
        .arg(binary("drover").parent().unwrap())
        .env("TMPDIR", dir)
        .env("HOME", dir)
        .env_remove("XDG_RUNTIME_DIR")
        .current_dir(dir)
        .stdin(Stdio::null())
        .stderr(log.try_clone().unwrap())
        .stdout(log)
        .spawn();
    Running(agent.unwrap())
}

#[test]
fn dev_runs_a_job_and_leaves_nothing_behind() {
    runs_jobs_and_leaves_nothing_behind(None, &["one", "two"]);
}

#[test]
fn dev_does_so_as_a_plain_user_and_says_what_it_lacks() {
    runs_jobs_and_leaves_nothing_behind(Some(1000), &["two"]);
}

fn runs_jobs_and_leaves_nothing_behind(user: Option<u32>, jobs: &[&str]) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a network namespace of its own needs root");
        return;
    }
    let dir = tempfile::Builder::new().prefix("drover-dev-").tempdir().unwrap();
    let mut running = spawn(dir.path(), user);
    let agent = &mut running.0;
    let log = || std::fs::read_to_string(dir.path().join("agent.log")).unwrap_or_default();
    wait_for("a ready node", WAIT, || {
        let said = said(in_namespace(agent.id(), dir.path(), &["node", "status"]));
        if said.stdout.contains(" ready") { Ok(()) } else { Err(format!("{said:#?}\n{}", log())) }
    });
    assert!(log().contains("==> drover agent started! Log data will stream in below:"), "{}", log());
    let script = "echo $$ > pid; sleep 300";
    write(dir.path(), "one.nomad.hcl", &job_text("one", "service", 1, "exec", &shell("sleep 300")));
    write(dir.path(), "two.nomad.hcl", &job_text("two", "service", 1, "raw_exec", &shell(script)));
    for name in jobs {
        let file = format!("{name}.nomad.hcl");
        let said = said(in_namespace(agent.id(), dir.path(), &["job", "run", "-detach", &file]));
        assert_eq!(said.code, 0, "{said:#?}");
    }
    wait_for("both jobs running", WAIT, || {
        let running = jobs.iter().all(|name| {
            said(in_namespace(agent.id(), dir.path(), &["job", "allocs", name])).stdout.contains("running")
        });
        if running { Ok(()) } else { Err(log()) }
    });
    if user.is_some() {
        let said = said(in_namespace(agent.id(), dir.path(), &["node", "status", "-self", "-verbose"])).stdout;
        assert!(said.contains("Driver must run as root"), "{said}");
        assert!(said.contains("without limits of cores, cpu, memory, processes"), "{said}");
        assert!(said.contains("os.cgroups.unenforced.memory"), "{said}");
    }
    let before = processes::naming(dir.path());
    assert!(!before.is_empty(), "no process names the directory: the test would see nothing");
    processes::signal(agent.id(), Signal::INT);
    let code = wait_for("the agent's end", WAIT, || agent.try_wait().ok().flatten().ok_or_else(log)).code();
    assert_eq!(code, Some(0), "{}", log());
    wait_for("the end of all its processes", WAIT, || {
        let left = processes::naming(dir.path());
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !["agent.log", "one.nomad.hcl", "two.nomad.hcl"].contains(&name.as_str()))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
