//! What operators do to versions and rollouts: promotion, health by hand, names, counts.

use serde_json::{Value, json};

use crate::support::{Running, job, start};

fn rolling(args: &str) -> Value {
    let mut job = job("web");
    job["TaskGroups"][0]["Update"] = json!({
        "MaxParallel": 1, "Canary": 1, "AutoRevert": true, "HealthCheck": "manual",
        "MinHealthyTime": 0, "HealthyDeadline": 60_000_000_000_u64, "ProgressDeadline": 600_000_000_000_u64,
    });
    job["TaskGroups"][0]["Scaling"] = json!({ "Enabled": true, "Min": 1, "Max": 5 });
    job["TaskGroups"][0]["Tasks"][0]["Config"]["args"] = json!([args]);
    job
}

/// The allocs of the deployment once there are that many.
async fn placed(running: &Running, deployment: &str, count: usize) -> Vec<String> {
    let path = format!("/v1/deployment/allocations/{deployment}");
    let allocs = running.until(&path, |allocs| allocs.as_array().is_some_and(|list| list.len() == count)).await;
    allocs.as_array().unwrap().iter().map(|alloc| alloc["ID"].as_str().unwrap().to_owned()).collect()
}

async fn deployment(running: &Running, version: u64) -> String {
    let latest = running.until("/v1/job/web/deployment", |latest| latest["JobVersion"] == version).await;
    latest["ID"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canaries_wait_for_their_promotion() {
    let running = start().await;
    running.add_node().await;
    let write = async |verb: &str, id: &str, more: Value| {
        let mut body = json!({ "DeploymentID": id });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        running.put(&format!("/v1/deployment/{verb}/{id}"), body).await
    };
    running.register(rolling("60")).await;
    let first = deployment(&running, 0).await;
    let allocs = placed(&running, &first, 2).await;
    let scaled = json!({ "Count": 3, "Target": { "Group": "g" } });
    let blocked = running.put("/v1/job/web/scale", scaled.clone()).await;
    assert_eq!((blocked.status, blocked.body.as_str()), (400, "job scaling blocked due to active deployment"));
    let healthy = write("allocation-health", &first, json!({ "HealthyAllocationIDs": allocs })).await;
    assert_eq!(healthy.status, 200, "{healthy:?}");
    let path = format!("/v1/deployment/{first}");
    let ended = running.until(&path, |deployment| deployment["Status"] != "running").await;
    assert_eq!((&ended["Status"], &ended["TaskGroups"]["g"]["HealthyAllocs"]), (&json!("successful"), &json!(2)));
    for (verb, text) in [
        ("promote", "can't promote terminal deployment"),
        ("unblock", "can't unblock terminal deployment"),
        ("allocation-health", "can't set health of allocations for a terminal deployment"),
    ] {
        let answer = write(verb, &first, json!({ "All": true, "HealthyAllocationIDs": allocs })).await;
        assert_eq!((answer.status, answer.body.as_str()), (500, text));
    }

    running.register(rolling("61")).await;
    let second = deployment(&running, 1).await;
    let canaries = placed(&running, &second, 1).await;
    let early = write("promote", &second, json!({ "All": true })).await;
    let text = "1 error occurred:\n\t* Task group \"g\" has 0/1 healthy allocations\n\n";
    assert_eq!((early.status, early.body.as_str()), (500, text));
    let foreign = write("allocation-health", &second, json!({ "HealthyAllocationIDs": [allocs[0]] })).await;
    assert_eq!(foreign.status, 500, "{foreign:?}");
    let none = write("allocation-health", &second, json!({})).await;
    assert_eq!(none.body, "must specify at least one healthy/unhealthy allocation ID");
    write("allocation-health", &second, json!({ "HealthyAllocationIDs": canaries })).await;
    // Of another group nothing is promoted, and that is no error.
    let other = write("promote", &second, json!({ "Groups": ["zz"] })).await;
    assert_eq!(other.status, 200, "{other:?}");
    let path = format!("/v1/deployment/{second}");
    assert_eq!(running.get(&path).await.json()["TaskGroups"]["g"]["Promoted"], false);
    let promoted = write("promote", &second, json!({ "Groups": ["g"] })).await.json();
    assert_eq!((&promoted["EvalCreateIndex"], &promoted["RevertedJobVersion"]), (&promoted["Index"], &Value::Null));
    let shown = running.get(&path).await.json();
    assert_eq!(
        (&shown["TaskGroups"]["g"]["Promoted"], &shown["StatusDescription"]),
        (&json!(true), &json!("Deployment is running"))
    );
    let canary = running.get(&format!("/v1/allocation/{}", canaries[0])).await.json();
    assert_eq!(canary["DeploymentStatus"]["Canary"], false);
    let untouched = write("unblock", &second, json!({})).await.json();
    assert_eq!((&untouched["Index"], &untouched["EvalID"]), (&json!(0), &json!("")));

    // One that is not healthy ends it, and the job goes back to what was stable.
    placed(&running, &second, 2).await;
    let failed = write("allocation-health", &second, json!({ "UnhealthyAllocationIDs": canaries })).await.json();
    assert_eq!(failed["RevertedJobVersion"], 0, "{failed}");
    let ended = running.get(&path).await.json();
    let text = "Failed due to unhealthy allocations - rolling back to job version 0";
    assert_eq!((&ended["Status"], &ended["StatusDescription"]), (&json!("failed"), &json!(text)));
    assert_eq!(running.get("/v1/job/web").await.json()["Version"], 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_have_names() {
    let running = start().await;
    running.register(job("web")).await;
    let mut changed = job("web");
    changed["Meta"] = json!({ "a": "1" });
    running.register(changed).await;
    let tag = async |name: &str, body: Value| running.put(&format!("/v1/job/web/versions/{name}/tag"), body).await;
    let named = tag("good", json!({ "Version": 0, "Description": "first" })).await.json();
    assert_eq!((&named["Name"], &named["Description"]), (&json!("good"), &json!("first")));
    assert!(named["TaggedTime"].as_i64().is_some_and(|time| time > 0));
    let versions = running.get("/v1/job/web/versions?diffs=true&diff_tag=good").await.json();
    assert_eq!(
        versions["Versions"][1]["VersionTag"],
        json!({ "Name": "good", "Description": "first", "TaggedTime": named["TaggedTime"] })
    );
    let kinds: Vec<_> = versions["Diffs"].as_array().unwrap().iter().map(|diff| &diff["Type"]).collect();
    assert_eq!(kinds, ["Edited", "None"]);
    assert_eq!(tag("good", json!({ "Version": 0, "Description": "again" })).await.status, 200);
    let check = |answer: crate::support::Answer, status: u16, text: &str| {
        assert_eq!((answer.status, answer.body.as_str()), (status, text));
    };
    check(
        tag("good", json!({ "Latest": true })).await,
        500,
        "tag \"good\" already exists on a different version of job \"web\"",
    );
    check(tag("nine", json!({ "Version": 9 })).await, 500, "job \"web\" version 9 not found");
    check(running.put("/v1/job/zz/versions/x/tag", json!({})).await, 500, "job \"zz\" version 0 not found");
    check(running.put("/v1/job/zz/versions/x/tag", json!({ "Latest": true })).await, 500, "job \"zz\" not found");
    check(running.put("/v1/job/web/versions/a/b/tag", json!({})).await, 404, "invalid job tag endpoint");
    check(running.get("/v1/job/web/versions?diffs=true&diff_tag=zz").await, 500, "tag \"zz\" not found");
    check(running.get("/v1/job/web/versions?diffs=true&diff_version=77").await, 500, "version 77 not found");
    let text = "version must be zero when tagging latest, got: 1";
    check(tag("new", json!({ "Latest": true, "Version": 1 })).await, 500, text);
    assert_eq!(tag("new", json!({ "Latest": true })).await.status, 200);
    assert_eq!(running.get("/v1/job/web").await.json()["VersionTag"]["Name"], "new");
    let gone = running.ask("DELETE", "/v1/job/web/versions/good/tag", "").await.json();
    assert_eq!((&gone["Name"], &gone["TaggedTime"]), (&json!(""), &json!(0)));
    let again = running.ask("DELETE", "/v1/job/web/versions/good/tag", "").await;
    check(again, 500, "tag \"good\" not found on job \"web\"");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_change_within_their_policy_and_leave_a_trace() {
    let running = start().await;
    let mut job = rolling("60");
    // A service would roll its count out.
    job["Type"] = json!("batch");
    job["TaskGroups"][0].as_object_mut().unwrap().remove("Update");
    job["TaskGroups"][0]["Tasks"][0]["Actions"] = json!([{ "Name": "hi", "Command": "/bin/echo", "Args": ["x"] }]);
    running.register(job).await;
    let scale = async |body: Value| running.put("/v1/job/web/scale", body).await;
    let check = async |body: Value, text: &str| {
        let answer = scale(body).await;
        assert_eq!((answer.status, answer.body.as_str()), (400, text));
    };
    let at = |group: &str| json!({ "Group": group });
    check(json!({ "Count": 3 }), "missing task group name for scaling action").await;
    check(json!({ "Count": -1, "Target": at("g") }), "scaling action count can't be negative").await;
    check(json!({ "Count": 9, "Target": at("g") }), "group count was greater than scaling policy maximum: 9 > 5").await;
    check(json!({ "Count": 0, "Target": at("g") }), "group count was less than scaling policy minimum: 0 < 1").await;
    check(json!({ "Count": 1, "Target": at("zz") }), "task group \"zz\" specified for scaling does not exist in job")
        .await;
    let text = "scaling action should not contain count if error is true";
    check(json!({ "Count": 3, "Error": true, "Target": at("g") }), text).await;
    check(json!({ "Target": { "Group": "g", "Job": "x" } }), "job ID in payload did not match URL").await;
    let unknown = running.put("/v1/job/zz/scale", json!({ "Count": 1, "Target": at("g") })).await;
    assert_eq!((unknown.status, unknown.body.as_str()), (404, "job \"zz\" not found"));

    let policies = running.get("/v1/scaling/policies?job=web").await.json();
    let id = policies[0]["ID"].as_str().unwrap().to_owned();
    assert_eq!(policies[0]["Target"], json!({ "Namespace": "default", "Job": "web", "Group": "g" }));
    assert_eq!((&policies[0]["Type"], policies.as_array().unwrap().len()), (&json!("horizontal"), 1));
    for none in ["job=zz", "type=zz", "prefix=zz", "namespace=zz"] {
        assert_eq!(running.get(&format!("/v1/scaling/policies?{none}")).await.json(), json!([]), "{none}");
    }
    let policy = running.get(&format!("/v1/scaling/policy/{id}")).await;
    assert_eq!((&policy.json()["Min"], &policy.json()["Max"]), (&json!(1), &json!(5)));
    assert_eq!(policy.index(), policy.json()["ModifyIndex"].as_u64().unwrap());
    let shown = running.get("/v1/job/web").await.json();
    assert_eq!(shown["TaskGroups"][0]["Scaling"]["ID"], json!(id));
    let found = running.put("/v1/search", json!({ "Prefix": &id[..8], "Context": "scaling_policy" })).await.json();
    assert_eq!(found["Matches"]["scaling_policy"], json!([id]));

    let stale = scale(json!({ "Count": 2, "Target": at("g"), "JobModifyIndex": 1 })).await;
    assert_eq!(stale.status, 500);
    assert!(stale.body.starts_with("Enforcing job modify index 1: job exists with conflicting"), "{}", stale.body);
    let noted = scale(json!({ "Target": at("g"), "Message": "note", "Error": true })).await.json();
    assert_eq!((&noted["EvalID"], &noted["EvalCreateIndex"]), (&json!(""), &json!(0)));
    let scaled =
        scale(json!({ "Count": 3, "Target": at("g"), "Message": "more", "Meta": { "why": "load" } })).await.json();
    let eval = running.get(&format!("/v1/evaluation/{}", scaled["EvalID"].as_str().unwrap())).await.json();
    assert_eq!(eval["TriggeredBy"], "job-scaling");
    let status = running.get("/v1/job/web/scale").await.json();
    let group = &status["TaskGroups"]["g"];
    assert_eq!((&group["Desired"], &group["Placed"], &status["JobStopped"]), (&json!(3), &json!(0), &json!(false)));
    let event = &group["Events"][0];
    assert_eq!((&event["Count"], &event["PreviousCount"], &event["Message"]), (&json!(3), &json!(2), &json!("more")));
    assert_eq!((&event["EvalID"], &event["Meta"]), (&scaled["EvalID"], &json!({ "why": "load" })));
    let event = &group["Events"][1];
    assert_eq!((&event["Count"], &event["EvalID"], &event["Error"]), (&Value::Null, &Value::Null, &json!(true)));
    assert_eq!(running.get("/v1/job/zz/scale").await.status, 404);
    let actions = running.get("/v1/job/web/actions").await;
    assert_eq!(
        actions.json(),
        json!([{ "Args": ["x"], "Command": "/bin/echo", "Name": "hi", "TaskGroupName": "g", "TaskName": "t" }])
    );
    assert_eq!(running.get("/v1/job/zz/actions").await.body, "Unknown job \"zz\"");
    running.stop().await;
}
