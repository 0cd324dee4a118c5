use serde_json::{Value, json as j};

use super::{Agent, json, text};

fn deployment(id: &str, index: u64) -> Value {
    j!({
        "ID": id, "JobID": "web", "JobVersion": 0, "Status": "successful", "StatusDescription": "Deployment completed successfully",
        "CreateIndex": index,
        "TaskGroups": { "front": { "DesiredTotal": 2, "PlacedAllocs": 2, "HealthyAllocs": 2, "ProgressDeadline": 1, "RequireProgressBy": "2026-11-21T11:28:06Z" } },
    })
}

const BLOCK: &str = "\
ID          = eeff827c
Job ID      = web
Job Version = 0
Status      = successful
Description = Deployment completed successfully

Deployed
Task Group  Desired  Placed  Healthy  Unhealthy  Progress Deadline
front       2        2       2        0          2026-11-21T11:28:06Z";

#[test]
fn deployments() {
    let agent = Agent::start(&[
        ("GET /v1/deployments", vec![json(j!([deployment("eeff827c-1", 13)]))]),
        ("GET /v1/deployment/eeff827c-1", vec![json(deployment("eeff827c-1", 13))]),
    ]);
    let list = "\
ID        Job ID  Job Version  Status      Description
eeff827c  web     0            successful  Deployment completed successfully";
    agent.run("deployment list").printed(list);
    agent.run("deployment status").printed(list);
    agent.run("deployment status eeff827c").printed(BLOCK);
    agent.run("deployment status -monitor eeff827c").printed(&format!(
        "2026-11-21T11:27:39Z: Monitoring deployment \"eeff827c\"\n    \n2026-11-21T11:27:39Z\n{BLOCK}"
    ));
}

#[test]
fn nothing_found() {
    let agent = Agent::start(&[(
        "GET /v1/deployments",
        vec![
            json(j!([])),
            json(j!([])),
            text(500, "index error: Invalid UUID: encoding/hex: invalid byte: U+006E 'n'"),
        ],
    )]);
    agent.run("deployment list").printed("No deployments found");
    agent
        .run("deployment status 00")
        .failed("Error retrieving deployment: Deployment ID \"00\" matched no deployments");
    agent.run("deployment status nosuch").failed(
        "Error retrieving deployment: Unexpected response code: 500 (index error: Invalid UUID: encoding/hex: invalid byte: U+006E 'n')",
    );
}

const ID: &str = "355f5c1f-91d6-9496-aff5-d9ea7a7f9910";
const EVAL_ID: &str = "11dac3c4-7660-9bfb-18d8-362254ea7999";

fn of_one(route: &'static str, answer: Value) -> Agent {
    Agent::start(&[
        ("GET /v1/deployments", vec![json(j!([deployment(ID, 13)]))]),
        (route, vec![json(answer)]),
        (
            "GET /v1/evaluation/11dac3c4-7660-9bfb-18d8-362254ea7999",
            vec![json(j!({ "ID": EVAL_ID, "JobID": "web", "Status": "complete" }))],
        ),
        ("GET /v1/evaluation/11dac3c4-7660-9bfb-18d8-362254ea7999/allocations", vec![json(j!([]))]),
    ])
}

const FOLLOWED: &str = "\
==> 2026-11-21T11:27:39Z: Monitoring evaluation \"11dac3c4\"
    2026-11-21T11:27:39Z: Evaluation triggered by job \"web\"
    2026-11-21T11:27:39Z: Evaluation status changed: \"pending\" -> \"complete\"
==> 2026-11-21T11:27:39Z: Evaluation \"11dac3c4\" finished with status \"complete\"";

#[test]
fn promoting() {
    let route = "PUT /v1/deployment/promote/355f5c1f-91d6-9496-aff5-d9ea7a7f9910";
    let agent = of_one(route, j!({ "EvalID": EVAL_ID }));
    agent.run("deployment promote 355f5c1f").printed(FOLLOWED);
    agent.run("deployment promote -detach -group a -group b 355f5c1f").printed(&format!("Evaluation ID: {EVAL_ID}"));
    let asked = agent.asked();
    let bodies: Vec<&str> =
        asked.iter().filter_map(|line| line.strip_prefix("PUT ")?.split_once(' ')).map(|it| it.1).collect();
    assert_eq!(
        bodies,
        [
            format!("{{\"All\":true,\"DeploymentID\":\"{ID}\"}}"),
            format!("{{\"DeploymentID\":\"{ID}\",\"Groups\":[\"a\",\"b\"]}}")
        ]
    );
    let agent = Agent::start(&[
        ("GET /v1/deployments", vec![json(j!([deployment(ID, 13)]))]),
        (route, vec![text(500, "can't promote terminal deployment")]),
    ]);
    agent
        .run("deployment promote 355f5c1f")
        .failed("Error promoting deployment: Unexpected response code: 500 (can't promote terminal deployment)");
}

#[test]
fn pausing_and_going_on() {
    let route = "PUT /v1/deployment/pause/355f5c1f-91d6-9496-aff5-d9ea7a7f9910";
    let agent = of_one(route, j!({ "EvalID": EVAL_ID }));
    agent.run("deployment pause 355f5c1f").printed(&format!("Deployment \"{ID}\" paused"));
    agent
        .run("deployment resume -detach 355f5c1f")
        .printed(&format!("Deployment \"{ID}\" resumed\nEvaluation ID: {EVAL_ID}"));
    agent.run("deployment resume 355f5c1f").printed(&format!("Deployment \"{ID}\" resumed\n\n{FOLLOWED}"));
    agent.run("deployment pause").failed(
        "This command takes one argument: <deployment id>\nFor additional help try 'drover deployment pause -help'",
    );
}

#[test]
fn failing() {
    let route = "PUT /v1/deployment/fail/355f5c1f-91d6-9496-aff5-d9ea7a7f9910";
    of_one(route, j!({ "EvalID": EVAL_ID }))
        .run("deployment fail 355f5c1f")
        .printed(&format!("Deployment \"{ID}\" failed\n\n{FOLLOWED}"));
    of_one(route, j!({ "EvalID": EVAL_ID, "RevertedJobVersion": 0 }))
        .run("deployment fail -detach 355f5c1f")
        .printed(&format!("Deployment \"{ID}\" failed. Auto-reverted to job version 0.\nEvaluation ID: {EVAL_ID}"));
}

#[test]
fn unblocking() {
    let route = "PUT /v1/deployment/unblock/355f5c1f-91d6-9496-aff5-d9ea7a7f9910";
    of_one(route, j!({ "EvalID": EVAL_ID }))
        .run("deployment unblock -detach 355f5c1f")
        .printed(&format!("Deployment \"{ID}\" unblocked\nEvaluation ID: {EVAL_ID}"));
}

#[test]
fn watching_with_all_there_is() {
    let agent = Agent::start(&[
        ("GET /v1/deployments", vec![json(j!([deployment("eeff827c-1", 13)]))]),
        ("GET /v1/deployment/eeff827c-1", vec![json(deployment("eeff827c-1", 13))]),
        ("GET /v1/deployment/allocations/eeff827c-1", vec![json(j!([]))]),
    ]);
    let ran = agent.run("deployment status -monitor -verbose -wait 1s eeff827c");
    assert!(ran.stdout.ends_with("\n\nAllocations\nNo allocations placed\n"), "{}", ran.stdout);
    agent.run("deployment status -monitor -wait x eeff827c").failed("invalid value \"x\" for flag -wait: parse error");
}
