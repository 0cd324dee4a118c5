use serde_json::{Value, json as j};

use super::{Agent, Line, Ran, Reply, at, json, text};

const BATCH: &str = "\
job \"crunch\" {
  type = \"batch\"
  group \"g\" {
    task \"t\" {
      driver = \"raw_exec\"
      config { command = \"/bin/true\" }
    }
  }
}
";

fn eval(status: &str, more: Value) -> Value {
    let mut eval = j!({
        "ID": "b64c98b4-1111-2222-3333-444444444444", "JobID": "crunch", "TriggeredBy": "job-register", "Status": status,
        "CreateIndex": 20, "ModifyIndex": 20,
    });
    for (key, value) in more.as_object().unwrap() {
        eval[key] = value.clone();
    }
    eval
}

fn alloc(status: &str, created: u64) -> Value {
    j!({
        "ID": "0aa00d7b-1", "NodeID": "4f2b771a-1", "TaskGroup": "g", "DesiredStatus": "run", "ClientStatus": status,
        "ClientDescription": "All tasks have completed", "CreateIndex": created,
    })
}

const EVAL: &str = "GET /v1/evaluation/b64c98b4-1111-2222-3333-444444444444";
const EVAL_ALLOCS: &str = "GET /v1/evaluation/b64c98b4-1111-2222-3333-444444444444/allocations";

fn registered(warnings: &str) -> (&'static str, Vec<Reply>) {
    let body = j!({ "EvalID": "b64c98b4-1111-2222-3333-444444444444", "JobModifyIndex": 20, "Warnings": warnings });
    ("PUT /v1/jobs", vec![json(body)])
}

fn run(agent: &Agent, line: &str) -> Ran {
    Line::new(line).agent(agent).stdin(BATCH).run()
}

#[test]
fn a_run_is_followed_to_its_end() {
    let agent = Agent::start(&[
        registered(""),
        (EVAL, vec![at(20, eval("pending", j!({}))), at(22, eval("complete", j!({})))]),
        (EVAL_ALLOCS, vec![json(j!([])), json(j!([alloc("pending", 21)]))]),
    ]);
    run(&agent, "job run -").printed(
        "\
==> 2026-11-21T11:27:39Z: Monitoring evaluation \"b64c98b4\"
    2026-11-21T11:27:39Z: Evaluation triggered by job \"crunch\"
    2026-11-21T11:27:39Z: Allocation \"0aa00d7b\" created: node \"4f2b771a\", group \"g\"
    2026-11-21T11:27:39Z: Evaluation status changed: \"pending\" -> \"complete\"
==> 2026-11-21T11:27:39Z: Evaluation \"b64c98b4\" finished with status \"complete\"",
    );
    let body: Value = serde_json::from_str(agent.asked()[0].trim_start_matches("PUT /v1/jobs ")).unwrap();
    assert_eq!(body["Job"]["ID"], "crunch");
    assert_eq!(body["Submission"]["Source"], BATCH);
    assert_eq!(body["Submission"]["Format"], "hcl2");
    assert_eq!(body.get("EnforceIndex"), None);
}

#[test]
fn allocs_that_change_meanwhile_are_told() {
    let agent = Agent::start(&[
        registered(""),
        (
            EVAL,
            vec![at(20, eval("pending", j!({}))), at(22, eval("pending", j!({}))), at(23, eval("complete", j!({})))],
        ),
        (EVAL_ALLOCS, vec![json(j!([])), json(j!([alloc("pending", 5)])), json(j!([alloc("complete", 5)]))]),
    ]);
    let printed = run(&agent, "run -").stdout;
    let told: Vec<&str> = printed.lines().filter(|line| line.contains("Allocation")).collect();
    assert_eq!(
        told,
        [
            "    2026-11-21T11:27:39Z: Allocation \"0aa00d7b\" modified: node \"4f2b771a\", group \"g\"",
            "    2026-11-21T11:27:39Z: Allocation \"0aa00d7b\" status changed: \"pending\" -> \"complete\" (All tasks have completed)",
        ]
    );
}

#[test]
fn what_cannot_be_placed_ends_with_2() {
    let failed = j!({
        "FailedTGAllocs": { "g": { "NodesEvaluated": 1, "CoalescedFailures": 1, "ConstraintFiltered": { "${attr.kernel.name} = plan9": 1 } } },
        "BlockedEval": "5f26e75f-1",
    });
    let agent = Agent::start(&[
        registered(""),
        (EVAL, vec![at(22, eval("complete", failed))]),
        (EVAL_ALLOCS, vec![json(j!([]))]),
    ]);
    run(&agent, "job run -").ended(
        2,
        "\
==> 2026-11-21T11:27:39Z: Monitoring evaluation \"b64c98b4\"
    2026-11-21T11:27:39Z: Evaluation triggered by job \"crunch\"
    2026-11-21T11:27:39Z: Evaluation status changed: \"pending\" -> \"complete\"
==> 2026-11-21T11:27:39Z: Evaluation \"b64c98b4\" finished with status \"complete\" but failed to place all allocations:
    2026-11-21T11:27:39Z: Task Group \"g\" (failed to place 2 allocations):
      * Constraint \"${attr.kernel.name} = plan9\": 1 nodes excluded by filter
    2026-11-21T11:27:39Z: Evaluation \"5f26e75f\" waiting for additional capacity to place remainder",
        "",
    );
}

