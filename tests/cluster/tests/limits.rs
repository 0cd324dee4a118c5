//! What a task is given, and what it is held to.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use drover_cluster::cli::{drover, drover_ok};
use drover_cluster::jobs::{SETTLE_MAX, allocs, job_text, shell, text, wait_for_status, write};
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig, wait_for};
use serde_json::Value;

fn agent(name: &str) -> Agent {
    Agent::start(&binary("drover"), AgentConfig::both(name))
}

/// Registers a job without waiting for what comes of it; gives what the command printed.
fn run(agent: &Agent, id: &str, text: &str) -> String {
    let file = format!("{id}.nomad.hcl");
    write(agent.dir(), &file, text);
    drover_ok(&agent.address(), agent.dir(), &["job", "run", "-detach", &file])
}

/// A job whose task is not tried a second time.
fn once(id: &str, driver: &str, body: &str) -> String {
    let body = format!("{body}      restart {{\n        attempts = 0\n        mode = \"fail\"\n      }}\n");
    in_group(
        &job_text(id, "batch", 1, driver, &body),
        "    reschedule {\n      attempts = 0\n      unlimited = false\n    }\n",
    )
}

/// The same with more in its group.
fn in_group(job: &str, more: &str) -> String {
    job.replacen("    count", &format!("{more}    count"), 1)
}

/// Events of that type of the task, oldest first.
fn events<'a>(alloc: &'a Value, kind: &str) -> Vec<&'a Value> {
    let all = alloc["TaskStates"]["work"]["Events"].as_array();
    all.into_iter().flatten().filter(|event| event["Type"] == kind).collect()
}

fn logs(agent: &Agent, alloc: &str) -> String {
    drover_ok(&agent.address(), agent.dir(), &["alloc", "logs", alloc, "work"])
}

/// Waits until the task's log is that: a busy disk has it a moment after the task's end.
fn wait_for_log(agent: &Agent, alloc: &str, expected: &str) {
    wait_for("the log", SETTLE_MAX, || match logs(agent, alloc) {
        said if said == expected => Ok(()),
        other => Err(other),
    });
}

/// Waits until the task has printed that many lines.
fn wait_for_lines(agent: &Agent, alloc: &str, count: usize) -> Vec<String> {
    wait_for(&format!("{count} lines"), SETTLE_MAX, || {
        let said = drover(&agent.address(), agent.dir(), &["alloc", "logs", alloc, "work"]);
        let lines: Vec<String> = said.stdout.lines().map(str::to_owned).collect();
        if lines.len() >= count { Ok(lines) } else { Err(format!("{said:?}")) }
    })
}

fn alloc_dir(agent: &Agent, alloc: &str) -> PathBuf {
    agent.dir().join("data/alloc").join(alloc)
}

#[test]
fn a_task_over_its_memory_is_killed_and_the_event_says_so() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: limits need root");
        return;
    }
    let agent = agent("memory");
    // Doubled until it does not fit into 16 MiB.
    run(&agent, "eats", &once("eats", "exec", &shell("a=x; while :; do a=$a$a; done")));
    let failed = wait_for_status(&agent, "eats", "failed", 1).remove(0);
    let ended = events(&failed, "Terminated");
    assert_eq!(ended.len(), 1, "{failed:#}");
    let details = &ended[0]["Details"];
    assert_eq!(details["oom_killed"], "true", "{failed:#}");
    assert_eq!(details["exit_code"], "137", "{failed:#}");
}

#[test]
fn logs_rotate_within_their_files() {
    let agent = agent("rotate");
    let script =
        "i=0; while [ $i -lt 300 ]; do printf '%08d %010230d\\n' $i 0 | tail -c 10240; i=$((i+1)); done; echo the end";
    let body = format!("{}      logs {{\n        max_files = 2\n        max_file_size = 1\n      }}\n", shell(script));
    let job = once("talks", "raw_exec", &body).replacen(
        "    count",
        "    ephemeral_disk {\n      size = 100\n    }\n    count",
        1,
    );
    run(&agent, "talks", &job);
    let done = wait_for_status(&agent, "talks", "complete", 1).remove(0);
    let dir = alloc_dir(&agent, text(&done, "ID")).join("alloc/logs");
    let files = wait_for("the last file", SETTLE_MAX, || {
        let mut files: Vec<(String, u64)> = std::fs::read_dir(&dir)
            .unwrap()
            .flatten()
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
            .filter(|(name, _)| name.starts_with("work.stdout."))
            .collect();
        files.sort();
        // 300 lines of 10 KiB are 3,072,008 bytes: 1 MiB twice, and the rest in the third file.
        let rest = 300 * 10_240 + 8 - (2 << 20);
        if files.last().is_some_and(|(_, size)| *size == rest) { Ok(files) } else { Err(format!("{files:?}")) }
    });
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["work.stdout.1", "work.stdout.2"], "{files:?}");
    assert_eq!(files[0].1, 1 << 20, "{files:?}");
    let tail = drover_ok(&agent.address(), agent.dir(), &["alloc", "logs", "-tail", "-n", "1", text(&done, "ID")]);
    assert_eq!(tail, "the end\n");
}

