use serde_json::{Value, json as j};

use super::{Agent, Line, Reply, json, nanos, text};

const ID: &str = "377e8c08-580d-d519-6c20-38ac25d28ab2";

fn events(list: &[(&str, &str, &str)]) -> Value {
    list.iter()
        .map(|(time, kind, message)| j!({ "Time": nanos(time), "Type": kind, "DisplayMessage": message }))
        .collect()
}

fn state(started: &str) -> Value {
    j!({
        "State": "running", "Restarts": 0, "StartedAt": started, "FinishedAt": null, "LastRestart": null,
        "Events": events(&[
            ("2026-11-21T11:27:34.1Z", "Received", "Task received by client"),
            ("2026-11-21T11:27:34.2Z", "Task Setup", "Building Task Directory"),
            (started, "Started", "Task started by client"),
        ]),
    })
}

fn alloc() -> Value {
    let task = |cpu: i64, memory: i64| j!({ "Cpu": { "CpuShares": cpu }, "Memory": { "MemoryMB": memory, "MemoryMaxMB": 0 }, "Networks": null });
    j!({
        "ID": ID, "EvalID": "fa35e576-f94d-a526-dd90-02dc009f1a96", "Name": "web.front[0]", "NodeID": "4f2b771a-cdb5-281b-868a-8915203016a2",
        "NodeName": "alpha", "JobID": "web", "Namespace": "default", "TaskGroup": "front", "ClientStatus": "running",
        "ClientDescription": "Tasks are running", "DesiredStatus": "run", "CreateTime": nanos("2026-11-21T11:27:34.5Z"),
        "ModifyTime": nanos("2026-11-21T11:27:35.6Z"), "DeploymentID": "eeff827c-1599-a3cc-76ac-d42195643235",
        "DeploymentStatus": { "Healthy": true, "Canary": false },
        "Job": { "ID": "web", "Version": 0, "TaskGroups": [{ "Name": "front", "Tasks": [{ "Name": "srv" }, { "Name": "side" }] }] },
        "AllocatedResources": {
            "Tasks": { "srv": task(50, 32), "side": task(20, 16) },
            "TaskLifecycles": { "srv": null, "side": { "Hook": "prestart", "Sidecar": true } },
            "Shared": {
                "DiskMB": 300, "Networks": [{ "Mode": "host", "DynamicPorts": [{ "Label": "http", "Value": 31235 }] }],
                "Ports": [{ "Label": "http", "Value": 31235, "HostIP": "127.0.0.1" }],
            },
        },
        "Metrics": {
            "NodesEvaluated": 1, "AllocationTime": 349_400, "CoalescedFailures": 0,
            "ScoreMetaData": [{ "NodeID": "4f2b771a-cdb5-281b-868a-8915203016a2", "NormScore": 0.021_712, "Scores": {
                "binpack": 0.021_712, "job-anti-affinity": 0.0, "node-affinity": 0.0, "node-reschedule-penalty": 0.0,
            } }],
        },
        "TaskStates": { "srv": state("2026-11-21T11:27:35Z"), "side": state("2026-11-21T11:27:34.3Z") },
    })
}

fn stats() -> Value {
    let usage = |bytes: u64| {
        j!({ "ResourceUsage": {
        "MemoryStats": { "RSS": bytes, "Swap": 0, "Measured": ["RSS", "Swap"] },
        "CpuStats": { "TotalTicks": 0.4, "Percent": 0.0, "SystemMode": 0.0, "UserMode": 0.0, "Measured": ["System Mode", "User Mode", "Percent"] },
    } })
    };
    j!({ "Tasks": { "srv": usage(1_782_580), "side": usage(1_887_437) } })
}

fn stub(id: &str, job: &str, created: &str) -> Value {
    j!({
        "ID": id, "NodeID": "4f2b771a-1", "TaskGroup": job, "JobVersion": 2, "DesiredStatus": "run", "ClientStatus": "running",
        "CreateIndex": nanos(created), "CreateTime": nanos(created), "ModifyTime": nanos(created),
    })
}

