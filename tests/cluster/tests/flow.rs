//! The getting-started flow through the real binary: a service job is run, scaled, changed and stopped; a batch job ends.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use drover_cluster::cli::{drover, drover_ok};
use drover_cluster::jobs::{allocs, job_text, shell, text, wait_for_status, write};
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig, wait_for};

fn agent(name: &str) -> Agent {
    Agent::start(&binary("drover"), AgentConfig::both(name))
}

#[test]
fn a_service_job_is_run_scaled_changed_and_stopped() {
    let agent = agent("flow");
    let (address, dir) = (agent.address(), agent.dir());
    let nodes = drover_ok(&address, dir, &["node", "status"]);
    assert!(nodes.starts_with("ID "), "{nodes}");
    assert!(nodes.contains("flow") && nodes.contains("eligible") && nodes.contains("ready"), "{nodes}");
    let members = drover_ok(&address, dir, &["server", "members"]);
    assert!(members.contains("flow.global") && members.contains("alive") && members.contains("true"), "{members}");

    let update =
        "  update {\n    max_parallel = 1\n    min_healthy_time = \"100ms\"\n    health_check = \"task_states\"\n  }\n";
    let file = |count, script: &str| {
        job_text("web", "service", count, "raw_exec", &shell(script)).replacen("  type", &format!("{update}  type"), 1)
    };
    write(dir, "web.nomad.hcl", &file(1, "while true; do echo one; sleep 1; done"));
    let plan = drover(&address, dir, &["job", "plan", "web.nomad.hcl"]);
    assert_eq!(plan.code, 1, "{plan:#?}");
    assert!(plan.stdout.starts_with("+ Job: \"web\"\n+ Task Group: \"main\" (1 create)\n"), "{plan:#?}");
    assert!(plan.stdout.contains("- All tasks successfully allocated."), "{plan:#?}");
    assert!(
        plan.stdout.contains("nomad job run -check-index 0 web.nomad.hcl")
            || plan.stdout.contains("drover job run -check-index 0 web.nomad.hcl"),
        "{plan:#?}"
    );

    let run = drover_ok(&address, dir, &["job", "run", "web.nomad.hcl"]);
    assert!(run.contains("Monitoring evaluation"), "{run}");
    assert!(run.contains("finished with status \"complete\""), "{run}");
    let first = wait_for_status(&agent, "web", "running", 1).remove(0);
    let status = drover_ok(&address, dir, &["status", "web"]);
    assert!(status.contains("Status        = running"), "{status}");
    let alloc_id = text(&first, "ID").to_owned();
    let shown = drover_ok(&address, dir, &["alloc", "status", &alloc_id[..8]]);
    assert!(shown.contains("Task \"work\" is \"running\"") && shown.contains("Task started by client"), "{shown}");
    wait_for("a line of the log", drover_cluster::jobs::SETTLE_MAX, || {
        let said = drover(&address, dir, &["alloc", "logs", &alloc_id]);
        if said.stdout.contains("one") { Ok(()) } else { Err(format!("{said:#?}")) }
    });

    // More of them: the one that is there stays.
    write(dir, "web.nomad.hcl", &file(3, "while true; do echo one; sleep 1; done"));
    let plan = drover(&address, dir, &["job", "plan", "web.nomad.hcl"]);
    assert!(plan.stdout.contains("(2 create, 1 in-place update)"), "{plan:#?}");
    assert!(plan.stdout.contains("+/- Count: \"1\" => \"3\" (forces create)"), "{plan:#?}");
    let index = plan.stdout.lines().find_map(|line| line.strip_prefix("Job Modify Index: ")).unwrap();
    let wrong = drover(&address, dir, &["job", "run", "-check-index", "1", "web.nomad.hcl"]);
    assert_eq!(wrong.code, 1, "{wrong:#?}");
    assert!(wrong.stderr.contains("job exists with conflicting job modify index"), "{wrong:#?}");
    drover_ok(&address, dir, &["job", "run", "-check-index", index, "web.nomad.hcl"]);
    let running = wait_for_status(&agent, "web", "running", 3);
    assert!(running.iter().any(|alloc| text(alloc, "ID") == alloc_id), "the first one was replaced: {running:#?}");

    // Another script: all are replaced, one after the other, as a deployment.
    write(dir, "web.nomad.hcl", &file(3, "while true; do echo two; sleep 1; done"));
    let plan = drover(&address, dir, &["job", "plan", "web.nomad.hcl"]);
    assert!(plan.stdout.contains("(1 create/destroy update, 2 ignore)"), "{plan:#?}");
    drover_ok(&address, dir, &["job", "run", "-detach", "web.nomad.hcl"]);
    wait_for("a successful deployment of version 2", drover_cluster::jobs::SETTLE_MAX, || {
        let deployment = agent.get("/v1/job/web/deployment")?;
        if deployment["JobVersion"] == 2 && deployment["Status"] == "successful" {
            Ok(())
        } else {
            Err(format!("{deployment}\n{}", agent.log()))
        }
    });
    let running = wait_for_status(&agent, "web", "running", 3);
    assert!(running.iter().all(|alloc| alloc["JobVersion"] == 2), "{running:#?}");
    let history = drover_ok(&address, dir, &["job", "history", "web"]);
    assert!(history.contains("Version     = 2") && history.contains("Version     = 0"), "{history}");

    let stop = drover_ok(&address, dir, &["job", "stop", "web"]);
    assert!(stop.contains("Monitoring evaluation"), "{stop}");
    wait_for_status(&agent, "web", "running", 0);
    let status = drover_ok(&address, dir, &["job", "status", "web"]);
    assert!(status.contains("Status        = dead (stopped)"), "{status}");
    drover_ok(&address, dir, &["job", "stop", "-purge", "web"]);
    let gone = drover(&address, dir, &["job", "status", "web"]);
    assert_eq!(gone.code, 1, "{gone:#?}");
}

