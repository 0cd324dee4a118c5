//! The keys of answers against those that were recorded of the program whose clients we serve (`keys.json`).

use std::collections::{BTreeMap, BTreeSet};

use drover_http_api::views;
use drover_model::alloc::{Alloc, AllocHealth};
use drover_model::deployment::{Deployment, DeploymentState};
use drover_model::eval::Eval;
use drover_model::job::Job;
use drover_model::metric::AllocMetric;
use drover_model::node::{Node, NodeEvent};
use drover_model::resources::AllocatedResources;
use drover_model::task_state::{TaskEvent, TaskState};
use drover_model::{EvalId, Timestamp};
use drover_server::edge_reads::{AllocStats, TaskStats};
use drover_server::jobs::JobWritten;
use serde::Serialize;
use serde_json::{Value, json};

use crate::support::{job, start};

fn keys() -> BTreeMap<String, BTreeSet<String>> {
    serde_json::from_str(include_str!("keys.json")).unwrap()
}

/// Compares the keys; `left_out` names what drover has no part of, or what depends on the moment.
fn check(shape: &str, value: &impl Serialize, left_out: &[&str]) {
    let value = serde_json::to_value(value).unwrap();
    let object = value.as_object().unwrap_or_else(|| panic!("{shape}: {value}"));
    let is_compared = |key: &String| !left_out.contains(&key.as_str());
    let ours: BTreeSet<String> = object.keys().filter(|key| is_compared(key)).cloned().collect();
    let mut theirs = keys().remove(shape).unwrap();
    theirs.retain(is_compared);
    let missing: Vec<_> = theirs.difference(&ours).collect();
    let extra: Vec<_> = ours.difference(&theirs).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{shape}: missing {missing:?}, extra {extra:?}");
}

#[test]
fn nouns() {
    let eval_id = Some(EvalId::from_random([1; 16]));
    check("Deployment", &Deployment::default(), &[]);
    check("DeploymentState", &DeploymentState::default(), &[]);
    check("TaskState", &TaskState::default(), &[]);
    check("TaskEvent", &TaskEvent::default(), &[]);
    check("AllocMetric", &AllocMetric::default(), &[]);
    check("AllocDeploymentStatus", &AllocHealth::default(), &[]);
    check("AllocatedResources", &AllocatedResources::default(), &[]);
    check("NodeEvent", &NodeEvent::default(), &[]);
    check("Node", &views::node::NodeView::from(&Node::default()), &[]);
    check("NodeResources", &Node::default().node_resources, &[]);
    let shown = views::node::Shown { resources: true, os: true };
    check("NodeListStub", &views::node::NodeListStub::new(&Node::default(), shown), &[]);
    check("EvaluationStub", &views::eval::EvalStub::from(&Eval::default()), &[]);
    let written = JobWritten { eval_id, eval_create_index: 1, job_modify_index: 1, index: 1 };
    check("JobRegistered", &views::written::JobRegistered::new(&written, String::new()), &[]);
    check("JobDeregistered", &views::written::JobDeregistered::from(&written), &[]);
    let stats = AllocStats { tasks: [("t".to_owned(), TaskStats::default())].into(), ..AllocStats::default() };
    let usage = serde_json::to_value(views::usage::AllocUsage::new(&stats, |_| true)).unwrap();
    check("AllocUsage", &usage, &[]);
    check("TaskUsage", &usage["Tasks"]["t"], &[]);
    check("CpuStats", &usage["ResourceUsage"]["CpuStats"], &[]);
    check("MemoryStats", &usage["ResourceUsage"]["MemoryStats"], &[]);
}