fn routes() -> Vec<(&'static str, Vec<Reply>)> {
    vec![
        ("GET /v1/allocations", vec![json(j!([{ "ID": ID }]))]),
        ("GET /v1/allocation/377e8c08-580d-d519-6c20-38ac25d28ab2", vec![json(alloc())]),
        ("GET /v1/client/allocation/377e8c08-580d-d519-6c20-38ac25d28ab2/stats", vec![json(stats())]),
    ]
}

// Trailing blanks are part of the text, and editors like to cut them.
const RESOURCES_HEAD: &str = "CPU       Memory          Disk     Addresses\n";

#[test]
fn one_alloc() {
    let agent = Agent::start(&routes());
    let expected = format!(
        "\
ID                  = 377e8c08-580d-d519-6c20-38ac25d28ab2
Eval ID             = fa35e576
Name                = web.front[0]
Node ID             = 4f2b771a
Node Name           = alpha
Job ID              = web
Job Version         = 0
Client Status       = running
Client Description  = Tasks are running
Desired Status      = run
Desired Description = <none>
Created             = 5s ago
Modified            = 3s ago
Deployment ID       = eeff827c
Deployment Health   = healthy

Allocation Addresses (mode = \"host\"):
Label  Dynamic  Address
*http  yes      127.0.0.1:31235

Task \"side\" (prestart sidecar) is \"running\"
Task Resources:
{RESOURCES_HEAD}0/20 MHz  1.8 MiB/16 MiB  300 MiB  \n
Task Events:
Started At     = 2026-11-21T11:27:34Z
Finished At    = N/A
Total Restarts = 0
Last Restart   = N/A

Recent Events:
Time                  Type        Description
2026-11-21T11:27:34Z  Started     Task started by client
2026-11-21T11:27:34Z  Task Setup  Building Task Directory
2026-11-21T11:27:34Z  Received    Task received by client

Task \"srv\" is \"running\"
Task Resources:
{RESOURCES_HEAD}0/50 MHz  1.7 MiB/32 MiB  300 MiB  \n
Task Events:
Started At     = 2026-11-21T11:27:35Z
Finished At    = N/A
Total Restarts = 0
Last Restart   = N/A

Recent Events:
Time                  Type        Description
2026-11-21T11:27:35Z  Started     Task started by client
2026-11-21T11:27:34Z  Task Setup  Building Task Directory
2026-11-21T11:27:34Z  Received    Task received by client"
    );
    agent.run("alloc status 377e8c08").printed(&expected);
    agent.run("alloc-status 377e8c08").printed(&expected);
}

#[test]
fn less_of_an_alloc() {
    let agent = Agent::start(&routes());
    agent.run("alloc status -short 377e8c08").printed(
        "\
ID       = 377e8c08-580d-d519-6c20-38ac25d28ab2
Name     = web.front[0]
Created  = 5s ago
Modified = 3s ago

Tasks
Name  State    Last Event  Time                  Lifecycle
side  running  Started     2026-11-21T11:27:34Z  prestart sidecar
srv   running  Started     2026-11-21T11:27:35Z  main",
    );
}

#[test]
fn more_of_an_alloc() {
    let agent = Agent::start(&routes());
    let printed = agent.run("alloc status -verbose -stats 377e8c08").stdout;
    for part in [
        "\
Created             = 2026-11-21T11:27:34Z
Modified            = 2026-11-21T11:27:35Z
Deployment ID       = eeff827c-1599-a3cc-76ac-d42195643235
Deployment Health   = healthy
Evaluated Nodes     = 1
Filtered Nodes      = 0
Exhausted Nodes     = 0
Allocation Time     = 349.4µs
Failures            = 0
",
        "
Memory Stats
RSS      Swap
1.8 MiB  0 B

CPU Stats
Percent  System Mode  User Mode
0.00%    0.00%        0.00%

Task Events:
",
        "
Placement Metrics
Node                                  binpack  job-anti-affinity  node-affinity  node-reschedule-penalty  final score
4f2b771a-cdb5-281b-868a-8915203016a2  0.0217   0                  0              0                        0.0217
",
    ] {
        assert!(printed.contains(part), "missing:\n{part}\nin:\n{printed}");
    }
}

#[test]
fn beginnings_of_ids() {
    let several =
        j!([stub("b7350322-x", "g", "2026-11-21T11:24:18Z"), stub("b7cd3a6c-x", "front", "2026-11-21T11:24:19Z"),]);
    let agent = Agent::start(&[("GET /v1/allocations", vec![json(several)])]);
    let expected = "\
Prefix matched multiple allocations

ID        Node ID   Task Group  Version  Desired  Status   Created    Modified
b7cd3a6c  4f2b771a  front       2        run      running  3m20s ago  3m20s ago
b7350322  4f2b771a  g           2        run      running  3m21s ago  3m21s ago";
    agent.run("alloc status b73").printed(expected);
    assert_eq!(agent.asked(), ["GET /v1/allocations?prefix=b7"]);
    agent.run("alloc logs b7").failed(expected);

    let none = Agent::start(&[(
        "GET /v1/allocations",
        vec![
            json(j!([])),
            text(500, "alloc lookup failed: index error: Invalid UUID: encoding/hex: invalid byte: U+006E 'n'"),
        ],
    )]);
    none.run("alloc status 00").failed("No allocation(s) with prefix or id \"00\" found");
    none.run("alloc status nosuch").failed(
        "Error querying allocation: Unexpected response code: 500 (alloc lookup failed: index error: Invalid UUID: encoding/hex: invalid byte: U+006E 'n')",
    );
    none.run("alloc status x").failed("Identifier must contain at least two characters.");
    none.run("alloc status").failed(
        "\
This command takes one of the following argument conditions:
 * A single <allocation>
 * No arguments, with output format specified
For additional help try 'drover alloc status -help'",
    );
    Line::new("alloc logs ab12").env("NOMAD_ADDR", "http://127.0.0.1:1").run().failed(
        "Error querying allocation: Get \"http://127.0.0.1:1/v1/allocations?prefix=ab12\": dial tcp 127.0.0.1:1: connect: connection refused",
    );
}

#[test]
fn a_node_that_is_gone_is_said() {
    let mut routes = routes();
    routes[2].1 = vec![text(404, "No path to node")];
    let ran = Agent::start(&routes).run("alloc status 377e8c08");
    assert_eq!(ran.status, 0);
    assert_eq!(ran.stderr, "Couldn't retrieve stats: Unexpected response code: 404 (No path to node)\n");
    assert!(ran.stdout.contains("CPU     Memory  Disk     Addresses\n50 MHz  32 MiB  300 MiB  \n"), "{}", ran.stdout);
}

/// The recorded answer of another alloc: nothing in it may be in the way.
#[test]
fn a_whole_recorded_answer_is_read() {
    let recorded: Value = serde_json::from_str(include_str!("../../tests/fixtures/alloc.json")).unwrap();
    let usage: Value = serde_json::from_str(include_str!("../../tests/fixtures/alloc-stats.json")).unwrap();
    let agent = Agent::start(&[
        ("GET /v1/allocations", vec![json(j!([{ "ID": "7ad7f665-9e84-fddf-f025-5ca5559e18a0" }]))]),
        ("GET /v1/allocation/7ad7f665-9e84-fddf-f025-5ca5559e18a0", vec![json(recorded)]),
        ("GET /v1/client/allocation/7ad7f665-9e84-fddf-f025-5ca5559e18a0/stats", vec![json(usage)]),
    ]);
    let ran = Line::new("alloc status 7ad7f665").agent(&agent).now("2026-11-21T11:32:30Z").run();
    expect_test::expect_file!["../../tests/fixtures/alloc-status.txt"].assert_eq(&(ran.stdout + &ran.stderr));
}
