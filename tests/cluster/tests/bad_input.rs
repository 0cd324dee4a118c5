//! Bad input gets a clear error and loses nothing.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use drover_cluster::cli::{drover, drover_ok};
use drover_cluster::jobs::{job_text, shell, wait_for_status, write};
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig};

#[test]
fn bad_input_is_told_with_its_place_and_loses_nothing() {
    let agent = Agent::start(&binary("drover"), AgentConfig::both("bad"));
    let (address, dir) = (agent.address(), agent.dir());
    write(dir, "good.nomad.hcl", &job_text("good", "service", 1, "raw_exec", &shell("sleep 300")));
    drover_ok(&address, dir, &["job", "run", "-detach", "good.nomad.hcl"]);
    wait_for_status(&agent, "good", "running", 1);

    // Broken text: file, line, the line itself.
    write(dir, "broken.nomad.hcl", "job \"x\" {\n  group \"g\" {\n    cuont = 1\n  }\n}\n");
    let said = drover(&address, dir, &["job", "run", "broken.nomad.hcl"]);
    assert_eq!(said.code, 1, "{said:#?}");
    assert!(said.stderr.contains("broken.nomad.hcl:3,5"), "{said:#?}");
    assert!(said.stderr.contains("cuont") && said.stderr.contains("count"), "{said:#?}");

    // A driver that does not exist: the job waits.
    write(dir, "driver.nomad.hcl", &job_text("driver", "batch", 1, "nodriver", &shell("true")));
    let said = drover(&address, dir, &["job", "run", "driver.nomad.hcl"]);
    assert_eq!(said.code, 2, "{said:#?}");
    assert!(said.stdout.contains("missing drivers"), "{said:#?}");

    // A command that does not exist: the task says so and fails.
    let once = "      config {\n        command = \"/no/such/program\"\n      }\n      restart {\n        attempts = 0\n        mode = \"fail\"\n      }\n";
    write(
        dir,
        "missing.nomad.hcl",
        &job_text("missing", "batch", 1, "raw_exec", once).replacen(
            "    count",
            "    reschedule {\n      attempts = 0\n      unlimited = false\n    }\n    count",
            1,
        ),
    );
    drover_ok(&address, dir, &["job", "run", "-detach", "missing.nomad.hcl"]);
    let failed = wait_for_status(&agent, "missing", "failed", 1).remove(0);
    assert!(failed["TaskStates"].to_string().contains("/no/such/program"), "{failed:#}");

    // Unknown commands and flags.
    let said = drover(&address, dir, &["jbo", "run"]);
    assert_eq!(said.code, 127, "{said:#?}");
    assert!(said.stderr.contains("job"), "{said:#?}");
    let said = drover(&address, dir, &["job", "run", "-chek-index", "1", "good.nomad.hcl"]);
    assert_eq!(said.code, 1, "{said:#?}");
    assert!(said.stderr.contains("check-index"), "{said:#?}");

    // Nobody listens there.
    let said = drover("http://127.0.0.1:1", dir, &["job", "status"]);
    assert_eq!(said.code, 1, "{said:#?}");
    assert!(said.stderr.contains("connection refused"), "{said:#?}");

    wait_for_status(&agent, "good", "running", 1);
}

#[test]
fn an_agent_that_cannot_start_says_why() {
    let agent = Agent::start(&binary("drover"), AgentConfig::server("first"));
    // The same port, another directory.
    let config = AgentConfig { name: "second".to_owned(), ..agent.config().clone() };
    let mut second = Agent::spawn(&binary("drover"), config);
    let code = drover_harness::wait_for("the second agent's end", drover_cluster::jobs::SETTLE_MAX, || {
        second.ended().ok_or_else(|| second.log())
    });
    assert_eq!(code, 1, "{}", second.log());
    assert!(second.log().contains("in use"), "{}", second.log());
}
