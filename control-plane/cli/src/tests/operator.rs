use serde_json::json as j;

use super::{Agent, Line, json, text};

#[test]
fn any_call() {
    let agent = Agent::start(&[
        ("GET /v1/status/leader", vec![text(200, "\"127.0.0.1:4647\"")]),
        ("POST /v1/search", vec![text(200, "{}")]),
    ]);
    let ran = agent.run("operator api /v1/status/leader");
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "\"127.0.0.1:4647\""));
    // An answer that is an error is an answer.
    let ran = agent.run("operator api -filter 'A == 1' -namespace team /v1/nope?x=1");
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "no route for GET /v1/nope"));
    Line::new("operator api -region eu /v1/search").agent(&agent).stdin("{\"Prefix\":\"a\"}").run();
    Line::new("operator api -X GET v1/status/leader").agent(&agent).run();
    assert_eq!(
        agent.asked(),
        [
            "GET /v1/status/leader",
            "GET /v1/nope?filter=A%20%3D%3D%201&namespace=team&x=1",
            "POST /v1/search?region=eu {\"Prefix\":\"a\"}",
            "GET /v1/status/leader",
        ]
    );
    let whole = format!("http://{}/v1/status/leader", agent.host_port());
    assert_eq!(Line::new(&format!("operator api {whole}")).run().stdout, "\"127.0.0.1:4647\"");
    let verbose = agent.run("operator api -verbose -H 'X-Odd: 1' /v1/status/leader").stderr;
    let begin = "> GET /v1/status/leader HTTP/1.1\n> X-Odd: 1\n>\n* Sending request and receiving response...\n< HTTP/1.1 200 OK\n";
    assert!(verbose.starts_with(begin) && verbose.contains("\n< x-nomad-index: 10\n"), "{verbose}");
}

#[test]
fn what_is_wrong_with_a_call() {
    let check = |line: &str, expected: &str| {
        let ran = Line::new(line).env("DROVER_ADDR", "http://127.0.0.1:1").run();
        ran.failed(expected);
    };
    let help = "For additional help try 'drover operator api -help'";
    check("operator api", &format!("A path or URL is required\n{help}"));
    check("operator api a b", &format!("operator api accepts exactly 1 argument, but 2 arguments were found\n{help}"));
    check(
        "operator api -H x /v1/jobs",
        "Error parsing flags: Headers must be in the form 'Key: Value' but found: \"x\"",
    );
    check(
        "operator api /v1/jobs",
        "Error performing request: Get \"http://127.0.0.1:1/v1/jobs\": dial tcp 127.0.0.1:1: connect: connection refused",
    );
}

#[test]
fn the_same_for_curl() {
    let check = |line: &str, variables: &[(&str, &str)], expected: &str| {
        let line = variables.iter().fold(Line::new(line), |line, (name, value)| line.env(name, value));
        line.run().printed(expected);
    };
    check("operator api -dryrun /v1/jobs", &[], "curl \\\n  http://127.0.0.1:4646/v1/jobs");
    check(
        "operator api -dryrun -X PUT -H 'A: b' -namespace team /v1/jobs",
        &[
            ("NOMAD_TOKEN", "secret"),
            ("DROVER_HTTP_AUTH", "me:pw"),
            ("NOMAD_ADDR", "https://box:1"),
            ("NOMAD_CACERT", ""),
        ],
        "curl \\\n  -X PUT \\\n  -H 'A: b' \\\n  -H \"X-Nomad-Token: ${NOMAD_TOKEN}\" \\\n  -u \"$DROVER_HTTP_AUTH\" \\\n  https://box:1/v1/jobs?namespace=team",
    );
    check(
        "operator api -dryrun -token mine -tls-server-name server.global /v1/jobs",
        &[("NOMAD_ADDR", "https://box:1"), ("NOMAD_SKIP_VERIFY", "1")],
        "curl \\\n  --insecure \\\n  --connect-to \"server.global:1:box:1\" \\\n  -H 'X-Nomad-Token: mine' \\\n  https://server.global:1/v1/jobs",
    );
}

#[test]
fn health() {
    let check = |stats: serde_json::Value, line: &str, status: i32, said: &str| {
        let agent = Agent::start(&[("GET /v1/agent/self", vec![json(j!({ "stats": stats }))])]);
        agent.run(line).ended(status, said, "");
    };
    let server = j!({ "nomad": {}, "raft": { "num_peers": "2" } });
    check(server.clone(), "check", 0, "");
    check(server, "check -min-peers 3", 2, "known peers: 2, is less than expected number of peers: 3");
    let client =
        |last: &str| j!({ "client": { "known_servers": "a:1,b:1", "heartbeat_ttl": "13.4s", "last_heartbeat": last } });
    check(client("1.5s"), "check -min-servers 2", 0, "");
    check(client("1.5s"), "check -min-servers 3", 2, "known servers: 2, is less than expected number of servers: 3");
    check(client("20s"), "check", 2, "last heartbeat was \"20s\" time ago, expected heartbeat ttl: \"13.4s\"");
    check(j!({}), "check", 1, "");
    Line::new("check").env("NOMAD_ADDR", "http://127.0.0.1:1").run().ended(
        2,
        "unable to query agent info: failed querying self endpoint: Get \"http://127.0.0.1:1/v1/agent/self\": dial tcp 127.0.0.1:1: connect: connection refused",
        "",
    );
}

