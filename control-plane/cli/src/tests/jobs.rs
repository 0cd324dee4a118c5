use serde_json::{Value, json as j};

use super::{Agent, Line, Reply, json, nanos, text};

fn web() -> Value {
    j!({
        "ID": "web", "Name": "web", "Namespace": "default", "Region": "global", "Type": "service", "Priority": 50,
        "Datacenters": ["*"], "NodePool": "default", "Status": "running", "Stop": false, "Periodic": null,
        "ParameterizedJob": null, "SubmitTime": nanos("2026-11-21T11:27:34Z"), "Version": 0, "CreateIndex": 12,
        "TaskGroups": [{ "Name": "front", "Count": 2, "Tasks": [{ "Name": "srv" }, { "Name": "side" }] }],
    })
}

fn stub(id: &str, kind: &str, status: &str, submitted: &str) -> Value {
    j!({
        "ID": id, "Namespace": "default", "Type": kind, "Priority": 50, "Status": status, "Stop": false,
        "Periodic": false, "ParameterizedJob": false, "SubmitTime": nanos(submitted), "ParentID": "",
    })
}

fn deployment() -> Value {
    j!({
        "ID": "eeff827c-1599-a3cc-76ac-d42195643235", "JobID": "web", "JobVersion": 0, "Status": "successful",
        "StatusDescription": "Deployment completed successfully", "CreateIndex": 13,
        "TaskGroups": { "front": {
            "DesiredTotal": 2, "PlacedAllocs": 2, "HealthyAllocs": 2, "UnhealthyAllocs": 0, "DesiredCanaries": 0,
            "ProgressDeadline": 30_000_000_000_i64, "RequireProgressBy": "2026-11-21T11:28:06.9Z", "AutoRevert": false,
        } },
    })
}

fn alloc(id: &str, index: u64, modified: &str) -> Value {
    j!({
        "ID": id, "EvalID": "fa35e576-f94d-a526-dd90-02dc009f1a96", "NodeID": "4f2b771a-cdb5-281b-868a-8915203016a2",
        "NodeName": "alpha", "TaskGroup": "front", "JobVersion": 0, "DesiredStatus": "run", "ClientStatus": "running",
        "CreateIndex": index, "CreateTime": nanos("2026-11-21T11:27:34.5Z"), "ModifyTime": nanos(modified),
    })
}

fn routes_of_web() -> Vec<(&'static str, Vec<Reply>)> {
    vec![
        (
            "GET /v1/jobs",
            vec![json(j!([
                stub("web", "service", "running", "2026-11-21T11:27:34Z"),
                stub("web2", "batch", "dead", "2026-11-21T11:27:34Z")
            ]))],
        ),
        ("GET /v1/job/web", vec![json(web())]),
        (
            "GET /v1/job/web/summary",
            vec![json(j!({ "JobID": "web", "Summary": { "front": { "Running": 2 } }, "Children": null }))],
        ),
        (
            "GET /v1/job/web/allocations",
            vec![json(j!([
                alloc("505c5555-2ebc-dd71-9d69-9601545c518d", 14, "2026-11-21T11:27:36Z"),
                alloc("377e8c08-580d-d519-6c20-38ac25d28ab2", 15, "2026-11-21T11:27:36Z"),
            ]))],
        ),
        (
            "GET /v1/job/web/evaluations",
            vec![json(j!([
                { "ID": "fa35e576-f94d-a526-dd90-02dc009f1a96", "Priority": 50, "TriggeredBy": "job-register", "Status": "complete", "CreateIndex": 12 },
                { "ID": "25e25220-d8f6-1dd6-ae60-2a772aba9464", "Priority": 50, "TriggeredBy": "deployment-watcher", "Status": "complete", "CreateIndex": 32 },
            ]))],
        ),
        ("GET /v1/job/web/deployment", vec![json(deployment())]),
    ]
}