#[test]
fn a_task_is_asked_with_its_signal_and_killed_after_its_time() {
    let agent = agent("signals");
    let polite = "trap 'echo asked; exit 3' USR1; echo ready; while :; do sleep 0.05; done";
    let deaf = "trap '' INT; echo ready; while :; do sleep 0.05; done";
    let body = |script: &str, more: &str| format!("{}{more}", shell(script));
    let more = "      kill_signal = \"SIGUSR1\"\n      kill_timeout = \"20s\"\n";
    run(&agent, "polite", &job_text("polite", "service", 1, "raw_exec", &body(polite, more)));
    let more = "      kill_timeout = \"300ms\"\n";
    run(&agent, "deaf", &job_text("deaf", "service", 1, "raw_exec", &body(deaf, more)));
    let ids = ["polite", "deaf"].map(|id| {
        let alloc = wait_for_status(&agent, id, "running", 1).remove(0);
        assert_eq!(wait_for_lines(&agent, text(&alloc, "ID"), 1), ["ready"]);
        drover_ok(&agent.address(), agent.dir(), &["job", "stop", "-detach", id]);
        text(&alloc, "ID").to_owned()
    });
    for (id, code, signal, timeout) in [("polite", "3", "0", "20s"), ("deaf", "137", "9", "300ms")] {
        let alloc = wait_for_status(&agent, id, "complete", 1).remove(0);
        let details = &events(&alloc, "Terminated")[0]["Details"];
        assert_eq!((&details["exit_code"], &details["signal"]), (&code.into(), &signal.into()), "{alloc:#}");
        let killing = events(&alloc, "Killing")[0];
        assert_eq!(killing["Details"]["kill_timeout"], timeout, "{alloc:#}");
        assert_eq!(events(&alloc, "Killed").len(), 1, "{alloc:#}");
    }
    wait_for_log(&agent, &ids[0], "ready\nasked\n");
}

#[test]
fn an_update_in_place_keeps_the_process_and_another_replaces_it() {
    let agent = agent("inplace");
    let job = |meta: &str, command: &str| {
        job_text("stays", "service", 1, "raw_exec", &shell(&format!("echo $$ {command}; sleep 300"))).replacen(
            "  type",
            &format!("  priority = {meta}\n  type"),
            1,
        )
    };
    run(&agent, "stays", &job("50", "one"));
    let first = wait_for_status(&agent, "stays", "running", 1).remove(0);
    let id = text(&first, "ID").to_owned();
    let pid = wait_for_lines(&agent, &id, 1).remove(0);
    run(&agent, "stays", &job("60", "one"));
    let after = wait_for("the new version on the alloc", SETTLE_MAX, || {
        let now = allocs(&agent, "stays");
        match now.as_slice() {
            [one] if one["JobVersion"] == 1 && one["ClientStatus"] == "running" => Ok(one.clone()),
            _ => Err(format!("{now:?}")),
        }
    });
    assert_eq!(text(&after, "ID"), id);
    assert_eq!(events(&after, "Started").len(), 1, "{after:#}");
    assert_eq!(logs(&agent, &id), format!("{pid}\n"));
    let process: u32 = pid.split(' ').next().unwrap().parse().unwrap();
    assert!(drover_harness::processes::is_running(process));
    run(&agent, "stays", &job("60", "two"));
    wait_for("another alloc", SETTLE_MAX, || {
        let now = allocs(&agent, "stays");
        let new = now.iter().any(|one| text(one, "ID") != id && one["ClientStatus"] == "running");
        let old = now.iter().any(|one| text(one, "ID") == id && one["ClientStatus"] == "complete");
        if new && old { Ok(()) } else { Err(format!("{now:?}")) }
    });
    assert!(!drover_harness::processes::is_running(process));
}

