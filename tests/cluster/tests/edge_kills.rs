//! An edge's agent and the supervisor of its tasks are killed again and again, alone and together: the tasks do not notice, and
//! each line and exit code is there in the end.
//!
//! `DROVER_EDGE_KILLS=1000 cargo test -p drover-cluster --test edge_kills -- --nocapture` does it for long.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::path::Path;

use drover_cluster::cli::drover_ok;
use drover_cluster::dice::{Dice, size};
use drover_cluster::jobs::{SETTLE_MAX, allocs, job_text, shell, text, wait_for_status, write};
use drover_cluster::supervisors::supervisor_of;
use drover_harness::binaries::binary;
use drover_harness::processes::{is_running, signal};
use drover_harness::{Agent, AgentConfig, wait_for};
use rustix::process::Signal;

/// Allocs of each driver.
const ALLOCS: usize = 15;
/// Counts up until it is asked to end.
const COUNTING: &str = "trap 'echo end; exit 7' TERM; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.2; done";

/// How many lines the task has written, which are 1, 2, 3 … without a gap; whether its last words are there.
fn lines(edge: &Path, alloc: &str) -> (u64, bool) {
    let file = edge.join("data/alloc").join(alloc).join("alloc/logs/work.stdout.0");
    let log = std::fs::read_to_string(&file).unwrap_or_default();
    let mut count = 0;
    let mut has_ended = false;
    // The last line may be on its way.
    for line in log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        assert!(!has_ended, "{alloc} went on after its end: {line:?}");
        if line == "end" {
            has_ended = true;
            continue;
        }
        count += 1;
        assert_eq!(line, format!("line {count}"), "{alloc}");
    }
    (count, has_ended)
}

#[test]
fn no_line_and_no_exit_code_is_lost() {
    let kills = size("DROVER_EDGE_KILLS", 20);
    let mut dice = Dice::of_environment("edge_kills");
    let server = Agent::start(&binary("drover"), AgentConfig::server("kills"));
    let rpc = format!("127.0.0.1:{}", server.config().rpc);
    let mut edge = Agent::spawn(&binary("drover-edge"), AgentConfig::client("edge", &[rpc]));
    server.wait_for_nodes(1);
    let (address, dir) = (server.address(), server.dir().to_path_buf());
    let drivers: &[&str] = if rustix::process::geteuid().is_root() { &["raw_exec", "exec"] } else { &["raw_exec"] };
    for driver in drivers {
        let body = format!("      kill_signal = \"SIGTERM\"\n      kill_timeout = \"30s\"\n{}", shell(COUNTING));
        let job = job_text(&driver.replace('_', "-"), "service", ALLOCS, driver, &body);
        let job = job.replacen("    count", "    ephemeral_disk {\n      size = 25\n    }\n    count", 1);
        let job = job.replacen(
            "      resources",
            "      logs {\n        max_files = 2\n        max_file_size = 1\n      }\n      resources",
            1,
        );
        write(&dir, "job.nomad.hcl", &job);
        drover_ok(&address, &dir, &["job", "run", "-detach", "job.nomad.hcl"]);
    }
    let jobs: Vec<String> = drivers.iter().map(|driver| driver.replace('_', "-")).collect();
    let ids: Vec<String> = jobs
        .iter()
        .flat_map(|job| wait_for_status(&server, job, "running", ALLOCS))
        .map(|alloc| text(&alloc, "ID").to_owned())
        .collect();

    let (mut agents, mut supervisors) = (0, 0);
    while agents < kills || supervisors < kills {
        let (takes_agent, takes_supervisor) = [(true, false), (false, true), (true, true)][dice.roll(3)];
        let one = &ids[dice.roll(ids.len())];
        let before = lines(edge.dir(), one).0;
        wait_for("one more line", SETTLE_MAX, || {
            if lines(edge.dir(), one).0 > before { Ok(()) } else { Err(format!("{before} of {one}")) }
        });
        if takes_agent {
            edge.kill_9();
            agents += 1;
        }
        if takes_supervisor {
            let supervisor = wait_for("a supervisor", SETTLE_MAX, || {
                // Without an agent there is none to start another one.
                if takes_agent {
                    Ok(supervisor_of(&edge))
                } else {
                    supervisor_of(&edge).map(Some).ok_or("there is none")
                }
            });
            if let Some(supervisor) = supervisor {
                signal(supervisor, Signal::KILL);
                wait_for("its end", SETTLE_MAX, || if is_running(supervisor) { Err("it runs") } else { Ok(()) });
                supervisors += 1;
            }
        }
        if takes_agent {
            edge.start_again();
        }
    }
    println!("agent killed {agents} times, supervisor {supervisors} times");

    for job in &jobs {
        for alloc in wait_for_status(&server, job, "running", ALLOCS) {
            assert!(ids.contains(&text(&alloc, "ID").to_owned()), "an alloc was replaced");
        }
        drover_ok(&address, &dir, &["job", "stop", "-detach", job]);
    }
    for job in &jobs {
        wait_for_status(&server, job, "complete", ALLOCS);
        for alloc in allocs(&server, job) {
            let (id, task) = (text(&alloc, "ID"), &alloc["TaskStates"]["work"]);
            let (count, has_ended) = lines(edge.dir(), id);
            assert!(count > 0 && has_ended, "{id} of {job}: {count} lines, last words: {has_ended}");
            assert_eq!(task["Restarts"], 0, "{id} of {job}: {task:#}");
            let ends: Vec<&serde_json::Value> =
                task["Events"].as_array().unwrap().iter().filter(|event| event["Type"] == "Terminated").collect();
            assert_eq!(ends.len(), 1, "{id} of {job}: {task:#}");
            let told = ends[0]["ExitCode"] == 7;
            assert!(
                told || !has_word_of_ends() && ends[0]["Message"] == "exit code unknown",
                "{id} of {job}: {task:#}"
            );
        }
    }
}

/// The kernel tells how a process ended that is nobody's child.
fn has_word_of_ends() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15)
}
