use serde_json::{Value, json as j};

use super::{Agent, Line, Reply, json, nanos, text};

const EVAL_ID: &str = "b64c98b4-1111-2222-3333-444444444444";

fn stub(id: &str) -> Value {
    j!({ "ID": id, "Name": id, "Namespace": "default", "Type": "batch", "Status": "running", "ParentID": "" })
}

/// An agent that knows one job and answers one more route.
fn agent(stub: Value, more: &[(&'static str, Reply)]) -> Agent {
    let mut routes = vec![
        ("GET /v1/jobs", vec![json(j!([stub]))]),
        (
            "GET /v1/evaluation/b64c98b4-1111-2222-3333-444444444444",
            vec![json(j!({ "ID": EVAL_ID, "JobID": "web", "Status": "complete" }))],
        ),
        ("GET /v1/evaluation/b64c98b4-1111-2222-3333-444444444444/allocations", vec![json(j!([]))]),
    ];
    routes.extend(more.iter().map(|(route, reply)| (*route, vec![reply.clone()])));
    Agent::start(&routes)
}

fn written() -> Reply {
    json(j!({ "EvalID": EVAL_ID }))
}

const DETACHED: &str = "Evaluation ID: b64c98b4-1111-2222-3333-444444444444";
const FOLLOWED: &str = "\
==> 2026-11-21T11:27:39Z: Monitoring evaluation \"b64c98b4\"
    2026-11-21T11:27:39Z: Evaluation triggered by job \"web\"
    2026-11-21T11:27:39Z: Evaluation status changed: \"pending\" -> \"complete\"
==> 2026-11-21T11:27:39Z: Evaluation \"b64c98b4\" finished with status \"complete\"";

/// The body that went to the route.
fn sent(agent: &Agent, route: &str) -> Value {
    let asked = agent.asked();
    let body = asked.iter().find_map(|line| line.strip_prefix(route)?.strip_prefix(' ')).expect(route);
    serde_json::from_str(body).unwrap()
}

#[test]
fn going_back() {
    let versions = json(j!({ "Versions": [
        { "ID": "web", "Version": 2 }, { "ID": "web", "Version": 1, "VersionTag": { "Name": "golden" } },
    ] }));
    let agent = agent(stub("web"), &[("PUT /v1/job/web/revert", written()), ("GET /v1/job/web/versions", versions)]);
    agent.run("job revert -detach web 1").printed(DETACHED);
    assert_eq!(sent(&agent, "PUT /v1/job/web/revert?namespace=default"), j!({ "JobID": "web", "JobVersion": 1 }));
    agent.run("job revert web golden").printed(FOLLOWED);
    agent.run("job revert web x").failed("Error retrieving job versions: version tag x not found for job web");
    agent.run("job revert web").failed(
        "This command takes two arguments: <job> <version|tag>\nFor additional help try 'drover job revert -help'",
    );
    let refusal = text(500, "job \"web\" in namespace \"default\" at version 9 not found");
    self::agent(stub("web"), &[("PUT /v1/job/web/revert", refusal)]).run("job revert web 9").failed(
        "Error retrieving job versions: Unexpected response code: 500 (job \"web\" in namespace \"default\" at version 9 not found)",
    );
}

#[test]
fn naming_a_version() {
    let agent = agent(
        stub("web"),
        &[
            ("GET /v1/job/web", json(j!({ "ID": "web", "Version": 4 }))),
            ("PUT /v1/job/web/versions/golden/tag", json(j!({}))),
            ("DELETE /v1/job/web/versions/golden/tag", json(j!({}))),
        ],
    );
    agent
        .run("job tag apply -name golden -description 'good one' web")
        .printed("Job version 4 tagged with name \"golden\"");
    let body = sent(&agent, "PUT /v1/job/web/versions/golden/tag?namespace=default");
    assert_eq!(body, j!({ "Version": 4, "Description": "good one" }));
    agent.run("job tag apply -name golden -version 0 web").printed("Job version 0 tagged with name \"golden\"");
    agent.run("job tag unset -name golden web").printed("Tag \"golden\" removed from job \"web\"");
    agent
        .run("job tag apply web")
        .failed("A version tag name is required\nFor additional help try 'drover job tag apply -help'");
    agent
        .run("job tag apply -name golden -version x web")
        .failed("Error parsing version: \"x\" is not a number, 0 or greater");
}

#[test]
fn looking_again() {
    let agent = agent(stub("web"), &[("PUT /v1/job/web/evaluate", written())]);
    agent.run("job eval -detach web").printed("Created eval ID: \"b64c98b4\" ");
    agent.run("job eval -force-reschedule web").printed(FOLLOWED);
    let asked = agent.asked();
    assert!(asked.iter().any(|line| line.contains("\"ForceReschedule\":true")), "{asked:?}");
    let refusal = text(500, "can't evaluate periodic job");
    self::agent(stub("nightly"), &[("PUT /v1/job/nightly/evaluate", refusal)])
        .run("job eval nightly")
        .failed("Error evaluating job: Unexpected response code: 500 (can't evaluate periodic job)");
}

#[test]
fn promoting_the_newest_deployment() {
    let latest = json(j!({ "ID": "205e42e0-1", "JobID": "web", "Status": "running" }));
    let agent = agent(
        stub("web"),
        &[("GET /v1/job/web/deployment", latest), ("PUT /v1/deployment/promote/205e42e0-1", written())],
    );
    agent.run("job promote -detach web").printed(DETACHED);
    self::agent(stub("scal"), &[("GET /v1/job/scal/deployment", json(Value::Null))])
        .run("job promote scal")
        .failed("Job \"scal\" has no deployment to promote");
}

#[test]
fn deployments_of_a_job() {
    let one = j!({ "ID": "eeff827c-1", "JobID": "web", "JobVersion": 0, "Status": "successful", "StatusDescription": "Deployment completed successfully" });
    let agent = agent(
        stub("web"),
        &[("GET /v1/job/web/deployments", json(j!([one]))), ("GET /v1/job/web/deployment", json(one))],
    );
    agent.run("job deployments -all web").printed(
        "ID        Job ID  Job Version  Status      Description\neeff827c  web     0            successful  Deployment completed successfully",
    );
    agent.run("job deployments -latest web").printed(
        "ID          = eeff827c\nJob ID      = web\nJob Version = 0\nStatus      = successful\nDescription = Deployment completed successfully",
    );
    agent.run("job deployments -latest -t '{{.Status}}' web").printed("successful");
    assert!(agent.asked()[1].starts_with("GET /v1/job/web/deployments?all=true"), "{:?}", agent.asked());
}

#[test]
fn scaling() {
    let event = j!({
        "Count": 4, "PreviousCount": 3, "Error": false, "Message": "by hand", "EvalID": EVAL_ID,
        "Time": nanos("2026-11-21T11:33:53Z"),
    });
    let status = json(j!({ "TaskGroups": { "front": { "Desired": 3, "Events": [event] } } }));
    let agent = agent(stub("web"), &[("GET /v1/job/web/scale", status), ("PUT /v1/job/web/scale", written())]);
    agent.run("job scale web 4").printed(FOLLOWED);
    let body = sent(&agent, "PUT /v1/job/web/scale?namespace=default");
    assert_eq!((&body["Count"], &body["Target"]), (&j!(4), &j!({ "Job": "web", "Group": "front" })));
    agent.run("job scale -detach -check-index 7 web front 4").printed(&format!("Job scale successful\n{DETACHED}"));
    agent.run("job scale web nosuch 4").failed("Group nosuch not found within job");
    agent
        .run("job scale web x")
        .failed("Failed to convert count string to int: strconv.Atoi: parsing \"x\": invalid syntax");
    agent.run("job scale web").failed("Command requires at least two arguments and no more than three");
    agent
        .run("job scaling-events web")
        .printed("Task Group  Count  PrevCount  Date\nfront       4      3          2026-11-21T11:33:53Z");
    agent.run("job scaling-events -verbose web").printed(
        "Task Group  Count  PrevCount  Error  Message  Eval ID                               Date\nfront       4      3          false  by hand  b64c98b4-1111-2222-3333-444444444444  2026-11-21T11:33:53Z",
    );
    self::agent(stub("web"), &[("GET /v1/job/web/scale", json(j!({ "TaskGroups": { "front": { "Events": null } } })))])
        .run("job scaling-events web")
        .printed("No events found");
}

#[test]
fn scaling_policies() {
    let policy = |job: &str, first: &str| {
        let target = j!({ "Namespace": "default", "Job": job, "Group": "g" });
        let id = format!("{first}9148848-1111-4222-8333-444444444444");
        j!({ "ID": id, "Enabled": true, "Type": "horizontal", "Target": target, "Min": 1, "Max": 3, "Policy": null })
    };
    let (web, api) = (policy("web", "d"), policy("api", "e"));
    let one = format!("GET /v1/scaling/policy/{}", web["ID"].as_str().unwrap());
    let answers = [("GET /v1/scaling/policies", json(j!([web, api]))), (one.as_str(), json(web.clone()))]
        .map(|(a, b)| (a, vec![b]));
    let agent = Agent::start(&answers);
    agent.run("scaling policy list").printed(
        "ID        Enabled  Type        Target\ne9148848  true     horizontal  Namespace:default,Job:api,Group:g\nd9148848  true     horizontal  Namespace:default,Job:web,Group:g",
    );
    agent.run("scaling policy list -job web -type horizontal -t '{{len .}}'").printed("2");
    assert_eq!(agent.asked()[1], "GET /v1/scaling/policies?job=web&type=horizontal");
    agent.run("scaling policy info d9148848-1111-4222-8333-444444444444").printed(
        "ID      = d9148848\nEnabled = true\nTarget  = Namespace:default,Job:web,Group:g\nMin     = 1\nMax     = 3\n\nPolicy:\n<empty>",
    );
    agent.run("scaling policy info d").failed("Identifier must contain at least two characters.");
    let ran = agent.run("scaling policy info 91");
    assert!(ran.stderr.starts_with("Prefix matched multiple scaling policies\n\nID "), "{}", ran.stderr);
    let none = Agent::start(&[("GET /v1/scaling/policies", vec![json(j!([]))])]);
    none.run("scaling policy list").printed("No policies found");
    none.run("scaling policy info d914")
        .failed("Error querying scaling policy: no scaling policies with prefix or ID \"d914\" found");
}

#[test]
fn dispatching() {
    let mut convert = stub("convert");
    convert["ParameterizedJob"] = j!(true);
    let child = "convert/dispatch-1795260692-2594bf23";
    let agent = agent(
        convert,
        &[
            ("PUT /v1/job/convert/dispatch", json(j!({ "DispatchedJobID": child, "EvalID": EVAL_ID }))),
            (
                "GET /v1/job/convert%2Fdispatch-1795260692-2594bf23/summary",
                json(j!({ "Summary": { "g": { "Complete": 1, "Failed": 1 } } })),
            ),
            ("GET /v1/job/convert%2Fdispatch-1795260692-2594bf23", json(j!({ "ID": child, "Status": "dead" }))),
        ],
    );
    let launched = format!("Dispatched Job ID = {child}\nEvaluation ID     = b64c98b4");
    let line = "job dispatch -detach -meta src=a -idempotency-token T1 -priority 60 -id-prefix-template night conv -";
    Line::new(line).agent(&agent).stdin("hello").run().printed(&launched);
    let body = sent(&agent, "PUT /v1/job/convert/dispatch?idempotency_token=T1&namespace=default");
    let expected = j!({ "JobID": "convert", "Meta": { "src": "a" }, "Payload": "aGVsbG8=", "IdPrefixTemplate": "night", "Priority": 60 });
    assert_eq!(body, expected);
    agent.run("job dispatch convert").printed(&format!("{launched}\n\n{FOLLOWED}"));
    let summary = "Task Group  Queued  Starting  Running  Failed  Complete  Lost  Unknown\ng           0       0         0        1       1         0     0";
    agent.run("job dispatch -wait convert").ended(
        2,
        &format!("{launched}\n\n{FOLLOWED}\n\n2026-11-21T11:27:39Z\n{summary}"),
        "",
    );
    agent.run("job dispatch convert nofile").failed("Error reading input data: open nofile: no such file or directory");
    agent.run("job dispatch -meta x convert").failed("Error parsing meta value: x");
    agent.run("job dispatch").failed(
        "This command takes one or two argument: <parameterized job> [input source]\nFor additional help try 'drover job dispatch -help'",
    );
    self::agent(stub("web"), &[])
        .run("job dispatch web")
        .failed("No parameterized job(s) with prefix or ID \"web\" found");
}

#[test]
fn launching_a_periodic_job() {
    let mut nightly = stub("nightly");
    nightly["Periodic"] = j!(true);
    let agent = agent(nightly, &[("PUT /v1/job/nightly/periodic/force", written())]);
    agent.run("job periodic force -detach nightly").printed(&format!("Force periodic successful\n{DETACHED}"));
    agent.run("job periodic force nightly").printed(FOLLOWED);
    self::agent(stub("web"), &[])
        .run("job periodic force web")
        .failed("No periodic job(s) with prefix or ID \"web\" found");
}

#[test]
fn starting_again() {
    let stopped =
        |stop: bool| json(j!({ "ID": "huge", "Name": "huge", "Stop": stop, "Version": 3, "Type": "service" }));
    let agent = agent(
        stub("huge"),
        &[
            ("GET /v1/job/huge", stopped(true)),
            ("GET /v1/job/huge/submission", json(j!({ "Source": "job \"huge\" {}", "Format": "hcl2" }))),
            ("PUT /v1/jobs", written()),
        ],
    );
    agent.run("job start -detach huge").printed(&format!("Job start successful\n{DETACHED}"));
    let body = sent(&agent, "PUT /v1/jobs?namespace=default");
    assert_eq!((&body["Job"]["Stop"], &body["Submission"]["Source"]), (&j!(false), &j!("job \"huge\" {}")));
    agent.run("start huge").printed(FOLLOWED);
    self::agent(stub("web"), &[("GET /v1/job/web", json(j!({ "ID": "web", "Name": "web", "Stop": false })))])
        .run("job start web")
        .failed("Job \"web\" has not been stopped");
}

#[test]
fn the_source_and_how_it_was_run() {
    let submission = j!({
        "Source": "job \"web\" {}\n", "Format": "hcl2", "VariableFlags": { "n": "a b" }, "Variables": "m = 2\n",
    });
    let agent = agent(
        stub("web"),
        &[
            ("GET /v1/job/web", json(j!({ "ID": "web", "Version": 3 }))),
            ("GET /v1/job/web/submission", json(submission)),
        ],
    );
    agent.run("job inspect -hcl web").printed("job \"web\" {}");
    agent.run("job inspect -hcl -with-vars web").ended(
        0,
        "job \"web\" {}",
        "
To run the job as it was registered, write this into a file vars.hcl:

    m = 2

and then:

    drover job inspect -namespace default -hcl -version 3 web |
        drover job run -namespace default -var 'n=a b' -var-file vars.hcl -
",
    );
    agent.run("job inspect -hcl -json web").failed("can only use one of -hcl or -json");
    agent.run("job inspect -with-vars web").failed("can only use -with-vars with -hcl");
}
