//! The life of a job through the API: registered, changed, planned, reverted, stopped; and reads that wait for it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{job, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_lives() {
    let running = start().await;
    let node = running.add_node().await;

    let plan = running.put("/v1/job/web/plan", json!({ "Job": job("web"), "Diff": true })).await.json();
    assert_eq!(plan["Diff"]["Type"], "Added", "{plan}");
    assert_eq!(plan["Diff"]["TaskGroups"][0]["Updates"], json!({ "create": 2 }));
    assert_eq!(plan["Annotations"]["DesiredTGUpdates"]["g"]["Place"], 2);
    assert_eq!((&plan["JobModifyIndex"], &plan["FailedTGAllocs"]), (&json!(0), &Value::Null));

    let submission = json!({ "Source": "job \"web\" {}", "Format": "hcl2" });
    let body = json!({ "Job": job("web"), "EnforceIndex": true, "JobModifyIndex": 0, "Submission": submission });
    let registered = running.put("/v1/jobs", body.clone()).await;
    assert_eq!(registered.status, 200, "{registered:?}");
    let index = registered.json()["JobModifyIndex"].as_u64().unwrap();
    assert_eq!(registered.index(), registered.json()["Index"].as_u64().unwrap());
    let again = running.put("/v1/jobs", body).await;
    assert_eq!((again.status, again.body.as_str()), (500, "Enforcing job modify index 0: job already exists"));

    let eval = format!("/v1/evaluation/{}", registered.json()["EvalID"].as_str().unwrap());
    running.until(&eval, |eval| eval["Status"] == "complete").await;
    let placed = running.get(&format!("{eval}/allocations")).await.json();
    assert_eq!(placed.as_array().map(Vec::len), Some(2), "{placed}");
    assert_eq!(running.get("/v1/job/web/submission?version=0").await.json()["Source"], "job \"web\" {}");
    let on_node = running.get(&format!("/v1/node/{node}/allocations")).await.json();
    assert_eq!(on_node[0]["Job"]["ID"], "web");
    assert_eq!(on_node[0]["TaskResources"]["t"]["MemoryMB"], 32);
    assert_eq!(on_node[0]["Resources"]["CPU"], 50);
    let found =
        running.put("/v1/search", json!({ "Prefix": placed[0]["ID"].as_str().unwrap()[..5], "Context": "all" }));
    assert_eq!(found.await.json()["Matches"]["allocs"], json!([placed[0]["ID"]]));

    // A change of what runs is a new version, with a plan that says so.
    let mut changed = job("web");
    changed["TaskGroups"][0]["Tasks"][0]["Config"]["args"] = json!(["61"]);
    let plan = running.put("/v1/job/web/plan", json!({ "Job": changed, "Diff": true })).await.json();
    assert_eq!(plan["JobModifyIndex"], index);
    let task = &plan["Diff"]["TaskGroups"][0]["Tasks"][0];
    assert_eq!((&task["Type"], &task["Annotations"]), (&json!("Edited"), &json!(["forces create/destroy update"])));
    let mut other = changed.clone();
    other["Type"] = json!("batch");
    let plan = running.put("/v1/job/web/plan", json!({ "Job": other })).await.json();
    let refusal = "registering this job will be refused: cannot update job from type \"service\" to \"batch\"";
    assert!(plan["Warnings"].as_str().unwrap().contains(refusal), "{plan}");
    running.register(changed).await;
    let versions = running.get("/v1/job/web/versions?diffs=true").await.json();
    assert_eq!(versions["Versions"].as_array().map(Vec::len), Some(2));
    assert_eq!(versions["Versions"][0]["Version"], 1);
    assert_eq!(versions["Diffs"].as_array().map(Vec::len), Some(1));

    let reverted = running.put("/v1/job/web/revert", json!({ "JobID": "web", "JobVersion": 0 })).await;
    assert_eq!(reverted.status, 200, "{reverted:?}");
    assert_eq!(running.get("/v1/job/web").await.json()["Version"], 2);
    let stable = running.put("/v1/job/web/stable", json!({ "JobID": "web", "JobVersion": 2, "Stable": true })).await;
    assert_eq!(stable.json(), json!({ "Index": stable.index() }));
    assert_eq!(running.get("/v1/job/web").await.json()["Stable"], true);
    let evaluated =
        running.put("/v1/job/web/evaluate", json!({ "JobID": "web", "EvalOptions": { "ForceReschedule": true } }));
    assert_eq!(evaluated.await.status, 200);

    let stopped = running.ask("DELETE", "/v1/job/web", "").await;
    assert!(stopped.json()["EvalID"].as_str().is_some_and(|id| id.len() == 36), "{stopped:?}");
    assert_eq!(running.get("/v1/job/web").await.json()["Stop"], true);
    running.ask("DELETE", "/v1/job/web?purge=true", "").await;
    assert_eq!(running.get("/v1/job/web").await.status, 404);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_read_of_a_job_that_is_to_come_wakes_when_it_comes() {
    let running = start().await;
    let first = running.register(job("other")).await.index();
    let index = running.get("/v1/job/a%2Fb").await.index();
    assert!(index >= first);
    // Until the job is there the index of the table is waited from, which other jobs move too.
    let wait_for_it = async {
        let mut index = index;
        loop {
            let answer = running.get(&format!("/v1/job/a%2Fb?wait=60s&index={index}")).await;
            if answer.status == 200 {
                return answer;
            }
            assert!(answer.index() > index, "woken for nothing");
            index = answer.index();
        }
    };
    let (woken, registered) = tokio::join!(wait_for_it, async {
        running.register(job("third")).await;
        running.register(job("a/b")).await
    });
    assert_eq!(&woken.json()["ID"], &json!("a/b"));
    assert!(woken.index() >= registered.json()["JobModifyIndex"].as_u64().unwrap());
    running.stop().await;
}