fn deployment(status: &str, description: &str, healthy: u64) -> Value {
    j!({
        "ID": "205e42e0-1", "JobID": "crunch", "JobVersion": 1, "Status": status, "StatusDescription": description,
        "TaskGroups": { "front": {
            "DesiredTotal": 2, "DesiredCanaries": 1, "Promoted": true, "PlacedAllocs": 2, "HealthyAllocs": healthy,
            "ProgressDeadline": 1, "RequireProgressBy": "2026-11-21T11:28:26Z",
        } },
    })
}

fn routes_of_deployment(end: &str) -> Vec<(&'static str, Vec<Reply>)> {
    vec![
        registered(""),
        (EVAL, vec![at(22, eval("complete", j!({ "DeploymentID": "205e42e0-1" })))]),
        (EVAL_ALLOCS, vec![json(j!([alloc("pending", 21)]))]),
        (
            "GET /v1/deployment/205e42e0-1",
            vec![
                at(22, deployment("running", "Deployment is running", 1)),
                // Woken for nothing: the same again is not shown again.
                at(22, deployment("running", "Deployment is running", 1)),
                at(30, deployment(end, "Deployment is over", 2)),
            ],
        ),
    ]
}

const FOLLOWED: &str = "\
==> 2026-11-21T11:27:39Z: Monitoring evaluation \"b64c98b4\"
    2026-11-21T11:27:39Z: Evaluation triggered by job \"crunch\"
    2026-11-21T11:27:39Z: Evaluation within deployment: \"205e42e0\"
    2026-11-21T11:27:39Z: Allocation \"0aa00d7b\" created: node \"4f2b771a\", group \"g\"
    2026-11-21T11:27:39Z: Evaluation status changed: \"pending\" -> \"complete\"
==> 2026-11-21T11:27:39Z: Evaluation \"b64c98b4\" finished with status \"complete\"
==> 2026-11-21T11:27:39Z: Monitoring deployment \"205e42e0\"
    
2026-11-21T11:27:39Z
ID          = 205e42e0
Job ID      = crunch
Job Version = 1
Status      = running
Description = Deployment is running

Deployed
Task Group  Promoted  Desired  Canaries  Placed  Healthy  Unhealthy  Progress Deadline
front       true      2        1         2       1        0          2026-11-21T11:28:26Z
    
2026-11-21T11:27:39Z
ID          = 205e42e0
Job ID      = crunch
Job Version = 1
Status      = successful
Description = Deployment is over

Deployed
Task Group  Promoted  Desired  Canaries  Placed  Healthy  Unhealthy  Progress Deadline
front       true      2        1         2       2        0          2026-11-21T11:28:26Z";

#[test]
fn a_deployment_is_followed_too() {
    let agent = Agent::start(&routes_of_deployment("successful"));
    run(&agent, "job run -").printed(FOLLOWED);
    let agent = Agent::start(&routes_of_deployment("failed"));
    run(&agent, "job run -").ended(1, &FOLLOWED.replace("= successful", "= failed"), "");
}

#[test]
fn a_detached_run_says_where_to_look() {
    let agent = Agent::start(&[registered("1 warning:\n\n* group \"front\" defines services")]);
    run(&agent, "job run -detach -check-index 7 -eval-priority 60 -").printed(
        "\
Job Warnings:
1 warning:

* group \"front\" defines services

Job registration successful
Evaluation ID: b64c98b4-1111-2222-3333-444444444444",
    );
    let asked = &agent.asked()[0];
    assert!(asked.contains("\"EnforceIndex\":true") && asked.contains("\"JobModifyIndex\":7"), "{asked}");
    assert!(asked.contains("\"EvalPriority\":60"), "{asked}");
}