#[test]
fn a_static_port_is_given_once() {
    let agent = agent("ports");
    let port = "    network {\n      port \"web\" {\n        static = 23456\n      }\n    }\n";
    let job = |id: &str| in_group(&job_text(id, "batch", 1, "raw_exec", &shell("sleep 300")), port);
    // Each address of the node has the port once.
    let nodes = agent.get("/v1/nodes").unwrap();
    let node = agent.get(&format!("/v1/node/{}", text(&nodes[0], "ID"))).unwrap();
    let networks = node["NodeResources"]["NodeNetworks"].as_array().unwrap().iter();
    let addresses: BTreeSet<&str> = networks
        .flat_map(|network| network["Addresses"].as_array().into_iter().flatten())
        .filter(|address| address["Alias"] == "default")
        .map(|address| text(address, "Address"))
        .collect();
    let mut taken = BTreeSet::new();
    for number in 0..addresses.len() {
        let id = format!("has-{number}");
        run(&agent, &id, &job(&id));
        let alloc = wait_for_status(&agent, &id, "running", 1).remove(0);
        let alloc = agent.get(&format!("/v1/allocation/{}", text(&alloc, "ID"))).unwrap();
        let port = &alloc["AllocatedResources"]["Shared"]["Ports"][0];
        assert_eq!(port["Value"], 23456, "{alloc:#}");
        assert!(taken.insert(text(port, "HostIP").to_owned()), "{taken:?} {alloc:#}");
    }
    assert!(taken.iter().map(String::as_str).eq(addresses.iter().copied()), "{taken:?} {addresses:?}");
    write(agent.dir(), "wants.nomad.hcl", &job("wants"));
    let (address, dir) = (agent.address(), agent.dir());
    let said = drover(&address, dir, &["job", "run", "wants.nomad.hcl"]);
    assert_eq!(said.code, 2, "{said:#?}");
    assert!(said.stdout.contains("* Resources exhausted on 1 nodes\n"), "{said:#?}");
    let reason = "* Dimension \"network: reserved port collision web=23456\" exhausted on 1 nodes\n";
    assert!(said.stdout.contains(reason), "{said:#?}");
    let plan = drover(&address, dir, &["job", "plan", "wants.nomad.hcl"]);
    assert!(plan.stdout.contains(reason), "{plan:#?}");
    drover_ok(&address, dir, &["job", "stop", "-detach", "has-0"]);
    wait_for_status(&agent, "wants", "running", 1);
}

#[test]
fn a_task_sees_its_ports_and_names() {
    let mut config = AgentConfig::both("seen");
    config.more.push_str("client {\n  meta {\n    rack = \"r7\"\n  }\n}\n");
    let agent = Agent::start(&binary("drover"), config);
    let body = r#"      config {
        command = "/bin/sh"
        args = ["-c", "echo \"$0|$1|$2|$3\"; env | grep -E '^(NOMAD|WHERE|WHO)' | sort", "${NOMAD_PORT_db}", "${attr.kernel.name}", "${meta.rack}", "${node.datacenter}/${NOMAD_META_colour}"]
      }
      env {
        WHERE = "${NOMAD_ADDR_web} ${node.unique.name}"
        WHO = "${NOMAD_JOB_NAME}.${NOMAD_GROUP_NAME}.${NOMAD_TASK_NAME}[${NOMAD_ALLOC_INDEX}] ${attr.cpu.arch}"
      }
      meta {
        colour = "red"
      }