const WEB: &str = "\
ID            = web
Name          = web
Submit Date   = 2026-11-21T11:27:34Z
Type          = service
Priority      = 50
Datacenters   = *
Namespace     = default
Node Pool     = default
Status        = running
Periodic      = false
Parameterized = false";

#[test]
fn one_job() {
    let agent = Agent::start(&routes_of_web());
    let expected = format!(
        "{WEB}

Summary
Task Group  Queued  Starting  Running  Failed  Complete  Lost  Unknown
front       0       0         2        0       0         0     0

Latest Deployment
ID          = eeff827c
Status      = successful
Description = Deployment completed successfully

Deployed
Task Group  Desired  Placed  Healthy  Unhealthy  Progress Deadline
front       2        2       2        0          2026-11-21T11:28:06Z

Allocations
ID        Node ID   Task Group  Version  Desired  Status   Created  Modified
377e8c08  4f2b771a  front       0        run      running  5s ago   3s ago
505c5555  4f2b771a  front       0        run      running  5s ago   3s ago"
    );
    agent.run("job status web").printed(&expected);
    agent.run("status web").printed(&expected);
    agent.run("job status -short web").printed(WEB);
    assert_eq!(agent.asked()[0], "GET /v1/jobs?prefix=web");
}

#[test]
fn one_job_with_all_there_is() {
    let agent = Agent::start(&routes_of_web());
    agent.run("job status -verbose web").printed(&format!(
        "{WEB}

Summary
Task Group  Queued  Starting  Running  Failed  Complete  Lost  Unknown
front       0       0         2        0       0         0     0

Evaluations
ID                                    Priority  Triggered By        Status    Placement Failures
25e25220-d8f6-1dd6-ae60-2a772aba9464  50        deployment-watcher  complete  false
fa35e576-f94d-a526-dd90-02dc009f1a96  50        job-register        complete  false

Latest Deployment
ID          = eeff827c-1599-a3cc-76ac-d42195643235
Status      = successful
Description = Deployment completed successfully

Deployed
Task Group  Desired  Placed  Healthy  Unhealthy  Progress Deadline
front       2        2       2        0          2026-11-21T11:28:06Z

Allocations
ID                                    Eval ID                               Node ID                               Node Name  Task Group  Version  Desired  Status   Created               Modified
377e8c08-580d-d519-6c20-38ac25d28ab2  fa35e576-f94d-a526-dd90-02dc009f1a96  4f2b771a-cdb5-281b-868a-8915203016a2  alpha      front       0        run      running  2026-11-21T11:27:34Z  2026-11-21T11:27:36Z
505c5555-2ebc-dd71-9d69-9601545c518d  fa35e576-f94d-a526-dd90-02dc009f1a96  4f2b771a-cdb5-281b-868a-8915203016a2  alpha      front       0        run      running  2026-11-21T11:27:34Z  2026-11-21T11:27:36Z"
    ));
}