#[test]
fn refusals() {
    let agent = Agent::start(&[(
        "PUT /v1/jobs",
        vec![
            text(500, "Enforcing job modify index 3: job does not exist"),
            text(500, "1 error occurred:\n\t* job \"crunch\" is in nonexistent namespace \"nosuch\"\n\n"),
        ],
    )]);
    run(&agent, "job run -check-index 3 -").failed("Enforcing job modify index 3: job does not exist\nJob not updated");
    run(&agent, "job run -namespace nosuch -").failed(
        "Error submitting job: Unexpected response code: 500 (1 error occurred:\n\t* job \"crunch\" is in nonexistent namespace \"nosuch\")",
    );
    assert!(agent.asked()[1].starts_with("PUT /v1/jobs?namespace=nosuch "), "{:?}", agent.asked());
    run(&agent, "job run x -detach")
        .failed("This command takes one argument: <path>\nFor additional help try 'drover job run -help'");
    Line::new("job run -address http://127.0.0.1:1 -").stdin(BATCH).run().failed(
        "Error submitting job: Put \"http://127.0.0.1:1/v1/jobs\": dial tcp 127.0.0.1:1: connect: connection refused",
    );
}

#[test]
fn a_wrong_file_is_shown_where_it_is_wrong() {
    let bad = BATCH.replace("driver =", "drivr =");
    Line::new("job validate -").stdin(&bad).run().failed(
        "\
Error getting job struct: Error parsing job file from -:
-:5,7-12: Unsupported argument; An argument named \"drivr\" is not expected here. Did you mean \"driver\"?

-:5:7: Unsupported argument: An argument named \"drivr\" is not expected here. Did you mean \"driver\"?
        drivr = \"raw_exec\"
        ^^^^^",
    );
    let cwd = std::env::current_dir().unwrap();
    Line::new("job validate nofile.hcl").run().failed(&format!(
        "Error getting job struct: Error getting jobfile from \"nofile.hcl\": source path error: stat {}/nofile.hcl: no such file or directory",
        cwd.display()
    ));
    assert_eq!(Line::new("job plan nofile.hcl").run().status, 255);
    Line::new("job validate -var-file nofile.hcl -").stdin(BATCH).run().failed(&format!(
        "Error getting job struct: Error parsing job file from -:\nunable to parse var file: <nil>: Failed to read file; failed to read \"nofile.hcl\": stat {}/nofile.hcl: no such file or directory",
        cwd.display()
    ));
    let directory = tempfile::tempdir().unwrap();
    let latin = directory.path().join("latin.hcl");
    std::fs::write(&latin, b"job \"x\" {\n  group \"caf\xe9\" {\n  }\n}\n").unwrap();
    let told = Line::new(&format!("job validate {}", latin.display())).run().stderr;
    let place = format!("{}:2,13-14: Invalid character encoding; All input files must be UTF-8", latin.display());
    assert!(told.contains(&place), "{told}");
}

#[test]
fn variables_come_from_flags_files_and_environment() {
    let file = "variable \"n\" { type = number }\njob \"v\" {\n  group \"g\" {\n    count = var.n\n    task \"t\" { driver = \"raw_exec\" }\n  }\n}\n";
    let count = |line: Line| {
        let ran = line.stdin(file).run();
        let job: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stderr));
        job["Job"]["TaskGroups"][0]["Count"].clone()
    };
    assert_eq!(count(Line::new("job run -output -var n=3 -")), 3);
    assert_eq!(count(Line::new("job run -output -").env("NOMAD_VAR_n", "2")), 2);
    assert_eq!(count(Line::new("job run -output -").env("NOMAD_VAR_n", "2").env("DROVER_VAR_n", "5")), 5);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v.hcl");
    std::fs::write(&path, "n = 7\n").unwrap();
    assert_eq!(count(Line::new(&format!("job run -output -var-file {} -", path.display()))), 7);
    let missing = Line::new("job run -output -").stdin(file).run();
    assert!(missing.stderr.contains("<nil>: Unset variable \"n\";"), "{}", missing.stderr);
}

#[test]
fn validation() {
    let checked =
        |error: &str, warnings: &str| json(j!({ "DriverConfigValidated": true, "Error": error, "Warnings": warnings }));
    let agent = Agent::start(&[(
        "PUT /v1/validate/job",
        vec![
            checked("", "1 warning:\n\n* careful"),
            checked("1 error occurred:\n\t* job priority must be between [1, 100]\n\n", ""),
        ],
    )]);
    run(&agent, "job validate -").printed("Job Warnings:\n1 warning:\n\n* careful\n\nJob validation successful");
    run(&agent, "validate -")
        .failed("Job validation errors:\n1 error occurred:\n\t* job priority must be between [1, 100]");
    let unreachable = Line::new("job validate -").env("DROVER_ADDR", "http://127.0.0.1:1").stdin(BATCH).run();
    unreachable.printed(
        "Driver configuration not validated since connection to drover agent couldn't be established.\n\nJob validation successful",
    );
    Line::new("job validate -").env("NOMAD_ADDR", "http://[bad").stdin(BATCH).run().ended(
        255,
        "",
        "Error initializing client: invalid address 'http://[bad': parse \"http://[bad\": missing ']' in host",
    );
}