"#;
    let network = "    network {\n      port \"web\" {\n        static = 23457\n      }\n      port \"db\" {}\n    }\n";
    run(&agent, "sees", &in_group(&job_text("sees", "batch", 1, "raw_exec", body), network));
    let done = wait_for_status(&agent, "sees", "complete", 1).remove(0);
    let id = text(&done, "ID");
    // WHO is in the last of its lines.
    let said = wait_for("the log", SETTLE_MAX, || {
        let said = logs(&agent, id);
        if said.contains("\nWHO=") && said.ends_with('\n') { Ok(said) } else { Err(said) }
    });
    let alloc = agent.get(&format!("/v1/allocation/{id}")).unwrap();
    let ports = alloc["AllocatedResources"]["Shared"]["Ports"].as_array().unwrap();
    let of = |label: &str| ports.iter().find(|port| port["Label"] == label).unwrap();
    let db = of("db")["Value"].as_u64().unwrap();
    assert!((20_000..=32_000).contains(&db), "{ports:?}");
    let ip = of("db")["HostIP"].as_str().unwrap();
    let mut lines = said.lines();
    assert_eq!(lines.next().unwrap(), format!("{db}|linux|r7|dc1/red"), "{said}");
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let dir = alloc_dir(&agent, id).display().to_string();
    let expected = [
        format!("NOMAD_ADDR_db={ip}:{db}"),
        format!("NOMAD_ADDR_web={ip}:23457"),
        format!("NOMAD_ALLOC_DIR={dir}/alloc"),
        format!("NOMAD_ALLOC_ID={id}"),
        "NOMAD_ALLOC_INDEX=0".to_owned(),
        "NOMAD_ALLOC_NAME=sees.main[0]".to_owned(),
        "NOMAD_CPU_LIMIT=10".to_owned(),
        "NOMAD_DC=dc1".to_owned(),
        "NOMAD_GROUP_NAME=main".to_owned(),
        format!("NOMAD_HOST_ADDR_db={ip}:{db}"),
        format!("NOMAD_HOST_IP_db={ip}"),
        format!("NOMAD_HOST_PORT_db={db}"),
        format!("NOMAD_IP_db={ip}"),
        "NOMAD_JOB_ID=sees".to_owned(),
        "NOMAD_JOB_NAME=sees".to_owned(),
        "NOMAD_MEMORY_LIMIT=16".to_owned(),
        "NOMAD_META_COLOUR=red".to_owned(),
        "NOMAD_META_colour=red".to_owned(),
        "NOMAD_NAMESPACE=default".to_owned(),
        format!("NOMAD_PORT_db={db}"),
        "NOMAD_PORT_web=23457".to_owned(),
        "NOMAD_REGION=global".to_owned(),
        format!("NOMAD_SECRETS_DIR={dir}/work/secrets"),
        format!("NOMAD_SHORT_ALLOC_ID={}", &id[..8]),
        format!("NOMAD_TASK_DIR={dir}/work/local"),
        "NOMAD_TASK_NAME=work".to_owned(),
        format!("WHERE={ip}:23457 seen"),
        format!("WHO=sees.main.work[0] {arch}"),
    ];
    let seen: Vec<&str> = lines.collect();
    for line in &expected {
        assert!(seen.contains(&line.as_str()), "no {line} in\n{said}");
    }
}

#[test]
fn what_is_not_acted_on_yet_is_said() {
    let agent = agent("unacted");
    let template = format!(
        "{}      template {{\n        data = \"x\"\n        destination = \"local/x\"\n      }}\n",
        shell("echo started")
    );
    let said = run(&agent, "templated", &once("templated", "raw_exec", &template));
    assert!(said.contains("Job Warnings:") && said.contains("template"), "{said}");
    let failed = wait_for_status(&agent, "templated", "failed", 1).remove(0);
    assert!(events(&failed, "Started").is_empty(), "{failed:#}");
    let setup = events(&failed, "Setup Failure");
    assert_eq!(setup.len(), 1, "{failed:#}");
    assert!(text(setup[0], "DisplayMessage").contains("template"), "{failed:#}");
    let shown = drover_ok(&agent.address(), agent.dir(), &["alloc", "status", text(&failed, "ID")]);
    assert!(shown.contains("Setup Failure"), "{shown}");

    let service = "    service {\n      name = \"web\"\n      provider = \"nomad\"\n    }\n";
    let job = in_group(&job_text("announced", "service", 1, "raw_exec", &shell("sleep 300")), service);
    let said = run(&agent, "announced", &job);
    assert!(said.contains("Job Warnings:") && said.contains("service"), "{said}");
    wait_for_status(&agent, "announced", "running", 1);
    let plan = drover(&agent.address(), agent.dir(), &["job", "plan", "announced.nomad.hcl"]);
    assert_eq!(plan.code, 0, "{plan:#?}");
    assert!(plan.stdout.contains("service"), "{plan:#?}");
}
