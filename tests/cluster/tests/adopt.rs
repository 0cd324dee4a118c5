//! An agent that is killed or stopped comes back to its tasks: none is ended, no line of a log and no exit code is lost.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::process::Command;

use drover_cluster::cli::{drover, drover_ok};
use drover_cluster::jobs::{SETTLE_MAX, allocs, job_text, shell, text, wait_for_status, write};
use drover_cluster::supervisors::supervisor_of;
use drover_harness::binaries::binary;
use drover_harness::processes::is_running;
use drover_harness::{Agent, AgentConfig, wait_for};
use rustix::process::Signal;

/// Counts up for ever and writes its own process id first.
const COUNTING: &str = "echo $$ > pid; i=0; while true; do i=$((i+1)); echo line $i; sleep 0.01; done";

fn pid_of(agent: &Agent, alloc: &str) -> u32 {
    wait_for("the task's process id", SETTLE_MAX, || {
        let pattern = agent.dir().join("data/alloc").join(alloc).join("work/pid");
        let text = std::fs::read_to_string(&pattern).map_err(|e| format!("{}: {e}", pattern.display()))?;
        text.trim().parse::<u32>().map_err(|e| e.to_string())
    })
}

/// The log's lines are 1, 2, 3 … without a gap.
fn assert_gapless(log: &str) {
    let numbers: Vec<u64> = log.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    assert!(numbers.len() > 10, "a short log: {log}");
    let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn tasks_outlive_a_killed_agent() {
    let mut agent = Agent::start(&binary("drover"), AgentConfig::both("adopt"));
    let (address, dir) = (agent.address(), agent.dir().to_path_buf());
    write(&dir, "count.nomad.hcl", &job_text("count", "service", 1, "raw_exec", &shell(COUNTING)));
    // This one ends while the agent is away: when its file appears.
    let ending = "while [ ! -e ../../../../go ]; do sleep 0.05; done; exit 3";
    let no_retry = "      restart {\n        attempts = 0\n        mode = \"fail\"\n      }\n";
    let ends = job_text("ends", "batch", 1, "raw_exec", &format!("{}{no_retry}", shell(ending))).replacen(
        "    count",
        "    reschedule {\n      attempts = 0\n      unlimited = false\n    }\n    count",
        1,
    );
    write(&dir, "ends.nomad.hcl", &ends);
    drover_ok(&address, &dir, &["job", "run", "-detach", "count.nomad.hcl"]);
    drover_ok(&address, &dir, &["job", "run", "-detach", "ends.nomad.hcl"]);
    let alloc = text(&wait_for_status(&agent, "count", "running", 1)[0], "ID").to_owned();
    let ends_alloc = text(&wait_for_status(&agent, "ends", "running", 1)[0], "ID").to_owned();
    let pid = pid_of(&agent, &alloc);

    agent.kill_9();
    assert!(is_running(pid), "the task ended with its agent");
    std::fs::write(dir.join("go"), "").unwrap();
    agent.start_again();
    agent.wait_for_leader();

    let failed = wait_for_status(&agent, "ends", "failed", 1).remove(0);
    assert_eq!(text(&failed, "ID"), ends_alloc);
    let events = &failed["TaskStates"]["work"]["Events"];
    assert!(events.to_string().contains("Exit Code: 3"), "{events:#}");

    let running = wait_for_status(&agent, "count", "running", 1);
    assert_eq!(text(&running[0], "ID"), alloc, "the task was replaced");
    assert_eq!(running[0]["TaskStates"]["work"]["Restarts"], 0);
    assert!(is_running(pid), "the task was started anew");
    assert_gapless(&drover_ok(&address, &dir, &["alloc", "logs", &alloc]));

    drover_ok(&address, &dir, &["job", "stop", "-purge", "-detach", "count"]);
    wait_for("the task's end", SETTLE_MAX, || if is_running(pid) { Err("it runs") } else { Ok(()) });
}

/// Waits for ten more lines.
fn wait_for_lines(agent: &Agent, alloc: &str) {
    let read = || {
        // An agent that has just come back may not be connected with its server yet.
        wait_for("the log", SETTLE_MAX, || {
            let said = drover(&agent.address(), agent.dir(), &["alloc", "logs", alloc]);
            if said.code == 0 { Ok(said.stdout.lines().count()) } else { Err(format!("{said:#?}")) }
        })
    };
    let before = read();
    wait_for("more lines", SETTLE_MAX, || if read() > before + 10 { Ok(()) } else { Err(format!("{before}")) });
}

#[test]
fn tasks_outlive_a_killed_supervisor_with_and_without_its_agent() {
    let mut agent = Agent::start(&binary("drover"), AgentConfig::both("takeover"));
    let (address, dir) = (agent.address(), agent.dir().to_path_buf());
    write(&dir, "count.nomad.hcl", &job_text("count", "service", 1, "raw_exec", &shell(COUNTING)));
    let inside = COUNTING.replace("> pid", "> /local/pid");
    write(&dir, "inside.nomad.hcl", &job_text("inside", "service", 1, "exec", &shell(&inside)));
    let is_root = rustix::process::geteuid().is_root();
    let jobs: &[&str] = if is_root { &["count", "inside"] } else { &["count"] };
    for job in jobs {
        drover_ok(&address, &dir, &["job", "run", "-detach", &format!("{job}.nomad.hcl")]);
    }
    let ids: Vec<String> =
        jobs.iter().map(|job| text(&wait_for_status(&agent, job, "running", 1)[0], "ID").to_owned()).collect();
    let pid = pid_of(&agent, &ids[0]);
    for round in 0..4 {
        ids.iter().for_each(|alloc| wait_for_lines(&agent, alloc));
        let supervisor = supervisor_of(&agent).expect("a supervisor runs");
        let takes_agent = round % 2 == 1;
        if takes_agent {
            agent.kill_9();
        }
        let killed = rustix::process::Pid::from_raw(supervisor.try_into().unwrap()).unwrap();
        rustix::process::kill_process(killed, Signal::KILL).unwrap();
        if takes_agent {
            agent.start_again();
            agent.wait_for_leader();
            agent.wait_for_nodes(1);
        }
        wait_for("another supervisor", SETTLE_MAX, || {
            if is_running(supervisor) { Err("the first one is there") } else { Ok(()) }
        });
    }
    for (job, alloc) in jobs.iter().zip(&ids) {
        wait_for_lines(&agent, alloc);
        let running = wait_for_status(&agent, job, "running", 1);
        assert_eq!(text(&running[0], "ID"), alloc, "the task was replaced");
        assert_eq!(running[0]["TaskStates"]["work"]["Restarts"], 0, "{:#}", running[0]["TaskStates"]);
        assert_gapless(&drover_ok(&address, &dir, &["alloc", "logs", alloc]));
    }
    assert!(is_running(pid), "the task was started anew");
    let said = drover_ok(&address, &dir, &["alloc", "exec", &ids[0], "/bin/echo", "adopted"]);
    assert_eq!(said, "adopted\n");
    assert!(drover_ok(&address, &dir, &["alloc", "status", "-stats", &ids[0]]).contains("Memory Stats"));
    for job in jobs {
        drover_ok(&address, &dir, &["job", "stop", "-purge", "-detach", job]);
    }
    wait_for("the task's end", SETTLE_MAX, || if is_running(pid) { Err("it runs") } else { Ok(()) });
}

#[test]
fn tasks_outlive_a_restart_and_the_job_is_still_there() {
    let mut agent = Agent::start(&binary("drover"), AgentConfig::both("restart"));
    let (address, dir) = (agent.address(), agent.dir().to_path_buf());
    write(&dir, "count.nomad.hcl", &job_text("count", "service", 2, "raw_exec", &shell(COUNTING)));
    drover_ok(&address, &dir, &["job", "run", "-detach", "count.nomad.hcl"]);
    let before: BTreeSet<String> =
        wait_for_status(&agent, "count", "running", 2).iter().map(|alloc| text(alloc, "ID").to_owned()).collect();
    let pids: Vec<u32> = before.iter().map(|alloc| pid_of(&agent, alloc)).collect();

    assert_eq!(agent.terminate(Signal::TERM), Some(0), "{}", agent.log());
    assert!(pids.iter().all(|pid| is_running(*pid)), "a task ended with its agent");
    agent.start_again();
    agent.wait_for_leader();
    agent.wait_for_nodes(1);
    let after: BTreeSet<String> =
        wait_for_status(&agent, "count", "running", 2).iter().map(|alloc| text(alloc, "ID").to_owned()).collect();
    assert_eq!(before, after);
    assert!(pids.iter().all(|pid| is_running(*pid)), "a task was started anew");
    assert_eq!(allocs(&agent, "count").len(), 2);
}

/// What holds for root holds for a user without cgroups: this same program once more, with directories of its own.
#[test]
fn the_same_holds_for_a_plain_user() {
    const USER: u32 = 1000;
    const CASES: [&str; 2] = ["tasks_outlive_a_killed_agent", "tasks_outlive_a_restart_and_the_job_is_still_there"];
    if !rustix::process::geteuid().is_root() {
        println!("skipped: becoming another user needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(dir.path(), Some(USER), Some(USER)).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--exact").args(CASES).current_dir(dir.path()).uid(USER).gid(USER);
    command.env("HOME", dir.path()).env("TMPDIR", dir.path()).env_remove("XDG_RUNTIME_DIR");
    match command.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("2 passed"), "{output:#?}");
        }
        // A build below somebody's home directory.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            println!("skipped: another user can't reach what was built");
        }
        Err(error) => panic!("{error}"),
    }
}