#[test]
fn figures_of_the_agent() {
    let figures = || text(200, "{\"Counters\":[],\"Timestamp\":\"now\"}");
    let agent = Agent::start(&[(
        "GET /v1/metrics",
        vec![figures(), figures(), figures(), figures(), text(415, "Prometheus is not enabled")],
    )]);
    assert_eq!(agent.run("operator metrics").stdout, "{\"Counters\":[],\"Timestamp\":\"now\"}\n");
    agent.run("operator metrics -pretty");
    assert_eq!(agent.run("operator metrics -json").stdout, "{\n    \"Counters\": [],\n    \"Timestamp\": \"now\"\n}\n");
    assert_eq!(agent.run("operator metrics -t {{.Timestamp}}").stdout, "now\n");
    agent
        .run("operator metrics -format prometheus")
        .failed("Error getting metrics: Unexpected response code: 415 (Prometheus is not enabled)");
    assert_eq!(
        agent.asked(),
        [
            "GET /v1/metrics",
            "GET /v1/metrics?pretty=1",
            "GET /v1/metrics",
            "GET /v1/metrics",
            "GET /v1/metrics?format=prometheus"
        ]
    );
    agent
        .run("operator metrics x")
        .failed("This command takes no arguments\nFor additional help try 'drover operator metrics -help'");
}

#[test]
fn the_whole_state() {
    let done = || text(200, "");
    let agent =
        Agent::start(&[("PUT /v1/system/gc", vec![done()]), ("PUT /v1/system/reconcile/summaries", vec![done()])]);
    agent.run("system gc").printed("");
    agent.run("system reconcile summaries").printed("");
    let ran = agent.run("system gc extra");
    assert_eq!(ran.status, 0);
    assert!(ran.stderr.starts_with("This command takes no arguments\n"), "{}", ran.stderr);
    assert_eq!(agent.asked(), ["PUT /v1/system/gc null", "PUT /v1/system/reconcile/summaries null"]);
}

#[test]
fn how_allocations_are_placed() {
    let config = j!({ "SchedulerConfig": {
        "SchedulerAlgorithm": "binpack", "MemoryOversubscriptionEnabled": false, "RejectJobRegistration": false,
        "PauseEvalBroker": false, "NodeLimitForFeasibilityChecks": 0, "ModifyIndex": 5,
        "PreemptionConfig": { "SystemSchedulerEnabled": true, "ServiceSchedulerEnabled": false, "BatchSchedulerEnabled": false, "SysBatchSchedulerEnabled": false },
    }});
    let agent = Agent::start(&[("GET /v1/operator/scheduler/configuration", vec![json(config)])]);
    agent.run("operator scheduler get-config").printed(
        "\
Scheduler Algorithm               = binpack
Memory Oversubscription           = false
Reject Job Registration           = false
Pause Eval Broker                 = false
Preemption System Scheduler       = true
Preemption Service Scheduler      = false
Preemption Batch Scheduler        = false
Preemption SysBatch Scheduler     = false
Node Limit For Feasibility Checks = 0
Modify Index                      = 5",
    );
}

#[test]
fn allocations_are_placed_otherwise() {
    let config = || {
        json(j!({ "SchedulerConfig": {
            "SchedulerAlgorithm": "binpack", "ModifyIndex": 5, "PreemptionConfig": { "BatchSchedulerEnabled": false },
        }}))
    };
    let path = "GET /v1/operator/scheduler/configuration";
    let updated = |updated: bool| json(j!({ "Index": 9, "Updated": updated }));
    let agent = Agent::start(&[
        (path, vec![config(), config(), config(), config()]),
        (
            "PUT /v1/operator/scheduler/configuration",
            vec![updated(true), updated(false), text(400, "invalid scheduler algorithm: nope")],
        ),
    ]);
    agent
        .run("operator scheduler set-config -scheduler-algorithm=spread -pause-eval-broker true")
        .printed("Scheduler configuration updated!");
    let sent = &agent.asked()[1];
    assert!(sent.starts_with("PUT /v1/operator/scheduler/configuration?cas=5"), "{sent}");
    assert!(sent.contains("\"SchedulerAlgorithm\":\"spread\"") && sent.contains("\"PauseEvalBroker\":true"), "{sent}");
    agent
        .run("operator scheduler set-config -check-index 5 -scheduler-algorithm spread")
        .failed("Scheduler configuration could not be atomically updated, please try again");
    agent.run("operator scheduler set-config -scheduler-algorithm=nope").failed(
        "Error setting scheduler configuration: Unexpected response code: 400 (invalid scheduler algorithm: nope)",
    );
    agent
        .run("operator scheduler set-config -check-index 1 -memory-oversubscription=true")
        .failed("Error performing check index set: check-index 1 does not match does not match current state value 5");
}

#[test]
fn a_node_is_opened_and_closed() {
    let id = "4f2b771a-cdb5-281b-868a-8915203016a2";
    let path = format!("PUT /v1/node/{id}/eligibility");
    let agent = Agent::start(&[
        ("GET /v1/nodes", vec![json(j!([{ "ID": id, "Name": "alpha" }]))]),
        (&path, vec![json(j!({ "NodeModifyIndex": 7 })), json(j!({ "NodeModifyIndex": 8 }))]),
        ("GET /v1/agent/self", vec![json(j!({ "stats": { "client": { "node_id": id } } }))]),
    ]);
    agent
        .run("node eligibility -disable 4f2b771a")
        .printed(&format!("Node \"{id}\" scheduling eligibility set: ineligible for scheduling"));
    agent
        .run("node eligibility -enable -self")
        .printed(&format!("Node \"{id}\" scheduling eligibility set: eligible for scheduling"));
    let help = "For additional help try 'drover node eligibility -help'";
    let neither = format!("Either the '-enable' or '-disable' flag must be set\n{help}");
    agent.run("node eligibility 4f2b771a").failed(&neither);
    agent.run("node eligibility -enable -disable 4f2b771a").failed(&neither);
    agent
        .run("node eligibility -enable")
        .failed(&format!("Node ID must be specified if -self isn't being used\n{help}"));
}