/// Zero fields of an alloc are left out, so this one has what the recorded one had.
#[test]
fn allocs() {
    let alloc = Alloc {
        namespace: "default".into(),
        eval_id: Some(EvalId::from_random([1; 16])),
        name: "web.g[0]".into(),
        node_id: drover_model::NodeId::from_random([2; 16]),
        node_name: "n1".into(),
        job_id: "web".into(),
        job_version: 3,
        job_create_index: 7,
        task_group: "g".into(),
        allocated_resources: std::sync::Arc::new(AllocatedResources {
            tasks: [("t".to_owned(), Default::default())].into(),
            ..Default::default()
        }),
        metrics: AllocMetric { nodes_evaluated: 1, ..Default::default() },
        client_description: "Tasks are running".into(),
        task_states: [("t".to_owned(), TaskState::default())].into(),
        deployment_id: Some(drover_model::DeploymentId::from_random([3; 16])),
        deployment_status: Some(AllocHealth::default()),
        network_status: Some(Box::default()),
        create_index: 1,
        modify_index: 1,
        alloc_modify_index: 1,
        create_time: Timestamp(1),
        modify_time: Timestamp(1),
        ..Alloc::default()
    };
    let job = std::sync::Arc::new(Job::default());
    let view = serde_json::to_value(views::alloc::AllocView::new(&alloc, Some(&job)).unwrap()).unwrap();
    check("Allocation", &view, &["SigningKeyID"]);
    check("Resources", &view["Resources"], &[]);
    let shown = views::alloc::Shown { resources: true, task_states: true };
    check("AllocListStub", &views::alloc::AllocListStub::new(&alloc, Some(&job), shown), &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers() {
    let running = start().await;
    let node = running.add_node().await;
    check("JobRegistered", &running.register(job("web")).await.json(), &[]);
    running.until("/v1/job/web/evaluations", |evals| evals[0]["Status"] == "complete").await;
    let get = async |path: &str| running.get(path).await.json();
    let put = async |path: &str, body: Value| running.put(path, body).await.json();

    let stored = get("/v1/job/web").await;
    check("Job", &stored, &[]);
    check("TaskGroup", &stored["TaskGroups"][0], &[]);
    check("Task", &stored["TaskGroups"][0]["Tasks"][0], &[]);
    check("Resources", &stored["TaskGroups"][0]["Tasks"][0]["Resources"], &[]);
    check("LogConfig", &stored["TaskGroups"][0]["Tasks"][0]["LogConfig"], &[]);
    check("JobListStub", &get("/v1/jobs").await[0], &[]);
    let summary = get("/v1/job/web/summary").await;
    check("JobSummary", &summary, &[]);
    check("GroupSummary", &summary["Summary"]["g"], &[]);
    check("JobVersions", &get("/v1/job/web/versions").await, &[]);
    let plan = put("/v1/job/web/plan", json!({ "Job": job("web"), "Diff": true })).await;
    check("JobPlan", &plan, &[]);
    check("JobDiff", &plan["Diff"], &[]);
    check("Validation", &put("/v1/validate/job", json!({ "Job": job("web") })).await, &[]);
    let statuses = get("/v1/jobs/statuses").await;
    check("JobStatus", &statuses[0], &[]);
    check("JobStatusAlloc", &statuses[0]["Allocs"][0], &[]);
    check("JobStatusDeployment", &statuses[0]["LatestDeployment"], &[]);
    let text = "job \"m\" {\n  group \"g\" {\n    task \"t\" {\n      driver = \"raw_exec\"\n    }\n  }\n}\n";
    for canonicalize in [false, true] {
        let parsed = put("/v1/jobs/parse", json!({ "JobHCL": text, "Canonicalize": canonicalize })).await;
        check("ParsedJob", &parsed, &[]);
    }

    check("EvaluationCount", &get("/v1/evaluations/count").await, &[]);
    check("Evaluation", &get("/v1/evaluations").await[0], &["PlanAnnotations"]);
    check("Search", &put("/v1/search", json!({ "Prefix": "", "Context": "all" })).await, &[]);
    check("RaftServer", &get("/v1/operator/raft/configuration").await["Servers"][0], &[]);
    check("RaftConfiguration", &get("/v1/operator/raft/configuration").await, &[]);
    let scheduler = get("/v1/operator/scheduler/configuration").await;
    check("SchedulerConfiguration", &scheduler, &[]);
    check("SchedulerConfig", &scheduler["SchedulerConfig"], &[]);
    check("Members", &get("/v1/agent/members").await, &[]);
    check("Member", &get("/v1/agent/members").await["Members"][0], &[]);
    check("AgentSelf", &get("/v1/agent/self").await, &[]);
    check("AgentHealth", &get("/v1/agent/health?type=server").await, &[]);

    let alloc = get("/v1/allocations").await[0]["ID"].as_str().unwrap().to_owned();
    check("AllocStopped", &put(&format!("/v1/allocation/{alloc}/stop"), json!({})).await, &[]);
    let deployment = get("/v1/deployments").await[0]["ID"].as_str().unwrap().to_owned();
    let pause = json!({ "DeploymentID": deployment, "Pause": true });
    check("DeploymentChanged", &put(&format!("/v1/deployment/pause/{deployment}"), pause).await, &[]);
    check("DeploymentChanged", &put(&format!("/v1/deployment/fail/{deployment}"), json!({})).await, &[]);
    let closed = put(&format!("/v1/node/{node}/eligibility"), json!({ "Eligibility": "ineligible" })).await;
    check("NodeEligibility", &closed, &[]);
    check("NodeUpdated", &put(&format!("/v1/node/{node}/evaluate"), json!({})).await, &[]);
    check("JobDeregistered", &running.ask("DELETE", "/v1/job/web", "").await.json(), &[]);
    running.stop().await;
}