#[test]
fn a_batch_job_ends_and_keeps_its_log_and_exit_code() {
    let agent = agent("batch");
    let (address, dir) = (agent.address(), agent.dir());
    write(dir, "sum.nomad.hcl", &job_text("sum", "batch", 1, "raw_exec", &shell("echo out; echo err >&2; exit 0")));
    drover_ok(&address, dir, &["job", "run", "sum.nomad.hcl"]);
    let done = wait_for_status(&agent, "sum", "complete", 1).remove(0);
    let id = text(&done, "ID");
    for (words, expected) in [(["alloc", "logs", "-stdout"], "out\n"), (["alloc", "logs", "-stderr"], "err\n")] {
        // A busy disk has it a moment after the task's end.
        wait_for("the log", drover_cluster::jobs::SETTLE_MAX, || {
            match drover_ok(&address, dir, &[&words[..], &[id, "work"]].concat()) {
                said if said == expected => Ok(()),
                other => Err(other),
            }
        });
    }
    let shown = drover_ok(&address, dir, &["alloc", "status", id]);
    assert!(shown.contains("Exit Code: 0"), "{shown}");
    wait_for("the job's end", drover_cluster::jobs::SETTLE_MAX, || {
        let job = agent.get("/v1/job/sum")?;
        if job["Status"] == "dead" { Ok(()) } else { Err(job["Status"].to_string()) }
    });
}

#[test]
fn a_failing_task_is_restarted_by_its_policy_and_then_fails() {
    let agent = agent("fail");
    let (address, dir) = (agent.address(), agent.dir());
    let restart = "      restart {\n        attempts = 1\n        delay = \"10ms\"\n        interval = \"10m\"\n        mode = \"fail\"\n      }\n";
    let no_more = "    reschedule {\n      attempts = 0\n      unlimited = false\n    }\n";
    let body = format!("{}{restart}", shell("exit 7"));
    let text_of =
        job_text("bad", "batch", 1, "raw_exec", &body).replacen("    count", &format!("{no_more}    count"), 1);
    write(dir, "bad.nomad.hcl", &text_of);
    drover_ok(&address, dir, &["job", "run", "-detach", "bad.nomad.hcl"]);
    let failed = wait_for_status(&agent, "bad", "failed", 1).remove(0);
    let state = &failed["TaskStates"]["work"];
    assert_eq!(state["Restarts"], 1, "{state:#}");
    assert_eq!(state["Failed"], true, "{state:#}");
    let kinds: Vec<&str> =
        state["Events"].as_array().unwrap().iter().filter_map(|event| event["Type"].as_str()).collect();
    let expected =
        ["Received", "Task Setup", "Started", "Terminated", "Restarting", "Started", "Terminated", "Not Restarting"];
    assert_eq!(kinds, expected, "{state:#}");
}

#[test]
fn a_job_that_fits_nowhere_waits_and_says_why() {
    let agent = agent("blocked");
    let (address, dir) = (agent.address(), agent.dir());
    let text_of = job_text("big", "batch", 1, "raw_exec", &shell("sleep 300")).replacen(
        "    count",
        "    constraint {\n      attribute = \"${attr.kernel.name}\"\n      value = \"plan9\"\n    }\n    count",
        1,
    );
    write(dir, "big.nomad.hcl", &text_of);
    let run = drover(&address, dir, &["job", "run", "big.nomad.hcl"]);
    assert_eq!(run.code, 2, "{run:#?}");
    assert!(run.stdout.contains("Task Group \"main\" (failed to place 1 allocation):"), "{run:#?}");
    assert!(run.stdout.contains("Constraint \"${attr.kernel.name} = plan9\": 1 nodes excluded by filter"), "{run:#?}");
    assert!(allocs(&agent, "big").is_empty());
    let evals = agent.get("/v1/job/big/evaluations").unwrap();
    assert!(evals.as_array().unwrap().iter().any(|eval| eval["Status"] == "blocked"), "{evals:#}");

    write(dir, "big.nomad.hcl", &text_of.replace("plan9", "linux"));
    drover_ok(&address, dir, &["job", "run", "-detach", "big.nomad.hcl"]);
    wait_for_status(&agent, "big", "running", 1);
}
