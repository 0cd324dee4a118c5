//! Jobs that launch others: periodic and parameterized ones.

use serde_json::{Value, json};

use crate::support::{job, start};

fn batch(id: &str) -> Value {
    let mut job = job(id);
    job["Type"] = json!("batch");
    job["TaskGroups"][0]["Count"] = json!(1);
    job
}

fn periodic(spec: &str) -> Value {
    let mut job = batch("per");
    job["Periodic"] = json!({ "Enabled": true, "Specs": [spec], "TimeZone": "UTC", "ProhibitOverlap": false });
    job
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_periodic_job_launches_by_the_clock_and_by_hand() {
    let running = start().await;
    // Registered it has no eval and runs without an alloc; the plan tells when it launches.
    let plan = running.put("/v1/job/per/plan", json!({ "Job": periodic("0 3 1 1 *") })).await.json();
    assert!(plan["NextPeriodicLaunch"].as_str().is_some_and(|next| next.ends_with("-01-01T03:00:00Z")), "{plan}");
    let answer = running.register(periodic("0 3 1 1 *")).await.json();
    assert_eq!((&answer["EvalID"], &answer["EvalCreateIndex"]), (&json!(""), &json!(0)));
    let shown = running.get("/v1/job/per").await.json();
    assert_eq!((&shown["Status"], &shown["Periodic"]["Specs"]), (&json!("running"), &json!(["0 3 1 1 *"])));
    assert_eq!(running.get("/v1/job/per/evaluations").await.json(), json!([]));
    let evaluated = running.put("/v1/job/per/evaluate", json!({ "JobID": "per" })).await;
    assert_eq!((evaluated.status, evaluated.body.as_str()), (500, "can't evaluate periodic job"));

    let forced = running.put("/v1/job/per/periodic/force", json!({})).await.json();
    assert_eq!(forced["EvalCreateIndex"], forced["Index"]);
    let eval = running.get(&format!("/v1/evaluation/{}", forced["EvalID"].as_str().unwrap())).await.json();
    let child = eval["JobID"].as_str().unwrap().to_owned();
    assert!(child.starts_with("per/periodic-") && eval["TriggeredBy"] == "periodic-job", "{eval}");
    let shown = running.get(&format!("/v1/job/{}", child.replace('/', "%2F"))).await.json();
    assert_eq!((&shown["ParentID"], &shown["Name"], &shown["Periodic"]), (&json!("per"), &json!(child), &Value::Null));
    // Its eval is blocked: there is no node.
    running.until("/v1/job/per/summary", |summary| summary["Children"]["Pending"] == 1).await;

    // A launch every second comes by itself.
    running.register(periodic("* * * * * * *")).await;
    let has_two = |summary: &Value| summary["Children"]["Pending"].as_u64().is_some_and(|pending| pending >= 3);
    running.until("/v1/job/per/summary", has_two).await;

    let stopped = running.ask("DELETE", "/v1/job/per", "").await.json();
    assert_eq!(stopped["EvalID"], "");
    assert_ne!(stopped["JobModifyIndex"], 0);
    let check = async |path: &str, text: &str| {
        let answer = running.put(path, json!({})).await;
        assert_eq!((answer.status, answer.body.as_str()), (500, text));
    };
    let why = "force launch for job \"per\" failed: can't force run non-tracked job \"per\" (default)";
    check("/v1/job/per/periodic/force", why).await;
    check("/v1/job/zz/periodic/force", "job not found").await;
    running.register(job("web")).await;
    check("/v1/job/web/periodic/force", "can't force launch non-periodic job").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parameterized_job_is_dispatched() {
    let running = start().await;
    let mut parent = batch("par");
    parent["Meta"] = json!({ "base": "x", "who": "job" });
    parent["ParameterizedJob"] = json!({ "Payload": "optional", "MetaRequired": ["who"], "MetaOptional": ["opt"] });
    assert_eq!(running.register(parent).await.json()["EvalID"], "");
    let body = json!({ "Payload": "aGVsbG8=", "Meta": { "who": "me" }, "IdPrefixTemplate": "x", "Priority": 70 });
    let first = running.put("/v1/job/par/dispatch?idempotency_token=abc", body.clone()).await;
    let answer = first.json();
    let child = answer["DispatchedJobID"].as_str().unwrap().to_owned();
    assert!(child.starts_with("par/dispatch-x-"), "{answer}");
    assert_eq!((&answer["EvalCreateIndex"], &answer["JobCreateIndex"]), (&answer["Index"], &answer["Index"]));
    assert_eq!(first.index(), answer["Index"].as_u64().unwrap());
    let shown = running.get(&format!("/v1/job/{child}")).await.json();
    assert_eq!(shown["Meta"], json!({ "base": "x", "who": "me" }));
    let (payload, dispatched, parent) = (&shown["Payload"], &shown["Dispatched"], &shown["ParentID"]);
    assert_eq!((payload, dispatched, parent), (&json!("aGVsbG8="), &json!(true), &json!("par")));
    assert_eq!((&shown["Priority"], &shown["DispatchIdempotencyToken"]), (&json!(70), &json!("abc")));
    // What was dispatched launches nothing more, so lists do not call it parameterized.
    let listed = running.get("/v1/jobs").await.json();
    let is_parent =
        |id: &str| listed.as_array().unwrap().iter().find(|job| job["ID"] == *id).unwrap()["ParameterizedJob"].clone();
    assert_eq!((is_parent("par"), is_parent(&child)), (json!(true), json!(false)));
    let lines = json!({ "Payload": "aGVs\r\nbG8=", "Meta": { "who": "me" } });
    let answer = running.put("/v1/job/par/dispatch", lines).await.json();
    let shown = running.get(&format!("/v1/job/{}", answer["DispatchedJobID"].as_str().unwrap())).await.json();
    assert_eq!(shown["Payload"], "aGVsbG8=");
    let again = running.put("/v1/job/par/dispatch?idempotency_token=abc", body).await.json();
    assert_eq!(again["DispatchedJobID"], json!(child));
    assert_eq!((&again["EvalID"], &again["EvalCreateIndex"]), (&json!(""), &json!(0)));

    let check = async |path: &str, body: Value, status: u16, text: &str| {
        let answer = running.put(path, body).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, text));
    };
    let required = "Dispatch did not provide required meta keys: [who]";
    check("/v1/job/par/dispatch", json!({}), 500, required).await;
    check("/v1/job/par/dispatch/payload", json!("raw"), 500, required).await;
    check("/v1/job/par/dispatch", json!({ "JobID": "zz" }), 400, "Job ID does not match").await;
    check("/v1/job/par/dispatch", json!({ "Payload": "!!!" }), 400, "illegal base64 data at input byte 0").await;
    check("/v1/job/zz/dispatch", json!({}), 500, "parameterized job not found").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_dispatched_and_periodic_launches_once_it_is_dispatched() {
    let running = start().await;
    let mut both = periodic("* * * * * * *");
    both["ParameterizedJob"] = json!({ "Payload": "optional" });
    running.register(both).await;
    let forced = running.put("/v1/job/per/periodic/force", json!({})).await;
    assert_eq!(forced.status, 500);
    assert!(forced.body.contains("can't force run non-tracked job \"per\""), "{}", forced.body);
    let dispatched = running.put("/v1/job/per/dispatch", json!({})).await.json();
    assert_eq!((&dispatched["EvalID"], &dispatched["EvalCreateIndex"]), (&json!(""), &json!(0)));
    let child = dispatched["DispatchedJobID"].as_str().unwrap().to_owned();
    let summary = format!("/v1/job/{child}/summary");
    running.until(&summary, |summary| summary["Children"]["Pending"].as_u64().is_some_and(|count| count > 0)).await;
    // The first one launched nothing but the job that was dispatched.
    let summary = running.get("/v1/job/per/summary").await.json();
    assert_eq!(summary["Children"], json!({ "Dead": 0, "Pending": 0, "Running": 1 }));
    running.stop().await;
}
