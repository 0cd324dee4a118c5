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
