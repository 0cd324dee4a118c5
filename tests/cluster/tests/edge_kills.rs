//! An edge's agent and the supervisor of its tasks are killed again and again, alone and together: the tasks do not notice, and
//! each line and exit code is there in the end.
//!
//! `DROVER_EDGE_KILLS=1000 cargo test -p drover-cluster --test edge_kills -- --nocapture` does it for long, and with five machines:
//! two cores emulate two of them well enough for a gate.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::path::Path;
use std::time::Duration;

use drover_cluster::cli::drover_ok;
use drover_cluster::dice::{Dice, size};
use drover_cluster::guest::Guest;
use drover_cluster::image_server::ImageServer;
use drover_cluster::jobs::{SETTLE_MAX, allocs, job_text, shell, text, wait_for_status, write};
use drover_cluster::supervisors::supervisor_of;
use drover_harness::binaries::binary;
use drover_harness::processes::{is_running, signal};
use drover_harness::{Agent, AgentConfig, Told, wait_for};
use rustix::process::Signal;

/// How often each of them is killed in the gate.
const GATE_KILLS: usize = 20;
/// The longest time until an emulated machine has started, beside all the others.
const MACHINE_MAX: Duration = Duration::from_secs(600);
/// Counts up until it is asked to end.
const COUNTING: &str = "trap 'echo end; exit 7' TERM; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.2; done";
/// The same in a machine, whose end is not its own and whose firmware may have left a line open.
const IN_A_MACHINE: &str = "echo; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.2; done";

/// A job whose tasks are killed around.
struct Job {
    id: &'static str,
    count: usize,
    /// How each of them ends when it is asked to.
    exit_code: i64,
    /// It has last words.
    says_end: bool,
    text: String,
}

impl Job {
    fn new(driver: &'static str, id: &'static str, count: usize, config: &str) -> Job {
        let is_machine = driver == "qemu";
        let body = format!("      kill_signal = \"SIGTERM\"\n      kill_timeout = \"30s\"\n{config}");
        let text = job_text(id, "service", count, driver, &body);
        let text = text.replacen("    count", "    ephemeral_disk {\n      size = 25\n    }\n    count", 1);
        let logs = "      logs {\n        max_files = 2\n        max_file_size = 1\n      }\n      resources";
        let mut text = text.replacen("      resources", logs, 1);
        if is_machine {
            text = text.replacen("memory = 16", "memory = 128", 1);
        }
        Job { id, count, exit_code: if is_machine { 0 } else { 7 }, says_end: !is_machine, text }
    }
}

/// How many lines the task has written, which are 1, 2, 3 … without a gap; whether its last words are there.
fn lines(edge: &Path, alloc: &str) -> (u64, bool) {
    let logs = edge.join("data/alloc").join(alloc).join("alloc/logs");
    let log = std::fs::read_to_string(logs.join("work.stdout.0")).unwrap_or_default();
    let mut count = 0;
    let mut has_ended = false;
    // The last line may be on its way.
    for line in log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let line = line.trim_end_matches('\r');
        assert!(!has_ended, "{alloc} went on after its end: {line:?}");
        // A machine's firmware and kernel have something to say first.
        if count == 0 && !line.starts_with("line ") && line != "end" {
            continue;
        }
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
    let kills = size("DROVER_EDGE_KILLS", GATE_KILLS);
    let mut dice = Dice::of_environment("edge_kills");
    let server = Agent::start(&binary("drover"), AgentConfig::server("kills"));
    let rpc = format!("127.0.0.1:{}", server.config().rpc);
    let room = tempfile::Builder::new().prefix("drover-test-").tempdir().unwrap();
    let machines = if kills > GATE_KILLS { 5 } else { 2 };
    let guest = Guest::new(room.path(), IN_A_MACHINE, machines);
    let is_root = rustix::process::geteuid().is_root();
    let images = is_root.then(ImageServer::start).flatten();
    let mut config = AgentConfig::client("edge", &[rpc]);
    config.more.push_str(&guest.as_ref().map(Guest::plugin).unwrap_or_default());
    config.more.push_str(&images.as_ref().map(|images| images.plugin("")).unwrap_or_default());
    // As much as all of them ask for, whatever machine this is.
    config
        .more
        .push_str("client {\n  memory_total_mb = 16384\n  cpu_total_compute = 8000\n  disk_total_mb = 16384\n}\n");
    let mut edge = Agent::spawn(&binary("drover-edge"), config);
    server.wait_for_nodes(1);
    let (address, dir) = (server.address(), server.dir().to_path_buf());
    let mut jobs = vec![Job::new("raw_exec", "plain", 15, &shell(COUNTING))];
    if is_root {
        jobs.push(Job::new("exec", "inside", 15, &shell(COUNTING)));
    }
    if let Some(images) = &images {
        // The image says that a shell is run.
        let image = format!("        image = \"{}/busybox:good\"\n", images.host);
        let config = shell(COUNTING).replacen("        command = \"/bin/sh\"\n", &image, 1);
        jobs.push(Job::new("container", "image", 15, &config));
    }
    if let Some(guest) = &guest {
        jobs.push(Job::new("qemu", "machine", machines, &guest.config()));
    }
    for job in &jobs {
        write(&dir, "job.nomad.hcl", &job.text);
        drover_ok(&address, &dir, &["job", "run", "-detach", "job.nomad.hcl"]);
    }
    let ids: Vec<String> = jobs
        .iter()
        .flat_map(|job| wait_for_status(&server, job.id, "running", job.count))
        .map(|alloc| text(&alloc, "ID").to_owned())
        .collect();
    for alloc in &ids {
        wait_for("the first line", MACHINE_MAX, || {
            if lines(edge.dir(), alloc).0 > 0 { Ok(()) } else { Err(Told(|| format!("{alloc}\n{}", edge.log()))) }
        });
    }

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
        for alloc in wait_for_status(&server, job.id, "running", job.count) {
            assert!(ids.contains(&text(&alloc, "ID").to_owned()), "an alloc was replaced");
        }
        drover_ok(&address, &dir, &["job", "stop", "-detach", job.id]);
    }
    for job in &jobs {
        let id_of_job = job.id;
        wait_for_status(&server, job.id, "complete", job.count);
        for alloc in allocs(&server, job.id) {
            let (id, task) = (text(&alloc, "ID"), &alloc["TaskStates"]["work"]);
            let (count, has_ended) = lines(edge.dir(), id);
            assert!(
                count > 0 && has_ended == job.says_end,
                "{id} of {id_of_job}: {count} lines, last words: {has_ended}"
            );
            assert_eq!(task["Restarts"], 0, "{id} of {id_of_job}: {task:#}");
            let ends: Vec<&serde_json::Value> =
                task["Events"].as_array().unwrap().iter().filter(|event| event["Type"] == "Terminated").collect();
            assert_eq!(ends.len(), 1, "{id} of {id_of_job}: {task:#}");
            let told = ends[0]["ExitCode"] == job.exit_code;
            assert!(
                told || !has_word_of_ends() && ends[0]["Message"] == "exit code unknown",
                "{id} of {id_of_job}: {task:#}"
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