#[test]
fn a_job_that_waits_for_room_says_why() {
    let metric = |key: &str, value: Value| {
        let mut metric = j!({ "NodesEvaluated": 1, "CoalescedFailures": 0 });
        metric[key] = value;
        metric
    };
    let mut huge = web();
    huge["ID"] = "huge".into();
    huge["Name"] = "huge".into();
    let mut memory = metric("DimensionExhausted", j!({ "memory": 1 }));
    memory["NodesExhausted"] = 1.into();
    let group = j!({ "DesiredTotal": 1, "ProgressDeadline": 1, "RequireProgressBy": null });
    let agent = Agent::start(&[
        ("GET /v1/jobs", vec![json(j!([stub("huge", "service", "running", "2026-11-21T11:27:34Z")]))]),
        ("GET /v1/job/huge", vec![json(huge)]),
        ("GET /v1/job/huge/summary", vec![json(j!({ "Summary": { "g": { "Queued": 1 }, "mem": { "Queued": 1 } } }))]),
        ("GET /v1/job/huge/allocations", vec![json(j!([]))]),
        (
            "GET /v1/job/huge/evaluations",
            vec![json(j!([
                { "ID": "aaf1ebbd", "Status": "blocked", "CreateIndex": 41 },
                { "ID": "19ae39a9", "Status": "complete", "CreateIndex": 40, "FailedTGAllocs": {
                    "g": metric("ConstraintFiltered", j!({ "${meta.rack} = r9": 1 })), "mem": memory,
                } },
            ]))],
        ),
        (
            "GET /v1/job/huge/deployment",
            vec![json(j!({
                "ID": "977b3aa6-x", "Status": "running", "StatusDescription": "Deployment is running",
                "TaskGroups": { "g": group, "mem": group },
            }))],
        ),
    ]);
    let fields = WEB.replace("= web", "= huge");
    agent.run("job status hu").printed(&format!(
        "{fields}

Summary
Task Group  Queued  Starting  Running  Failed  Complete  Lost  Unknown
g           1       0         0        0       0         0     0
mem         1       0         0        0       0         0     0

Placement Failure
Task Group \"g\":
  * Constraint \"${{meta.rack}} = r9\": 1 nodes excluded by filter

Task Group \"mem\":
  * Resources exhausted on 1 nodes
  * Dimension \"memory\" exhausted on 1 nodes

Latest Deployment
ID          = 977b3aa6
Status      = running
Description = Deployment is running

Deployed
Task Group  Desired  Placed  Healthy  Unhealthy  Progress Deadline
g           1        0       0        0          N/A
mem         1        0       0        0          N/A

Allocations
No allocations placed"
    ));
}

#[test]
fn lists_of_jobs() {
    let mut nightly = stub("nightly", "batch", "running", "2026-11-21T11:31:28Z");
    nightly["Periodic"] = true.into();
    let mut stopped = stub("crunch", "batch", "dead", "2026-11-21T11:31:12Z");
    stopped["Stop"] = true.into();
    let jobs = j!([stub("web", "service", "running", "2026-11-21T11:28:04Z"), nightly, stopped]);
    let agent = Agent::start(&[("GET /v1/jobs", vec![json(jobs)])]);
    agent.run("job status").printed(
        "\
ID       Type            Priority  Status          Submit Date
crunch   batch           50        dead (stopped)  2026-11-21T11:31:12Z
nightly  batch/periodic  50        running         2026-11-21T11:31:28Z
web      service         50        running         2026-11-21T11:28:04Z",
    );
    agent.run("status -namespace '*'").printed(
        "\
ID       Namespace  Type            Priority  Status          Submit Date
crunch   default    batch           50        dead (stopped)  2026-11-21T11:31:12Z
nightly  default    batch/periodic  50        running         2026-11-21T11:31:28Z
web      default    service         50        running         2026-11-21T11:28:04Z",
    );
    assert_eq!(agent.asked(), ["GET /v1/jobs", "GET /v1/jobs?namespace=%2A"]);
    agent.run("job status n").failed(
        "\
Prefix \"n\" matched multiple jobs

ID       Type            Priority  Status          Submit Date
crunch   batch           50        dead (stopped)  2026-11-21T11:31:12Z
nightly  batch/periodic  50        running         2026-11-21T11:31:28Z
web      service         50        running         2026-11-21T11:28:04Z",
    );
}

#[test]
fn no_jobs_and_no_right_to_see_them() {
    let agent = Agent::start(&[(
        "GET /v1/jobs",
        vec![json(j!([])), json(j!([])), json(j!([])), text(403, "Permission denied")],
    )]);
    agent.run("job status").printed("No running jobs");
    agent.run("status").printed("No running jobs");
    agent.run("job status nosuch").failed("No job(s) with prefix or ID \"nosuch\" found");
    agent.run("job status").failed("Error querying jobs: Unexpected response code: 403 (Permission denied)");
}

