//! Lists: filters, pages, and both together.

use serde_json::{Value, json};

use crate::support::{job, start};

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["ID"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_filtered_by_what_they_are_and_not_by_what_the_list_shows() {
    let running = start().await;
    for (id, team) in [("a", "ops"), ("b", "dev"), ("c", "ops"), ("d", "ops")] {
        let mut job = job(id);
        job["Meta"] = json!({ "team": team });
        running.register(job).await;
    }
    let list = async |query: &str| running.get(&format!("/v1/jobs?{query}")).await;
    assert_eq!(ids(&list("filter=Meta.team==ops").await.json()), ["a", "c", "d"]);
    assert_eq!(ids(&list("filter=Meta.team+!=+ops").await.json()), ["b"]);
    assert_eq!(
        ids(&list("filter=Meta.nope+is+empty+and+not+ID+matches+%22%5E%5Bab%5D%24%22").await.json()),
        ["c", "d"]
    );
    assert_eq!(ids(&list("filter=any+TaskGroups+as+g+%7B+g.Count+==+2+%7D&prefix=b").await.json()), ["b"]);
    // A page holds as many as pass, and the token names the next that does.
    let first = list("filter=Meta.team==ops&per_page=2").await;
    assert_eq!((ids(&first.json()), first.header("x-nomad-nexttoken")), (vec!["a", "c"], "default.d"));
    let second = list("filter=Meta.team==ops&per_page=2&next_token=default.d").await;
    assert_eq!((ids(&second.json()), second.header("x-nomad-nexttoken")), (vec!["d"], ""));
    assert_eq!(ids(&list("reverse=true&filter=Meta.team==ops").await.json()), ["d", "c", "a"]);

    let check = async |path: &str, status: u16, text: &str| {
        let answer = running.get(path).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, text), "{path}");
    };
    let unread = "failed to create result paginator: failed to read filter expression: 1:3 (2): no match found, expected: \"!=\", \"==\", \"contains\", \"in\", \"is\", \"matches\", \"not\" or [ \\t\\r\\n]";
    let nope = "failed to read result page: error finding value in datum: /Nope at part 0: couldn't find key: struct field with name \"Nope\"";
    check("/v1/jobs?filter=a+z", 400, unread).await;
    check("/v1/jobs?filter=Nope==3", 400, nope).await;
    check("/v1/jobs/statuses?filter=a+z", 500, unread).await;
    check("/v1/jobs/statuses?filter=Nope==3", 500, nope).await;
    check("/v1/nodes?filter=a+z", 400, unread).await;
    check("/v1/deployments?filter=a+z", 400, unread).await;
    check("/v1/allocations?filter=a+z", 400, unread).await;
    check("/v1/evaluations?filter=a+z", 400, unread).await;
    check("/v1/evaluations?filter=Nope==3", 400, nope).await;
    check("/v1/evaluations?job=a&filter=Nope==3", 400, "Filter expression cannot be used with other filter parameters")
        .await;
    let bare = "1:3 (2): no match found, expected: \"!=\", \"==\", \"contains\", \"in\", \"is\", \"matches\", \"not\" or [ \\t\\r\\n]";
    check("/v1/evaluations/count?filter=a+z", 500, bare).await;
    // Sub-lists do not know filters.
    assert_eq!(running.get("/v1/job/a/evaluations?filter=a+z").await.status, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_lists_are_filtered_too() {
    let running = start().await;
    let node = running.add_node().await.to_string();
    let eval = running.register(job("web")).await.json()["EvalID"].as_str().unwrap().to_owned();
    running.register(job("db")).await;
    running.until("/v1/allocations", |allocs| allocs.as_array().is_some_and(|allocs| allocs.len() == 4)).await;
    let count = async |path: &str| match running.get(path).await.json() {
        Value::Array(items) => items.len() as u64,
        other => other["Count"].as_u64().unwrap(),
    };
    assert_eq!(count("/v1/allocations?filter=JobID==web").await, 2);
    assert_eq!(count("/v1/allocations?filter=Job.ID==web+and+Metrics.NodesEvaluated+!=+0").await, 2);
    assert_eq!(count("/v1/allocations?filter=NextAllocation+is+not+empty").await, 0);
    assert_eq!(count(&format!("/v1/evaluations?filter=ID==%22{eval}%22")).await, 1);
    assert_eq!(count("/v1/evaluations/count?filter=JobID==web+and+BlockedEval+is+empty").await, 1);
    assert_eq!(count("/v1/evaluations/count?filter=Nope==3").await, 0);
    assert_eq!(count("/v1/nodes?filter=Attributes%5B%22os.name%22%5D==debian").await, 1);
    assert_eq!(count("/v1/nodes?filter=Drivers.raw_exec.Healthy==false").await, 0);
    assert_eq!(count(&format!("/v1/nodes?filter=ID+!=+%22{node}%22")).await, 0);
    assert_eq!(count("/v1/deployments?filter=Status==running+and+JobID==web").await, 1);
    assert_eq!(count("/v1/deployments?filter=Status==failed").await, 0);
    assert_eq!(count("/v1/jobs/statuses?filter=Type==service").await, 2);
    running.stop().await;
}
