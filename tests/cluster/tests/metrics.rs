//! Figures of real agents: something happens, and it is seen.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use drover_api_client::{Client, Config, QueryOptions};
use drover_cluster::cli::{drover, drover_ok};
use drover_cluster::jobs::{SETTLE_MAX, job_text, shell, wait_for_status, write};
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig, wait_for};
use serde_json::Value;

/// Figures as Prometheus reads them.
fn totals(agent: &Agent) -> String {
    drover_ok(&agent.address(), agent.dir(), &["operator", "metrics", "-format", "prometheus"])
}

/// The value of the series of that name whose labels have all of these parts; none when there is none.
fn value(totals: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = totals.lines().find(|line| {
        let rest = line.strip_prefix(name).unwrap_or_default();
        (rest.starts_with('{') || rest.starts_with(' ')) && labels.iter().all(|part| rest.contains(part))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits until a series has a value that fits.
fn wait_for_value(agent: &Agent, name: &str, labels: &[&str], fits: impl Fn(f64) -> bool) -> f64 {
    wait_for(&format!("{name} {labels:?}"), SETTLE_MAX, || {
        let totals = totals(agent);
        match value(&totals, name, labels) {
            Some(value) if fits(value) => Ok(value),
            found => {
                let near = totals.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
                Err(format!("{found:?} of {near:#?}"))
            }
        }
    })
}

fn with_telemetry(mut config: AgentConfig, more: &str) -> AgentConfig {
    config.more.push_str(&format!(
        "\ntelemetry {{\n  collection_interval = \"200ms\"\n  in_memory_collection_interval = \"1s\"\n{more}\n}}\n"
    ));
    config
}

/// A label of a node that a server has.
const READY: &str = "node_status=\"ready\"";

const EVERYTHING: &str = "  prometheus_metrics = true\n  publish_allocation_metrics = true\n  publish_node_metrics = true\n  \
                          include_alloc_metadata_in_metrics = true\n  allowed_metadata_keys_in_metrics = [\"team\"]\n  \
                          prefix_filter = [\"-nomad.runtime.num_threads\"]\n";

#[test]
fn what_happens_to_jobs_is_seen_in_the_figures() {
    let statsd = UdpSocket::bind("127.0.0.1:0").unwrap();
    statsd.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let datadog = UdpSocket::bind("127.0.0.1:0").unwrap();
    datadog.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let more = format!(
        "{EVERYTHING}  statsd_address = \"{}\"\n  datadog_address = \"{}\"\n  datadog_tags = [\"site:here\"]\n",
        statsd.local_addr().unwrap(),
        datadog.local_addr().unwrap()
    );
    let agent = Agent::start(&binary("drover"), with_telemetry(AgentConfig::both("figures"), &more));
    agent.wait_for_nodes(1);
    let (address, dir) = (agent.address(), agent.dir());
    let node = agent.get("/v1/nodes").unwrap()[0]["ID"].as_str().unwrap().to_owned();

    // What is there before anything was asked of it.
    wait_for_value(&agent, "nomad_nomad_heartbeat_active", &[], |count| count == 1.0);
    wait_for_value(&agent, "nomad_nomad_autopilot_healthy", &[], |is| is == 1.0);
    wait_for_value(&agent, "nomad_nomad_blocked_evals_total_blocked", &[], |count| count == 0.0);
    wait_for_value(&agent, "nomad_client_host_memory_total", &[&node], |bytes| bytes > 1e6);
    wait_for_value(&agent, "nomad_client_host_cpu_idle", &[&node, "cpu=\"cpu0\""], |share| share <= 100.0);
    wait_for_value(&agent, "nomad_client_uptime", &[READY], |seconds| seconds > 0.0);
    wait_for_value(&agent, "nomad_runtime_alloc_bytes", &[], |bytes| bytes > 1e6);
    assert_eq!(value(&totals(&agent), "nomad_runtime_num_threads", &[]), None, "it is filtered out");
    let count_of = |name: &str| value(&totals(&agent), name, &[]).unwrap_or_default();

    // A task that fails, is started again, and fails for good.
    let applied = count_of("nomad_raft_apply");
    let restart = "    restart {\n      attempts = 1\n      delay = \"100ms\"\n      interval = \"10m\"\n      mode = \"fail\"\n    }\n    \
                   reschedule {\n      attempts = 0\n      unlimited = false\n    }\n";
    let failing = job_text("fails", "batch", 1, "raw_exec", &shell("exit 3"));
    write(dir, "fails.nomad.hcl", &failing.replacen("    count", &format!("{restart}    count"), 1));
    drover_ok(&address, dir, &["job", "run", "-detach", "fails.nomad.hcl"]);
    let of_fails = &["job=\"fails\"", "task=\"work\"", "task_group=\"main\"", "namespace=\"default\""];
    wait_for_value(&agent, "nomad_client_allocs_failed", of_fails, |count| count == 1.0);
    wait_for_value(&agent, "nomad_client_allocs_restart", of_fails, |count| count == 1.0);
    wait_for_value(&agent, "nomad_nomad_job_summary_failed", &["job=\"fails\""], |count| count == 1.0);
    wait_for_value(&agent, "nomad_nomad_worker_invoke_scheduler_batch_count", &[], |count| count >= 1.0);
    wait_for_value(&agent, "nomad_nomad_fsm_register_job_count", &[], |count| count == 1.0);
    wait_for_value(&agent, "nomad_nomad_fsm_alloc_client_update_count", &[], |count| count >= 1.0);
    let of_eval = &["job=\"fails\"", "eval_type=\"batch\"", "triggered_by=\"job-register\""];
    wait_for_value(&agent, "nomad_nomad_broker_response_time_count", of_eval, |count| count == 1.0);
    wait_for_value(&agent, "nomad_raft_apply", &[], |count| count > applied + 2.0);
    wait_for_value(&agent, "nomad_raft_commitTime_sum", &[], |sum| sum > 0.0);
    wait_for_value(&agent, "nomad_nomad_plan_submit_count", &[], |count| count >= 1.0);
    wait_for_value(&agent, "nomad_nomad_client_update_alloc_count", &[], |count| count >= 1.0);

    // A task that runs.
    let running = job_text("web", "service", 1, "raw_exec", &shell("while true; do :; done"));
    write(
        dir,
        "web.nomad.hcl",
        &running.replacen("  type", "  meta {\n    team = \"blue\"\n    secret = \"s\"\n  }\n  type", 1),
    );
    drover_ok(&address, dir, &["job", "run", "-detach", "web.nomad.hcl"]);
    wait_for_status(&agent, "web", "running", 1);
    let of_web = &["job=\"web\"", "task=\"work\"", "team=\"blue\""];
    wait_for_value(&agent, "nomad_client_allocs_memory_usage", of_web, |bytes| bytes > 1000.0);
    wait_for_value(&agent, "nomad_client_allocs_memory_allocated", of_web, |bytes| bytes == 16.0 * 1_048_576.0);
    wait_for_value(&agent, "nomad_client_allocs_cpu_total_percent", of_web, |share| share > 1.0);
    assert!(!totals(&agent).contains("secret="), "a key that is not allowed");
    wait_for_value(&agent, "nomad_client_allocations_running", &[&node, READY], |count| count == 1.0);
    wait_for_value(&agent, "nomad_client_allocations_terminal", &[&node, READY], |count| count == 1.0);
    wait_for_value(&agent, "nomad_client_tasks_running", &[&node, READY], |count| count == 1.0);
    wait_for_value(&agent, "nomad_client_allocated_cpu", &[&node, READY], |mhz| mhz == 10.0);
    wait_for_value(&agent, "nomad_nomad_job_status_running", &[], |count| count == 1.0);
    wait_for_value(&agent, "nomad_nomad_job_summary_running", &["job=\"web\""], |count| count == 1.0);

    // One that has no room.
    let huge =
        job_text("huge", "service", 1, "raw_exec", &shell("sleep 300")).replacen("cpu = 10", "cpu = 900000000", 1);
    write(dir, "huge.nomad.hcl", &huge);
    drover_ok(&address, dir, &["job", "run", "-detach", "huge.nomad.hcl"]);
    wait_for_value(&agent, "nomad_nomad_blocked_evals_total_blocked", &[], |count| count == 1.0);
    wait_for_value(&agent, "nomad_nomad_job_summary_queued", &["job=\"huge\""], |count| count == 1.0);

    // Requests.
    let before = (count_of("nomad_nomad_job_list_count"), count_of("nomad_nomad_rpc_query"));
    agent.get("/v1/jobs").unwrap();
    let after = (count_of("nomad_nomad_job_list_count"), count_of("nomad_nomad_rpc_query"));
    assert_eq!(after.0, before.0 + 1.0);
    assert!(after.1 > before.1);

    // The same by interval.
    let seen = wait_for("an interval with all kinds", SETTLE_MAX, || {
        let summary = agent.get("/v1/metrics")?;
        let names = |list: &str| -> BTreeSet<String> {
            let of = |figure: &Value| Some(figure["Name"].as_str()?.to_owned());
            summary[list].as_array().into_iter().flatten().filter_map(of).collect()
        };
        let whole = names("Gauges").contains("nomad.client.allocated.memory")
            && names("Counters").contains("nomad.nomad.rpc.request")
            && !names("Samples").is_empty();
        if whole { Ok(summary) } else { Err(summary.to_string()) }
    });
    let counter = &seen["Counters"][0];
    assert!(
        counter["Labels"]["host"].is_string() && counter["Rate"].is_f64() && counter["Count"].is_u64(),
        "{counter}"
    );
    assert!(seen["Timestamp"].as_str().unwrap().ends_with(" +0000 UTC"), "{}", seen["Timestamp"]);

    // And sent on.
    let (mut lines, mut buffer) = (String::new(), [0; 2048]);
    while !lines.contains("nomad.client.allocated.cpu.") {
        let length = statsd.recv(&mut buffer).unwrap();
        lines = std::str::from_utf8(&buffer[..length]).unwrap().to_owned();
        assert!(length <= 1400, "{length}");
    }
    assert!(lines.lines().all(|line| line.ends_with("|g") || line.ends_with("|c") || line.ends_with("|ms")), "{lines}");
    let length = datadog.recv(&mut buffer).unwrap();
    let lines = std::str::from_utf8(&buffer[..length]).unwrap();
    assert!(lines.lines().all(|line| line.contains("|#site:here,") && line.contains("host:")), "{lines}");
    // What an operator asks of the whole state.
    drover_ok(&address, dir, &["job", "stop", "-detach", "fails"]);
    wait_for("fails to be forgotten", SETTLE_MAX, || {
        assert_eq!(drover_ok(&address, dir, &["system", "gc"]), "");
        assert_eq!(drover_ok(&address, dir, &["system", "reconcile", "summaries"]), "");
        let jobs = agent.get("/v1/jobs?prefix=fails")?;
        if jobs == Value::Array(Vec::new()) { Ok(()) } else { Err(jobs.to_string()) }
    });
    wait_for_value(&agent, "nomad_nomad_job_summary_running", &["job=\"web\""], |count| count == 1.0);
    drover_ok(&address, dir, &["node", "eligibility", "-disable", "-self"]);
    assert_eq!(agent.get("/v1/nodes").unwrap()[0]["SchedulingEligibility"], "ineligible");
    drover_ok(&address, dir, &["job", "stop", "-detach", "web"]);
    wait_for_value(&agent, "nomad_client_allocations_running", &[&node, READY], |count| count == 0.0);
}

#[test]
fn an_agent_without_a_server_answers_with_its_own_figures() {
    let server = Agent::start(&binary("drover"), AgentConfig::server("srv"));
    let rpc = format!("127.0.0.1:{}", server.config().rpc);
    let client = AgentConfig::client("lone", &[rpc]);
    let client = Agent::spawn(
        &binary("drover"),
        with_telemetry(client, "  publish_node_metrics = true\n  use_node_name = true"),
    );
    server.wait_for_nodes(1);
    let summary = wait_for("the client's figures", SETTLE_MAX, || {
        let summary = client.get("/v1/metrics")?;
        let gauges = summary["Gauges"].as_array().cloned().unwrap_or_default();
        let uptime = gauges.into_iter().find(|gauge| gauge["Name"] == "nomad.client.uptime");
        uptime.filter(|gauge| gauge["Labels"]["node_status"] == "ready").ok_or_else(|| summary.to_string())
    });
    assert_eq!(summary["Labels"]["host"], "lone");
    let of_server = server.get("/v1/metrics").unwrap();
    assert!(!of_server.to_string().contains("nomad.client.uptime"), "{of_server}");
    for agent in [&server, &client] {
        let said = drover(&agent.address(), agent.dir(), &["operator", "metrics", "-format", "prometheus"]);
        assert_eq!(said.code, 1, "{said:#?}");
        assert!(said.stderr.contains("415 (Prometheus is not enabled)"), "{said:#?}");
    }
    let client = Client::new(Config { address: client.address(), ..Config::default() }).unwrap();
    let refused = client.write::<Value>("/v1/metrics", &Value::Null, &QueryOptions::default());
    assert!(refused.unwrap_err().to_string().contains("405 (Invalid method)"));
}