#[test]
fn a_launching_job_shows_what_it_launched() {
    let mut nightly = web();
    nightly["ID"] = "nightly".into();
    nightly["Name"] = "nightly".into();
    nightly["Type"] = "batch".into();
    nightly["Periodic"] = j!({ "Enabled": true });
    let mut child = stub("nightly/periodic-1795260689", "batch", "dead", "2026-11-21T11:27:34Z");
    child["ParentID"] = "nightly".into();
    let parent = stub("nightly", "batch", "running", "2026-11-21T11:27:34Z");
    let agent = Agent::start(&[
        ("GET /v1/jobs", vec![json(j!([parent, child]))]),
        ("GET /v1/job/nightly", vec![json(nightly)]),
        (
            "GET /v1/job/nightly/summary",
            vec![json(j!({ "Summary": {}, "Children": { "Pending": 0, "Running": 0, "Dead": 1 } }))],
        ),
    ]);
    let ran = agent.run("job status nightly");
    assert!(
        ran.stdout.ends_with(
            "\
Periodic      = true
Parameterized = false

Children Job Summary
Pending  Running  Dead
0        0        1

Previously Launched Jobs
ID                           Status
nightly/periodic-1795260689  dead
"
        ),
        "{}",
        ran.stdout
    );
}

#[test]
fn data_instead_of_tables() {
    let agent = Agent::start(&routes_of_web());
    let ran = agent.run("job status -json web");
    let data: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(data[0]["Allocations"][1]["NodeName"], "alpha");
    assert_eq!(data[0]["LatestDeployment"]["JobID"], "web");
    agent.run("job status -t '{{range .}}{{len .Allocations}} allocs{{end}}' web").printed("2 allocs");
    agent.run("job status -json -t x web").failed("Both json and template formatting are not allowed");
    agent.run("job inspect -t '{{.ID}} {{.Type}}' web").printed("web service");
    let ran = agent.run("inspect web");
    assert!(
        ran.stdout.starts_with(
            "{\n    \"Job\": {\n        \"CreateIndex\": 12,\n        \"Datacenters\": [\n            \"*\"\n"
        ),
        "{}",
        ran.stdout
    );
    agent.run("job inspect -with-vars web").failed("can only use -with-vars with -hcl");
}

#[test]
fn allocs_of_a_job() {
    let agent = Agent::start(&routes_of_web());
    agent.run("job allocs -all web").printed(
        "\
ID        Node ID   Task Group  Version  Desired  Status   Created  Modified
377e8c08  4f2b771a  front       0        run      running  5s ago   3s ago
505c5555  4f2b771a  front       0        run      running  5s ago   3s ago",
    );
    assert_eq!(agent.asked()[1], "GET /v1/job/web/allocations?all=true&namespace=default");
}

#[test]
fn stopping() {
    let eval = |status: &str| j!({ "ID": "40f14d29-x", "JobID": "crunch", "TriggeredBy": "job-deregister", "Status": status, "ModifyIndex": 20 });
    let routes: Vec<(&str, Vec<Reply>)> = vec![
        ("GET /v1/jobs", vec![json(j!([stub("crunch", "batch", "dead", "2026-11-21T11:31:12Z")]))]),
        ("DELETE /v1/job/crunch", vec![json(j!({ "EvalID": "40f14d29-x", "JobModifyIndex": 20 }))]),
        ("GET /v1/evaluation/40f14d29-x", vec![super::at(20, eval("pending")), super::at(21, eval("complete"))]),
        ("GET /v1/evaluation/40f14d29-x/allocations", vec![json(j!([]))]),
    ];
    let agent = Agent::start(&routes);
    agent.run("job stop crunch").printed(
        "\
==> 2026-11-21T11:27:39Z: Monitoring evaluation \"40f14d29\"
    2026-11-21T11:27:39Z: Evaluation triggered by job \"crunch\"
    2026-11-21T11:27:39Z: Evaluation status changed: \"pending\" -> \"complete\"
==> 2026-11-21T11:27:39Z: Evaluation \"40f14d29\" finished with status \"complete\"",
    );
    // The second look waits for a change instead of asking again and again.
    assert_eq!(agent.asked()[4], "GET /v1/evaluation/40f14d29-x?index=20&namespace=default&wait=5m0s");
    agent.run("stop -purge -detach crunch").printed("40f14d29-x");
    assert_eq!(agent.asked().last().unwrap(), "DELETE /v1/job/crunch?namespace=default&purge=true");
    agent.run("job stop -detach cr").ended(
        1,
        "Are you sure you want to stop job \"crunch\"? [y/N] ",
        "Failed to parse answer: EOF",
    );
    Line::new("job stop -detach cr")
        .agent(&agent)
        .stdin("n\n")
        .run()
        .printed("Are you sure you want to stop job \"crunch\"? [y/N] Cancelling job stop");
    agent.run("job stop -detach -yes cr").printed("40f14d29-x");
}

