use serde_json::{Value, json as j};

use super::{Agent, Line, Reply, json, nanos};

fn blocked() -> Value {
    j!({
        "ID": "aaf1ebbd-1", "Priority": 50, "Type": "service", "TriggeredBy": "queued-allocs", "JobID": "huge", "Namespace": "default",
        "Status": "blocked", "StatusDescription": "created to place remaining allocations", "PreviousEval": "19ae39a9-1",
        "CreateIndex": 41, "CreateTime": nanos("2026-11-21T11:26:38Z"), "ModifyTime": nanos("2026-11-21T11:26:38Z"),
        "RelatedEvals": [{ "ID": "19ae39a9-1", "Priority": 50, "TriggeredBy": "job-register", "Status": "complete" }],
    })
}

fn failed() -> Value {
    j!({
        "ID": "19ae39a9-1", "Priority": 50, "Type": "service", "TriggeredBy": "job-register", "JobID": "huge", "Namespace": "default",
        "Status": "complete", "StatusDescription": "complete", "BlockedEval": "aaf1ebbd-1", "CreateIndex": 40,
        "CreateTime": nanos("2026-11-21T11:26:38Z"), "ModifyTime": nanos("2026-11-21T11:26:38Z"),
        "RelatedEvals": [{ "ID": "aaf1ebbd-1", "Priority": 50, "TriggeredBy": "queued-allocs", "Status": "blocked",
            "StatusDescription": "created to place remaining allocations" }],
        "PlanAnnotations": { "DesiredTGUpdates": { "g": { "Place": 1 }, "mem": { "Place": 1 } } },
        "FailedTGAllocs": {
            "g": { "NodesEvaluated": 1, "ConstraintFiltered": { "${meta.rack} = r9": 1 } },
            "mem": { "NodesEvaluated": 1, "NodesExhausted": 1, "DimensionExhausted": { "memory": 1 } },
        },
    })
}

fn routes() -> Vec<(&'static str, Vec<Reply>)> {
    vec![
        ("GET /v1/evaluations", vec![json(j!([failed()])), json(j!([blocked()])), json(j!([blocked(), failed()]))]),
        ("GET /v1/evaluation/aaf1ebbd-1", vec![json(blocked())]),
        ("GET /v1/evaluation/19ae39a9-1", vec![json(failed())]),
    ]
}

#[test]
fn evals() {
    let agent = Agent::start(&routes());
    agent.run("eval status 19ae39a9").printed(
        "\
ID                 = 19ae39a9
Create Time        = 1m1s ago
Modify Time        = 1m1s ago
Status             = complete
Status Description = complete
Type               = service
TriggeredBy        = job-register
Job ID             = huge
Namespace          = default
Priority           = 50
Placement Failures = true
Previous Eval      = <none>
Next Eval          = <none>
Blocked Eval       = aaf1ebbd

Related Evaluations
ID        Priority  Triggered By   Node ID  Status   Description
aaf1ebbd  50        queued-allocs  <none>   blocked  created to place remaining allocations

Plan Annotations
Task Group  Ignore  Place  Stop  InPlace  Destructive
g           0       1      0     0        0
mem         0       1      0     0        0

Failed Placements
Task Group \"g\" (failed to place 1 allocation):
  * Constraint \"${meta.rack} = r9\": 1 nodes excluded by filter
Task Group \"mem\" (failed to place 1 allocation):
  * Resources exhausted on 1 nodes
  * Dimension \"memory\" exhausted on 1 nodes

Evaluation \"aaf1ebbd\" waiting for additional capacity to place remainder",
    );
    agent.run("eval status aaf1ebbd").printed(
        "\
ID                 = aaf1ebbd
Create Time        = 1m1s ago
Modify Time        = 1m1s ago
Status             = blocked
Status Description = created to place remaining allocations
Type               = service
TriggeredBy        = queued-allocs
Job ID             = huge
Namespace          = default
Priority           = 50
Placement Failures = N/A - In Progress
Previous Eval      = 19ae39a9
Next Eval          = <none>
Blocked Eval       = <none>

Related Evaluations
ID        Priority  Triggered By  Node ID  Status    Description
19ae39a9  50        job-register  <none>   complete  <none>",
    );
    let list = "\
ID        Priority  Triggered By   Job ID  Namespace  Node ID  Status    Placement Failures
aaf1ebbd  50        queued-allocs  huge    default    <none>   blocked   N/A - In Progress
19ae39a9  50        job-register   huge    default    <none>   complete  true";
    agent.run("eval list -job huge -status blocked -per-page 2").printed(list);
    assert_eq!(agent.asked().last().unwrap(), "GET /v1/evaluations?job=huge&per_page=2&status=blocked");
    agent.run("eval status c9").failed(&format!("Prefix matched multiple evaluations\n\n{list}"));
}

#[test]
fn nothing_found() {
    let agent = Agent::start(&[("GET /v1/evaluations", vec![json(j!([]))])]);
    agent.run("eval list").printed("No evals found");
    agent.run("eval status 00000000").failed("No evaluation(s) with prefix or id \"00000000\" found");
    agent.run("eval status x").failed("Identifier must contain at least two characters.");
    Line::new("eval status abcd").env("NOMAD_ADDR", "http://127.0.0.1:1").run().failed(
        "Error querying evaluation: Get \"http://127.0.0.1:1/v1/evaluations?prefix=abcd\": dial tcp 127.0.0.1:1: connect: connection refused",
    );
}
