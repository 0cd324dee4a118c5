//! One call at least for every row of the table, with what it answers. A row without a call fails the first test.

use std::collections::BTreeSet;

use drover_http_api::routes::ROUTES;
use serde_json::json;

use crate::support::{job, start};

const NOWHERE: &str = "11111111-2222-3333-4444-555555555555";

/// Method, path, body, status, and how the answer's body begins.
type Case = (&'static str, &'static str, &'static str, u16, &'static str);

/// What is asked of a server that has the job `web`, a node and nothing else.
const CALLS: &[Case] = &[
    ("GET", "/v1/jobs", "", 200, "[{\"CreateIndex\""),
    ("GET", "/v1/jobs?prefix=zz", "", 200, "[]"),
    ("GET", "/v1/jobs?namespace=team", "", 200, "[]"),
    ("GET", "/v1/jobs?filter=ID==web", "", 200, "[{\"CreateIndex\""),
    ("GET", "/v1/jobs?filter=ID==zz", "", 200, "[]"),
    ("GET", "/v1/jobs?index=zz", "", 400, "Invalid index"),
    ("GET", "/v1/jobs?index=1&wait=zz", "", 400, "Invalid wait time"),
    ("GET", "/v1/jobs?per_page=zz", "", 400, "Expect a number for `per_page` query string parameter"),
    ("GET", "/v1/jobs?stale=zz", "", 400, "Expect `true` or `false` for `stale` query string parameter"),
    ("GET", "/v1/jobs?region=zz", "", 500, "No path to region"),
    ("GET", "/v1/jobs?pretty", "", 200, "[\n    {\n        \"CreateIndex\""),
    ("PATCH", "/v1/jobs", "", 405, "Invalid method"),
    ("HEAD", "/v1/jobs", "", 405, ""),
    ("POST", "/v1/jobs", "", 400, "Request body is empty"),
    ("POST", "/v1/jobs", "{", 400, "unexpected EOF"),
    ("POST", "/v1/jobs", "{}", 400, "Job must be specified"),
    ("PUT", "/v1/jobs", r#"{"Job":{"ID":"x","Region":"zz"}}"#, 500, "No path to region"),
    ("PUT", "/v1/jobs/parse", "", 400, "Request body is empty"),
    ("PUT", "/v1/jobs/parse", "{}", 400, "Job spec is empty"),
    (
        "PUT",
        "/v1/jobs/parse",
        r#"{"JobHCL":"job \"m\" {\n nope = 1\n}"}"#,
        400,
        "Failed to parse job: input.hcl:2,2-6: ",
    ),
    ("GET", "/v1/jobs/statuses", "", 200, "[{\"Allocs\":["),
    ("POST", "/v1/jobs/statuses", "", 200, "[{\"Allocs\":["),
    ("POST", "/v1/jobs/statuses", "{}", 400, "no jobs in request"),
    ("POST", "/v1/jobs/statuses", "{", 400, "error decoding request: unexpected EOF"),
    ("POST", "/v1/jobs/statuses", r#"{"Jobs":[{"ID":"zz"}]}"#, 200, "[]"),
    ("PUT", "/v1/jobs/statuses", "{}", 405, "Invalid method"),
    ("PUT", "/v1/validate/job", "{}", 400, "Job must be specified"),
    ("GET", "/v1/job/web/allocations", "", 200, "[{"),
    (
        "GET",
        "/v1/job/web/allocations?all=zz",
        "",
        500,
        "Failed to parse value of \"all\" (zz) as a bool: strconv.ParseBool",
    ),
    ("GET", "/v1/job/zz/allocations", "", 200, "[]"),
    ("GET", "/v1/job/web/evaluations", "", 200, "[{"),
    ("GET", "/v1/job/web/deployments", "", 200, "[{"),
    ("GET", "/v1/job/zz/deployments", "", 200, "[]"),
    ("GET", "/v1/job/web/deployment", "", 200, "{\"ID\""),
    ("GET", "/v1/job/zz/deployment", "", 200, "null"),
    ("GET", "/v1/job/web/summary", "", 200, "{\"Children\""),
    ("DELETE", "/v1/job/zz/summary", "", 404, "job not found"),
    ("GET", "/v1/job/web/versions?diffs=true", "", 200, "{\"Diffs\":[]"),
    ("GET", "/v1/job/zz/versions", "", 404, "job versions not found"),
    ("GET", "/v1/job/web/versions?diffs=true&diff_tag=t", "", 500, "tag \"t\" not found"),
    ("GET", "/v1/job/web/submission", "", 400, "Unable to parse job submission version parameter"),
    ("GET", "/v1/job/web/submission?version=9", "", 404, "job source not found"),
    ("PUT", "/v1/job/web/plan", "{}", 400, "Job must be specified"),
    ("PUT", "/v1/job/web/plan", r#"{"Job":{"ID":"other"}}"#, 400, "Job ID does not match name"),
    ("PUT", "/v1/job/zz/evaluate", "", 500, "job not found"),
    ("PUT", "/v1/job/web/evaluate", "{}", 400, "Job ID must be specified"),
    ("PUT", "/v1/job/web/evaluate", r#"{"JobID":"zz"}"#, 400, "JobID not same as job name"),
    ("PUT", "/v1/job/web/revert", "{}", 400, "JobID must be specified"),
    ("PUT", "/v1/job/web/revert", r#"{"JobID":"web","JobVersion":0}"#, 500, "can't revert to current version"),
    (
        "PUT",
        "/v1/job/web/revert",
        r#"{"JobID":"web","JobVersion":9}"#,
        500,
        "job \"web\" in namespace \"default\" at version 9 not found",
    ),
    ("PUT", "/v1/job/zz/revert", r#"{"JobID":"zz","JobVersion":1}"#, 500, "job \"zz\" not found"),
    ("PUT", "/v1/job/web/stable", "{}", 400, "JobID must be specified"),
    (
        "PUT",
        "/v1/job/zz/stable",
        r#"{"JobID":"zz"}"#,
        500,
        "job \"zz\" in namespace \"default\" at version 0 not found",
    ),
    ("GET", "/v1/job/web", "", 200, "{\"Region\""),
    ("PUT", "/v1/job/web/periodic/force", "", 500, "can't force launch non-periodic job"),
    ("PUT", "/v1/job/zz/periodic/force", "", 500, "job not found"),
    ("PUT", "/v1/job/zz/dispatch", "", 400, "Request body is empty"),
    ("PUT", "/v1/job/zz/dispatch", "{", 400, "unexpected EOF"),
    ("PUT", "/v1/job/zz/dispatch", "{}", 500, "parameterized job not found"),
    ("PUT", "/v1/job/web/dispatch", "{}", 500, "Specified job \"web\" is not a parameterized job"),
    ("PUT", "/v1/job/zz/dispatch/payload", "raw", 500, "parameterized job not found"),
    ("PUT", "/v1/job/web/scale", "", 400, "Request body is empty"),
    ("PUT", "/v1/job/web/scale", "{}", 400, "missing task group name for scaling action"),
    ("PUT", "/v1/job/zz/scale", r#"{"Target":{"Group":"g"}}"#, 404, "job \"zz\" not found"),
    ("GET", "/v1/job/web/scale", "", 200, "{\"JobCreateIndex\""),
    ("GET", "/v1/job/zz/scale", "", 404, "job not found"),
    ("GET", "/v1/job/web/actions", "", 200, "[]"),
    ("GET", "/v1/job/zz/actions", "", 500, "Unknown job \"zz\""),
    ("PUT", "/v1/job/zz/versions/t/tag", "", 400, "Request body is empty"),
    ("PUT", "/v1/job/zz/versions/t/tag", "{}", 500, "job \"zz\" version 0 not found"),
    ("DELETE", "/v1/job/zz/versions/t/tag", "", 500, "tag \"t\" not found on job \"zz\""),
    ("GET", "/v1/job/zz/versions/t/u/tag", "", 404, "invalid job tag endpoint"),
    ("GET", "/v1/job/zz", "", 404, "job not found"),
    ("GET", "/v1/job/web?namespace=*", "", 404, "job not found"),
    ("PUT", "/v1/job/other", r#"{"Job":{"ID":"web"}}"#, 400, "Job ID does not match name"),
    ("DELETE", "/v1/job/zz", "", 200, "{\"EvalCreateIndex\":0,\"EvalID\":\"\",\"Index\":0,\"JobModifyIndex\":0"),
    ("DELETE", "/v1/job/web?eval_priority=900", "", 400, "Eval priority must be between 1 and 100 inclusively"),
    ("DELETE", "/v1/job/web?purge=zz", "", 500, "Failed to parse value of \"purge\" (zz) as a bool: strconv.ParseBool"),
    ("GET", "/v1/nodes", "", 200, "[{\"Address\":\"127.0.0.1\""),
    (
        "GET",
        "/v1/nodes?resources=zz",
        "",
        400,
        "Failed to parse node list fields: Failed to parse value of \"resources\"",
    ),
    (
        "GET",
        "/v1/nodes?prefix=abc",
        "",
        500,
        "node lookup failed: index error: Input (without hyphens) must be even length",
    ),
    ("GET", "/v1/node/NOWHERE", "", 404, "node not found"),
    ("GET", "/v1/node/zz", "", 500, "node lookup failed: index error: UUID must be 36 characters"),
    ("GET", "/v1/node/NOWHERE/allocations", "", 200, "[]"),
    ("PUT", "/v1/node/NOWHERE/evaluate", "", 500, "node not found"),
    ("PUT", "/v1/node/NOWHERE/eligibility", "{}", 500, "invalid scheduling eligibility \"\""),
    ("PUT", "/v1/node/NOWHERE/eligibility", r#"{"Eligibility":"eligible"}"#, 500, "node not found"),
    ("PUT", "/v1/node/NOWHERE/purge", "", 500, "node not found"),
    ("GET", "/v1/allocations", "", 200, "[{\"ClientDescription\""),
    (
        "GET",
        "/v1/allocations?prefix=zz",
        "",
        500,
        "alloc lookup failed: index error: Invalid UUID: encoding/hex: invalid byte: U+007A 'z'",
    ),
    ("GET", "/v1/allocation/NOWHERE", "", 404, "alloc not found"),
    ("GET", "/v1/allocation/zz", "", 500, "alloc lookup failed: index error: UUID must be 36 characters"),
    ("PUT", "/v1/allocation/NOWHERE/stop", "", 404, "allocation not found"),
    ("GET", "/v1/evaluations", "", 200, "[{\"ID\""),
    ("GET", "/v1/evaluations?status=blocked", "", 200, "[]"),
    ("GET", "/v1/evaluations/count", "", 200, "{\"Count\":1"),
    ("GET", "/v1/evaluation/NOWHERE", "", 404, "eval not found"),
    (
        "GET",
        "/v1/evaluation/zz",
        "",
        500,
        "failed to lookup eval: eval lookup failed: index error: UUID must be 36 characters",
    ),
    ("GET", "/v1/evaluation/NOWHERE/allocations", "", 200, "[]"),
    ("GET", "/v1/deployments", "", 200, "[{\"ID\""),
    ("GET", "/v1/deployment/NOWHERE", "", 404, "deployment not found"),
    ("GET", "/v1/deployment/allocations/NOWHERE", "", 200, "[]"),
    ("PUT", "/v1/deployment/fail/NOWHERE", "", 500, "deployment not found"),
    ("PUT", "/v1/deployment/promote/NOWHERE", "{}", 400, "DeploymentID must be specified"),
    (
        "PUT",
        "/v1/deployment/promote/NOWHERE",
        r#"{"DeploymentID":"11111111-2222-3333-4444-555555555555"}"#,
        500,
        "deployment not found",
    ),
    ("PUT", "/v1/deployment/allocation-health/NOWHERE", "{}", 400, "DeploymentID must be specified"),
    ("PUT", "/v1/deployment/unblock/NOWHERE", "{}", 400, "DeploymentID must be specified"),
    ("PUT", "/v1/deployment/unblock/NOWHERE", "", 400, "Request body is empty"),
    ("PUT", "/v1/deployment/pause/NOWHERE", "{}", 400, "DeploymentID must be specified"),
    ("PUT", "/v1/deployment/pause/NOWHERE", r#"{"DeploymentID":"x"}"#, 400, "Deployment ID does not match"),
    ("GET", "/v1/client/fs/logs/NOWHERE", "", 400, "must provide task name"),
    ("GET", "/v1/client/fs/logs/NOWHERE?task=t", "", 400, "must provide log type (stdout/stderr)"),
    (
        "GET",
        "/v1/client/fs/logs/NOWHERE?task=t&type=stdout&follow=zz",
        "",
        400,
        "failed to parse follow field to boolean: strconv.ParseBool: parsing \"zz\"",
    ),
    ("GET", "/v1/client/fs/logs/NOWHERE?task=t&type=stdout&origin=zz", "", 400, "origin must be start or end"),
    (
        "GET",
        "/v1/client/fs/logs/NOWHERE?task=t&type=stdout",
        "",
        404,
        "Unknown allocation \"11111111-2222-3333-4444-555555555555\"",
    ),
    (
        "GET",
        "/v1/client/allocation/NOWHERE/stats",
        "",
        404,
        "Unknown allocation \"11111111-2222-3333-4444-555555555555\"",
    ),
    ("GET", "/v1/agent/self?region=zz", "", 200, "{\"config\":{\"Region\":\"global\"}"),
    ("GET", "/v1/agent/members", "", 200, "{\"Members\":[{"),
    ("GET", "/v1/agent/servers", "", 501, "Invalid method"),
    ("GET", "/v1/agent/health", "", 200, "{\"server\":{\"message\":\"ok\",\"ok\":true}}"),
    ("GET", "/v1/agent/monitor", "", 500, "this server has no agent around it"),
    ("GET", "/v1/agent/monitor?log_level=zz", "", 400, "Unknown log level: zz"),
    ("GET", "/v1/agent/host", "", 500, "this server has no agent around it"),
    ("PUT", "/v1/agent/reload", "", 500, "this server has no agent around it"),
    ("GET", "/v1/agent/reload", "", 405, "Invalid method"),
    ("GET", "/v1/status/leader", "", 200, "\"127.0.0.1:"),
    ("GET", "/v1/status/peers", "", 200, "[\"127.0.0.1:"),
    ("GET", "/v1/regions", "", 200, "[\"global\"]"),
    ("GET", "/v1/operator/raft/configuration", "", 200, "{\"Index\":0,\"Servers\":[{"),
    ("GET", "/v1/operator/scheduler/configuration", "", 200, "{\"Index\":1"),
    ("PUT", "/v1/operator/scheduler/configuration", "", 400, "Error parsing scheduler config: Request body is empty"),
    ("PUT", "/v1/operator/scheduler/configuration", "{", 400, "Error parsing scheduler config: unexpected EOF"),
    (
        "PUT",
        "/v1/operator/scheduler/configuration",
        "{\"SchedulerAlgorithm\":\"nope\"}",
        400,
        "invalid scheduler algorithm: nope",
    ),
    ("PUT", "/v1/operator/scheduler/configuration?cas=x", "{}", 400, "Error parsing cas value: "),
    ("PUT", "/v1/operator/scheduler/configuration?cas=7", "{}", 200, "{\"Index\":0,\"Updated\":false}"),
    ("PUT", "/v1/operator/snapshot", "", 500, "failed to restore from snapshot: "),
    ("DELETE", "/v1/operator/raft/peer", "", 400, "Must specify the peer's ID to remove"),
    ("PUT", "/v1/operator/raft/transfer-leadership", "", 400, "must specify id or address"),
    ("GET", "/v1/operator/autopilot/configuration", "", 200, "{\"CleanupDeadServers\":true"),
    ("PUT", "/v1/operator/autopilot/configuration", "{", 400, "Error parsing autopilot config: unexpected EOF"),
    ("GET", "/v1/operator/autopilot/health", "", 200, "{\"FailureTolerance\":0"),
    ("PUT", "/v1/agent/join", "", 400, "missing address to join"),
    ("PUT", "/v1/agent/force-leave", "", 400, "missing node to force leave"),
    ("GET", "/v1/operator/join-token", "", 200, "[]"),
    (
        "PUT",
        "/v1/operator/join-token",
        r#"{"Role":"server"}"#,
        403,
        "making a join token takes a request signed with this server's host file",
    ),
    ("PUT", "/v1/operator/join-token", r#"{"TTL":"1"}"#, 400, "TTL \"1\" is not a duration"),
    ("PUT", "/v1/search", "", 400, "Request body is empty"),
    (
        "PUT",
        "/v1/search",
        r#"{"Prefix":"we","Context":"zz"}"#,
        500,
        "context must be one of [allocs jobs nodes node_pools evals deployment plugins volumes scaling_policy vars namespaces host_volumes] or 'all' for all contexts; got \"zz\"",
    ),
    ("POST", "/v1/search", r#"{"Prefix":"we","Context":"jobs"}"#, 200, "{\"Index\""),
    ("GET", "/v1/event/stream?topic=a:b:c", "", 400, "Invalid topic query: "),
    ("GET", "/v1/scaling/policies", "", 200, "[]"),
    ("GET", "/v1/scaling/policy/NOWHERE", "", 404, "policy not found"),
    ("GET", "/v1/namespaces", "", 200, "[{"),
    ("PUT", "/v1/namespace", "", 400, "Request body is empty"),
    ("GET", "/v1/namespace/", "", 400, "Missing Namespace Name"),
    ("GET", "/v1/namespace/default", "", 200, "{"),
    ("GET", "/v1/namespace/zz", "", 404, "Namespace not found"),
    ("PUT", "/v1/namespace/zz", r#"{"Name":"yy"}"#, 400, "Namespace name does not match request path"),
    ("DELETE", "/v1/namespace/zz", "", 500, ""),
    ("GET", "/v1/client/fs/ls/NOWHERE", "", 404, "Unknown allocation"),
    ("GET", "/v1/client/fs/stat/NOWHERE", "", 400, "must provide a file name"),
    ("GET", "/v1/client/fs/cat/NOWHERE", "", 200, "must provide a file name"),
    ("GET", "/v1/client/fs/readat/NOWHERE?offset=0", "", 200, "must provide a file name"),
    ("GET", "/v1/client/fs/stream/NOWHERE", "", 400, "must provide a file name"),
    ("GET", "/v1/client/stats", "", 400, "No local Node and node_id not provided"),
    ("GET", "/v1/client/gc", "", 400, "No local Node and node_id not provided"),
    ("GET", "/v1/client/metadata", "", 400, "No local Node and node_id not provided"),
    ("POST", "/v1/client/metadata", "{}", 400, "missing required Meta object"),
    ("GET", "/v1/client/allocation/NOWHERE/gc", "", 404, "Unknown allocation"),
    ("GET", "/v1/client/allocation/NOWHERE/exec", "", 500, "failed to marshal command into json"),
    ("PUT", "/v1/client/allocation/NOWHERE/restart", "", 404, "Unknown allocation"),
    ("PUT", "/v1/client/allocation/NOWHERE/signal", "{}", 404, "Unknown allocation"),
    ("GET", "/v1/metrics", "", 200, "{\"Counters\":["),
    ("GET", "/v1/metrics?format=prometheus", "", 415, "Prometheus is not enabled"),
    ("PUT", "/v1/system/reconcile/summaries", "", 200, ""),
    ("PUT", "/v1/system/gc", "", 200, ""),
    ("GET", "/v1/system/gc", "", 405, "Invalid method"),
];

/// The rows of the table that a call reaches: told by its path with ids put back to names.
fn row_of(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    ROUTES
        .iter()
        .find(|route| drover_http_api::path::matches(route.pattern, path).is_some())
        .map_or_else(|| panic!("no route for {path}"), |route| route.pattern.to_owned())
}

#[test]
fn every_row_has_a_call() {
    let called: BTreeSet<_> = CALLS.iter().map(|(method, path, ..)| (row_of(path), *method)).collect();
    for route in ROUTES {
        // Its answer is no text: the tests of snapshots call it.
        if (route.methods[0], route.pattern) == ("GET", "/v1/operator/snapshot") {
            continue;
        }
        let has_call = route.methods.iter().any(|method| called.contains(&(route.pattern.to_owned(), *method)));
        assert!(has_call, "{:?} {} has no call in this test", route.methods, route.pattern);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_answered_as_it_should() {
    let running = start().await;
    running.add_node().await;
    running.register(job("web")).await;
    running.until("/v1/job/web/evaluations", |evals| evals[0]["Status"] == "complete").await;
    let mut wrong = Vec::new();
    for (method, path, body, status, begins) in CALLS {
        let path = path.replace("NOWHERE", NOWHERE);
        let answer = running.ask(method, &path, body).await;
        if answer.status != *status || !answer.body.starts_with(begins) {
            let said: String = answer.body.chars().take(200).collect();
            wrong.push(format!("{method} {path} {body}: {} {said:?}, not {status} {begins:?}", answer.status));
        }
        let is_text = answer.header("content-type") == "text/plain; charset=utf-8";
        // Two routes of files tell in the body what is wrong, whatever the status.
        let is_told_so = path.contains("/fs/cat/") || path.contains("/fs/readat/");
        assert_eq!(is_text, answer.status >= 400 || is_told_so, "{method} {path}");
        assert!(!answer.body.ends_with('\n') || path.contains("pretty") || answer.body.contains('*'), "{path}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What found nothing still says from where to wait.
    let missing = running.get(&format!("/v1/node/{NOWHERE}")).await;
    assert!(missing.index() > 0 && missing.header("x-nomad-knownleader") == "true");
    assert_eq!(missing.header("x-nomad-lastcontact"), "0");
    assert_eq!(running.ask("PUT", "/v1/job/zz/evaluate", "").await.header("x-nomad-index"), "");
    running.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_job_is_told_in_one_text() {
    let running = start().await;
    let check = async |change: &dyn Fn(&mut serde_json::Value), expected: &str| {
        let mut job = job("sys");
        change(&mut job);
        let answer = running.put("/v1/jobs", json!({ "Job": job })).await;
        assert_eq!((answer.status, answer.body.as_str()), (500, expected));
    };
    check(
        &|job| job["Namespace"] = "zz".into(),
        "1 error occurred:\n\t* job \"sys\" is in nonexistent namespace \"zz\"\n\n",
    )
    .await;
    check(
        &|job| job["NodePool"] = "zz".into(),
        "1 error occurred:\n\t* job \"sys\" is in nonexistent node pool \"zz\"\n\n",
    )
    .await;
    check(&|job| job["Priority"] = 900.into(), "1 error occurred:\n\t* job priority must be between [1, 100]\n\n")
        .await;
    let validated = running.put("/v1/validate/job", json!({ "Job": { "ID": "bad id", "Priority": 900 } })).await;
    assert_eq!(validated.status, 200);
    assert!(validated.json()["Error"].as_str().is_some_and(|text| text.contains("\t* Job ID contains a space\n")));
    assert!(validated.json()["ValidationErrors"].as_array().is_some_and(|list| list.len() >= 2));
    running.stop().await;
}