#[test]
fn history() {
    let version = |number: u64, submitted: &str| j!({ "ID": "web", "Version": number, "Stable": true, "SubmitTime": nanos(submitted) });
    let diff = j!({ "Type": "Edited", "ID": "web", "TaskGroups": [{ "Type": "Edited", "Name": "front", "Tasks": [
        { "Type": "None", "Name": "side" },
        { "Type": "Edited", "Name": "srv", "Objects": [{ "Type": "Edited", "Name": "Config", "Fields": [
            { "Type": "None", "Name": "args[0]", "Old": "-c", "New": "-c" },
            { "Type": "Edited", "Name": "args[1]", "Old": "echo v1", "New": "echo v2" },
            { "Type": "None", "Name": "command", "Old": "/bin/sh", "New": "/bin/sh" },
        ] }] },
    ] }] });
    let versions = [version(1, "2026-11-21T11:27:50Z"), version(0, "2026-11-21T11:27:34Z")];
    let agent = Agent::start(&[
        ("GET /v1/jobs", vec![json(j!([stub("web", "service", "running", "2026-11-21T11:27:34Z")]))]),
        ("GET /v1/job/web/versions", vec![json(j!({ "Versions": versions, "Diffs": [diff] }))]),
    ]);
    agent.run("job history web").printed(
        "\
Version     = 1
Stable      = true
Submit Date = 2026-11-21T11:27:50Z

Version     = 0
Stable      = true
Submit Date = 2026-11-21T11:27:34Z",
    );
    agent.run("job history -p web").printed(
        "\
Version     = 1
Stable      = true
Submit Date = 2026-11-21T11:27:50Z
Diff        = 
+/- Job: \"web\"
+/- Task Group: \"front\"
      Task: \"side\"
  +/- Task: \"srv\"
    +/- Config {
          args[0]: \"-c\"
      +/- args[1]: \"echo v1\" => \"echo v2\"
          command: \"/bin/sh\"
        }

Version     = 0
Stable      = true
Submit Date = 2026-11-21T11:27:34Z",
    );
    agent.run("job history -version 9 web").failed("Error printing job history for non-existing job or job version");
    agent.run("job history -diff-version 0 web").failed("-diff-tag and -diff-version can only be used with -p");
    let full = agent.run("job history -full -version 0 web").stdout;
    assert!(full.contains("\nFull        = JSON Job:\n{\n    \"ID\": \"web\""), "{full}");
}

#[test]
fn on_a_terminal() {
    let agent = Agent::start(&routes_of_web());
    let ran = Line::new("job status web").agent(&agent).on_a_terminal().run();
    let expected = format!(
        "\u{1b}[0m{WEB}\u{1b}[0m
\u{1b}[0m
\u{1b}[1mSummary\u{1b}[0m\u{1b}[0m\u{1b}[0m
\u{1b}[0mTask Group  Queued  Starting  Running  Failed  Complete  Lost  Unknown
front       0       0         2        0       0         0     0\u{1b}[0m
"
    );
    assert!(ran.stdout.starts_with(&expected), "{}", ran.stdout);
    let nobody = Line::new("job status x").agent(&agent).env("NO_COLOR", "").on_a_terminal().run();
    assert!(nobody.stderr.starts_with("\u{1b}[91mPrefix"), "{}", nobody.stderr);
}