#[tokio::test]
async fn a_blocking_read_ends_with_its_wait() {
    let running = start().await;
    let index = running.get("/v1/deployments").await.index();
    let begin = Instant::now();
    let answer = running.get(&format!("/v1/deployments?index={index}&wait=100ms")).await;
    assert_eq!((answer.status, answer.body.as_str(), answer.index()), (200, "[]", index));
    assert!(begin.elapsed() >= Duration::from_millis(100));
    running.stop().await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    let running = start().await;
    for id in ["c", "a", "b"] {
        running.register(job(id)).await;
    }
    let ids = |page: &Value| {
        page.as_array().unwrap().iter().map(|job| job["ID"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let page = running.get("/v1/jobs?per_page=2").await;
    assert_eq!(ids(&page.json()), ["a", "b"]);
    assert_eq!(page.header("x-nomad-nexttoken"), "default.c");
    let page = running.get("/v1/jobs?per_page=2&next_token=default.c").await;
    assert_eq!((ids(&page.json()), page.header("x-nomad-nexttoken")), (vec!["c".to_owned()], ""));
    // There is no node: each job's first eval ends and leaves a blocked one, in whatever order.
    let at_rest = |evals: &Value| {
        let evals = evals.as_array().unwrap();
        evals.len() == 6 && evals.iter().all(|eval| eval["Status"] != "pending")
    };
    let evals = running.until("/v1/evaluations", at_rest).await;
    let newest = running.get("/v1/evaluations?per_page=1&reverse=true").await.json();
    assert_eq!((newest.as_array().unwrap().len(), &newest[0]["ID"]), (1, &evals[5]["ID"]));
    running.stop().await;
}

#[tokio::test]
async fn a_job_that_finds_no_room_says_why() {
    let running = start().await;
    running.add_node().await;
    let mut huge = job("huge");
    huge["TaskGroups"][0]["Tasks"][0]["Resources"]["MemoryMB"] = json!(900_000);
    let plan = running.put("/v1/job/huge/plan", json!({ "Job": huge })).await.json();
    assert_eq!(
        (&plan["Diff"], &plan["FailedTGAllocs"]["g"]["DimensionExhausted"]),
        (&Value::Null, &json!({ "memory": 1 }))
    );
    let eval = running.register(huge).await.json()["EvalID"].as_str().unwrap().to_owned();
    let done = running.until(&format!("/v1/evaluation/{eval}?related=true"), |eval| eval["Status"] == "complete").await;
    assert_eq!(done["FailedTGAllocs"]["g"]["NodesExhausted"], 1);
    assert_eq!(done["RelatedEvals"][0]["ID"], done["BlockedEval"]);
    assert_eq!(done["RelatedEvals"][0]["Status"], "blocked");
    running.stop().await;
}

#[tokio::test]
async fn parsed_text_registers() {
    let running = start().await;
    let text = "job \"m\" {\n  group \"g\" {\n    task \"t\" {\n      driver = \"raw_exec\"\n      config {\n        command = \"/bin/true\"\n      }\n    }\n  }\n}\n";
    let parsed = running.put("/v1/jobs/parse", json!({ "JobHCL": text })).await;
    assert_eq!((parsed.status, &parsed.json()["Datacenters"]), (200, &Value::Null), "{parsed:?}");
    running.register(parsed.json()).await;
    let stored = running.get("/v1/job/m").await.json();
    assert_eq!((&stored["Datacenters"], &stored["Region"]), (&json!(["*"]), &json!("global")));
    let canonical = running.put("/v1/jobs/parse", json!({ "JobHCL": text, "Canonicalize": true })).await.json();
    assert_eq!((&canonical["Priority"], &canonical["Datacenters"]), (&json!(50), &Value::Null));
    running.stop().await;
}

#[tokio::test]
async fn nodes_open_close_and_go() {
    let running = start().await;
    let node = running.add_node().await;
    let path = format!("/v1/node/{node}");
    let closed = running.put(&format!("{path}/eligibility"), json!({ "Eligibility": "ineligible" })).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    assert_eq!(running.get(&path).await.json()["SchedulingEligibility"], "ineligible");
    assert_eq!(running.ask("PUT", &format!("{path}/evaluate"), "").await.status, 200);
    let gone = running.ask("PUT", &format!("{path}/purge"), "").await;
    assert_eq!((gone.status, &gone.json()["NumNodes"]), (200, &json!(0)));
    assert_eq!(running.get(&path).await.status, 404);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_may_skip_delays_and_a_change_may_keep_resources() {
    let running = start().await;
    running.add_node().await;
    running.register(job("web")).await;
    running.until("/v1/job/web/allocations", |allocs| allocs.as_array().is_some_and(|allocs| allocs.len() == 2)).await;
    let mut bigger = job("web");
    bigger["TaskGroups"][0]["Tasks"][0]["Resources"]["CPU"] = json!(77);
    bigger["Priority"] = json!(60);
    let body = json!({ "Job": bigger, "PreserveResources": true });
    assert_eq!(running.put("/v1/jobs", body).await.status, 200);
    let shown = running.get("/v1/job/web").await.json();
    assert_eq!((&shown["Priority"], &shown["TaskGroups"][0]["Tasks"][0]["Resources"]["CPU"]), (&json!(60), &json!(50)));

    let allocs = running.get("/v1/job/web/allocations").await.json();
    let path = |place: usize| format!("/v1/allocation/{}", allocs[place]["ID"].as_str().unwrap());
    let stop = format!("{}/stop?no_shutdown_delay=true&reschedule=true", path(0));
    assert_eq!(running.put(&stop, json!({})).await.status, 200);
    let asked = running.get(&path(0)).await.json()["DesiredTransition"].clone();
    assert_eq!(
        (&asked["Migrate"], &asked["NoShutdownDelay"], &asked["Reschedule"]),
        (&json!(true), &json!(true), &json!(true))
    );
    assert_eq!(running.ask("DELETE", "/v1/job/web?no_shutdown_delay=true", "").await.status, 200);
    let asked = running.get(&path(1)).await.json()["DesiredTransition"].clone();
    assert_eq!((&asked["NoShutdownDelay"], &asked["Migrate"]), (&json!(true), &Value::Null));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_reverted_has_to_prove_itself_again() {
    let running = start().await;
    running.register(job("web")).await;
    running.put("/v1/job/web/stable", json!({ "JobID": "web", "JobVersion": 0, "Stable": true })).await;
    let mut changed = job("web");
    changed["Priority"] = json!(60);
    running.register(changed).await;
    running.put("/v1/job/web/revert", json!({ "JobID": "web", "JobVersion": 0 })).await;
    let shown = running.get("/v1/job/web").await.json();
    assert_eq!((&shown["Version"], &shown["Stable"], &shown["Priority"]), (&json!(2), &json!(false), &json!(50)));
    running.stop().await;
}
