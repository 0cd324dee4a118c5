//! What people do with a running task: commands inside it, restarts, signals, stops.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::io::Write;
use std::process::{Command, Stdio};

use drover_cluster::cli::{drover, drover_ok};
use drover_cluster::jobs::{SETTLE_MAX, allocs, job_text, shell, text, wait_for_status, write};
use drover_harness::binaries::binary;
use drover_harness::output::finish;
use drover_harness::processes::is_running;
use drover_harness::{Agent, AgentConfig, wait_for};

/// Writes its process id and what signals it got.
const TRAPPING: &str = "echo $$ > pid; trap 'echo usr2 >> signals' USR2; while true; do sleep 0.05; done";

fn pid_of(agent: &Agent, alloc: &str) -> u32 {
    wait_for("the task's process id", SETTLE_MAX, || {
        let file = agent.dir().join("data/alloc").join(alloc).join("work/pid");
        let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        text.trim().parse::<u32>().map_err(|e| e.to_string())
    })
}

#[test]
fn a_command_runs_inside_a_task() {
    let agent = Agent::start(&binary("drover"), AgentConfig::both("exec"));
    let (address, dir) = (agent.address(), agent.dir().to_path_buf());
    write(&dir, "trap.nomad.hcl", &job_text("trap", "service", 1, "raw_exec", &shell(TRAPPING)));
    drover_ok(&address, &dir, &["job", "run", "-detach", "trap.nomad.hcl"]);
    let alloc = text(&wait_for_status(&agent, "trap", "running", 1)[0], "ID").to_owned();
    let exec = |words: &[&str]| {
        let said = drover(&address, &dir, &[&["alloc", "exec", "-task", "work", &alloc], words].concat());
        (said.code, said.stdout, said.stderr)
    };

    let (code, out, said) = exec(&["/bin/sh", "-c", "echo out; echo err >&2; exit 5"]);
    assert_eq!((code, out.as_str(), said.as_str()), (5, "out\n", "err\n"));
    let (code, out, _) = exec(&["/bin/sh", "-c", "echo $NOMAD_TASK_NAME; pwd"]);
    let own = dir.join("data/alloc").join(&alloc).join("work");
    assert_eq!((code, out), (0, format!("work\n{}\n", own.display())));
    let (code, _, said) = exec(&["nosuchcommand"]);
    assert_eq!(code, 1);
    assert_eq!(
        said.trim(),
        "failed to exec into task: rpc error: code = Unknown desc = failed to start command: exec: \"nosuchcommand\": \
         executable file not found in $PATH"
    );
    let said = drover(&address, &dir, &["alloc", "exec", "-task", "nosuch", &alloc, "/bin/true"]);
    assert_eq!((said.code, said.stderr.trim()), (1, "Could not find task named: nosuch, found:\nwork"));

    // Much input comes back whole.
    let mut cat = Command::new(binary("drover"))
        .args(["alloc", "exec", "-task", "work", &alloc, "cat"])
        .env("DROVER_ADDR", &address)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input: String = (0..60_000).map(|n| format!("{n}\n")).collect();
    let mut stdin = cat.stdin.take().unwrap();
    let sent = input.clone();
    let writer = std::thread::spawn(move || stdin.write_all(sent.as_bytes()).unwrap());
    let output = finish(cat);
    writer.join().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == input.as_bytes(), "{} of {} bytes", output.stdout.len(), input.len());

    // A session ends with its caller.
    let mut caller = Command::new(binary("drover"))
        .args(["alloc", "exec", "-task", "work", &alloc, "/bin/sh", "-c", "echo $$ > session; sleep 1000"])
        .env("DROVER_ADDR", &address)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let session: u32 = wait_for("the session", SETTLE_MAX, || {
        let text = std::fs::read_to_string(own.join("session")).map_err(|e| e.to_string())?;
        text.trim().parse::<u32>().map_err(|e| e.to_string())
    });
    assert!(is_running(session));
    caller.kill().unwrap();
    caller.wait().unwrap();
    wait_for("the session's end", SETTLE_MAX, || if is_running(session) { Err("it runs") } else { Ok(()) });
    drover_ok(&address, &dir, &["job", "stop", "-purge", "-detach", "trap"]);
}

#[test]
fn a_task_is_signalled_restarted_and_stopped() {
    let agent = Agent::start(&binary("drover"), AgentConfig::both("calls"));
    let (address, dir) = (agent.address(), agent.dir().to_path_buf());
    write(&dir, "trap.nomad.hcl", &job_text("trap", "service", 1, "raw_exec", &shell(TRAPPING)));
    drover_ok(&address, &dir, &["job", "run", "-detach", "trap.nomad.hcl"]);
    let alloc = text(&wait_for_status(&agent, "trap", "running", 1)[0], "ID").to_owned();
    let pid = pid_of(&agent, &alloc);

    drover_ok(&address, &dir, &["alloc", "signal", "-s", "SIGUSR2", &alloc]);
    let signals = dir.join("data/alloc").join(&alloc).join("work/signals");
    wait_for("the signal", SETTLE_MAX, || std::fs::read_to_string(&signals).map_err(|e| e.to_string()));
    let said = drover(&address, &dir, &["alloc", "signal", "-task", "nosuch", &alloc]);
    assert_eq!((said.code, said.stderr.trim()), (1, "Could not find task named: nosuch, found:\nwork"));

    drover_ok(&address, &dir, &["alloc", "restart", &alloc]);
    wait_for("the restart", SETTLE_MAX, || {
        let now = pid_of(&agent, &alloc);
        if now != pid && is_running(now) && !is_running(pid) { Ok(()) } else { Err(format!("{pid} is {now}")) }
    });
    let after = wait_for("the report", SETTLE_MAX, || {
        let alloc = allocs(&agent, "trap").remove(0);
        if alloc["TaskStates"]["work"]["Restarts"] == 1 { Ok(alloc) } else { Err("not told yet") }
    });
    let events = after["TaskStates"]["work"]["Events"].to_string();
    for event in ["Signaling", "Restart Signaled", "User requested running tasks to restart"] {
        assert!(events.contains(event), "{events}");
    }
    let said = drover(&address, &dir, &["alloc", "restart", "-all-tasks", "-task", "work", &alloc]);
    let expected = "The -all-tasks option is not allowed when restarting a specific task.";
    assert_eq!((said.code, said.stderr.trim()), (1, expected));

    let eval = drover_ok(&address, &dir, &["alloc", "stop", "-detach", &alloc]);
    assert_eq!(eval.trim().len(), 36, "{eval}");
    wait_for("another alloc", SETTLE_MAX, || {
        let all = allocs(&agent, "trap");
        let runs = |one: &serde_json::Value| one["ClientStatus"] == "running" && text(one, "ID") != alloc;
        if all.iter().any(runs) { Ok(()) } else { Err(format!("{} allocs", all.len())) }
    });
    drover_ok(&address, &dir, &["job", "stop", "-purge", "-detach", "trap"]);
}