#[test]
fn an_example_is_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("example.nomad.hcl");
    let path = path.to_str().unwrap();
    Line::new(&format!("job init -short {path}")).run().printed(&format!("Example job file written to {path}"));
    Line::new(&format!("init {path}")).run().failed(&format!("Job '{path}' already exists"));
    let parsed = Line::new(&format!("job run -output {path}")).run();
    assert_eq!(serde_json::from_str::<Value>(&parsed.stdout).unwrap()["Job"]["ID"], "example");
}

#[test]
fn jobs_that_launch_others_are_not_followed() {
    let periodic = BATCH.replace("  type", "  periodic { crons = [\"@daily\"] }\n  type");
    let agent = Agent::start(&[("PUT /v1/jobs", vec![json(j!({ "EvalID": "", "JobModifyIndex": 20 }))])]);
    Line::new("job run -").agent(&agent).stdin(&periodic).run().printed(
        "Job registration successful\nApproximate next launch time: 2026-11-22T00:00:00Z (12h32m21s from now)",
    );
    let parameterized = BATCH.replace("  type", "  parameterized {}\n  type");
    Line::new("job run -").agent(&agent).stdin(&parameterized).run().printed("Job registration successful");
}

#[test]
fn other_examples() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let agent = Agent::start(&[
        ("GET /v1/vars", vec![json(j!([{ "Path": "nomad/job-templates/ours", "Namespace": "default" }]))]),
        ("GET /v1/var/nomad/job-templates/ours", vec![json(j!({ "Items": { "template": "job \"ours\" {}\n" } }))]),
    ]);
    agent
        .run(&format!("job init -template ours {}", path("ours")))
        .printed(&format!("Example job file written to {}", path("ours")));
    assert_eq!(std::fs::read_to_string(path("ours")).unwrap(), "job \"ours\" {}\n");
    agent
        .run(&format!("job init -template nope {}", path("nope")))
        .failed("There is no job template \"nope\". -list-templates shows which there are.");
    let list = agent.run("job init -list-templates").stdout;
    assert!(list.contains("\n  raw_exec        A service that is not\n") && list.ends_with("\n  ours\n"), "{list}");
    for (flags, id) in [("-template batch", "example"), ("-short -connect", "countdash")] {
        assert_eq!(Line::new(&format!("init {flags} {}", path(id))).run().status, 0);
        let parsed = Line::new(&format!("job run -output {}", path(id))).run().stdout;
        assert_eq!(serde_json::from_str::<Value>(&parsed).unwrap()["Job"]["ID"], id);
    }
    assert!(!std::fs::read_to_string(path("countdash")).unwrap().contains('#'));
}

#[test]
fn a_job_file_on_the_web() {
    let agent = Agent::start(&[registered(""), ("GET /crunch.hcl", vec![text(200, BATCH)])]);
    let url = format!("http://{}/crunch.hcl", agent.host_port());
    let printed = agent.run(&format!("job run -detach {url}")).stdout;
    assert!(printed.starts_with("Job registration successful"), "{printed}");
    agent
        .run(&format!("job run {url}x"))
        .failed(&format!("Error getting job struct: Error getting jobfile from \"{url}x\": bad response code: 404"));
}

#[test]
fn everything_that_a_run_may_ask_for() {
    let agent = Agent::start(&[registered("")]);
    let line = "job run -detach -preserve-counts -preserve-resources -policy-override -consul-namespace c -vault-namespace v -";
    assert_eq!(run(&agent, line).status, 0);
    let body: Value = serde_json::from_str(agent.asked()[0].trim_start_matches("PUT /v1/jobs ")).unwrap();
    for name in ["PreserveCounts", "PreserveResources", "PolicyOverride"] {
        assert_eq!(body[name], true, "{name}");
    }
    assert_eq!((&body["Job"]["ConsulNamespace"], &body["Job"]["VaultNamespace"]), (&j!("c"), &j!("v")));
}

#[test]
fn the_way_back_is_followed_too() {
    let mut routes = routes_of_deployment("failed");
    let failed = deployment("failed", "Failed due to unhealthy allocations - rolling back to job version 0", 0);
    routes[3].1 = vec![at(30, failed)];
    let mut back = deployment("successful", "Deployment completed successfully", 2);
    back["ID"] = j!("eeff827c-1");
    routes.push(("GET /v1/job/crunch/deployment", vec![at(31, back.clone())]));
    routes.push(("GET /v1/deployment/eeff827c-1", vec![at(31, back)]));
    let agent = Agent::start(&routes);
    let ran = run(&agent, "job run -");
    assert_eq!(ran.status, 1);
    assert!(
        ran.stdout.contains("Status      = failed") && ran.stdout.contains("ID          = eeff827c"),
        "{}",
        ran.stdout
    );
}
