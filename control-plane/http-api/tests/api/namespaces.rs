//! Namespaces: made, changed, used and forgotten.

use serde_json::{Value, json};

use crate::support::{job, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_life_of_a_namespace() {
    let running = start().await;
    let all = running.get("/v1/namespaces").await;
    assert_eq!((all.status, all.index()), (200, 1));
    let mut built_in = all.json()[0].clone();
    assert_eq!(built_in["Hash"].take().as_str().map(str::len), Some(44));
    let expected = json!({
        "Capabilities": null, "ConsulConfiguration": null, "CreateIndex": 1, "Description": "Default shared namespace",
        "Hash": null, "Meta": null, "ModifyIndex": 1, "Name": "default", "NodePoolConfiguration": null,
        "OptionalExtraClaims": null, "Quota": "", "RequiredExtraClaims": null, "VaultConfiguration": null,
    });
    assert_eq!(built_in, expected);

    let missing = running.get("/v1/namespace/team").await;
    assert_eq!((missing.status, missing.body.as_str(), missing.index()), (404, "Namespace not found", 1));
    // Who waits for a namespace hears of it.
    let path = format!("/v1/namespaces?index={}&wait=60s", all.index());
    let body = json!({
        "Name": "team", "Description": "team space", "Meta": { "owner": "ops" },
        "Capabilities": { "EnabledTaskDrivers": ["raw_exec", "java"] },
    });
    let (woken, made) = tokio::join!(running.get(&path), running.put("/v1/namespace", body));
    assert_eq!((made.status, made.body.as_str()), (200, ""));
    assert_eq!(woken.index(), made.index());
    let team = running.get("/v1/namespace/team").await;
    assert_eq!(team.index(), made.index());
    assert_eq!(
        team.json()["Capabilities"],
        json!({
            "DisabledNetworkModes": null, "DisabledTaskDrivers": null, "EnabledNetworkModes": null,
            "EnabledTaskDrivers": ["raw_exec", "java"],
        })
    );
    assert_eq!(running.get("/v1/namespaces?prefix=te").await.json().as_array().map(Vec::len), Some(1));
    let search = running.put("/v1/search", json!({ "Prefix": "t", "Context": "namespaces" })).await.json();
    assert_eq!(search["Matches"]["namespaces"], json!(["team"]));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused() {
    let running = start().await;
    let check = async |method: &str, path: &str, body: Value, status: u16, text: &str| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = running.ask(method, path, &body).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, text), "{method} {path} {body}");
    };
    check("PUT", "/v1/namespace", json!(null), 400, "Request body is empty").await;
    let name = "1 error occurred:\n\t* invalid name \"x y\". Must match regex ^[a-zA-Z0-9-]{1,128}$\n\n";
    check("PUT", "/v1/namespace", json!({ "Name": "x y" }), 500, &format!("Invalid namespace \"x y\": {name}")).await;
    let quota = "namespace \"q\" using non-existent quota \"zz\"";
    check("PUT", "/v1/namespace", json!({ "Name": "q", "Quota": "zz" }), 500, quota).await;
    let mismatch = "Namespace name does not match request path";
    check("POST", "/v1/namespace/team", json!({ "Name": "other" }), 400, mismatch).await;
    check("GET", "/v1/namespace/", json!(null), 400, "Missing Namespace Name").await;
    check("GET", "/v1/namespace", json!(null), 405, "Invalid method").await;
    check("DELETE", "/v1/namespace/default", json!(null), 500, "can not delete default namespace").await;
    check("DELETE", "/v1/namespace/zz", json!(null), 500, "namespace not found").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_in_namespaces() {
    let running = start().await;
    let inside = |driver: &str| {
        let mut inside = job("web");
        inside["TaskGroups"][0]["Tasks"][0]["Driver"] = driver.into();
        json!({ "Job": inside })
    };
    let register = async |driver: &str| {
        let answer = running.put("/v1/jobs?namespace=team", inside(driver)).await;
        (answer.status, answer.body)
    };
    let (status, text) = register("raw_exec").await;
    assert_eq!(status, 500);
    assert_eq!(text, "1 error occurred:\n\t* job \"web\" is in nonexistent namespace \"team\"\n\n");

    let team = json!({ "Name": "team", "Capabilities": { "DisabledTaskDrivers": ["exec"] } });
    assert_eq!(running.put("/v1/namespace/team", team).await.status, 200);
    let (status, text) = register("exec").await;
    assert_eq!(status, 500);
    assert_eq!(text, "1 error occurred:\n\t* used task driver \"exec\" is not allowed in namespace \"team\"\n\n");
    let planned = running.put("/v1/job/web/plan?namespace=team", inside("exec")).await;
    assert_eq!((planned.status, planned.body), (500, text));
    assert_eq!(register("raw_exec").await.0, 200);
    running.register(job("web")).await;

    let count = async |query: &str| {
        let list = running.get(&format!("/v1/jobs{query}")).await.json();
        list.as_array().map(Vec::len)
    };
    assert_eq!(count("").await, Some(1));
    assert_eq!(count("?namespace=team").await, Some(1));
    assert_eq!(count("?namespace=*").await, Some(2));
    assert_eq!(count("?namespace=nosuch").await, Some(0));

    let in_use = running.ask("DELETE", "/v1/namespace/team", "").await;
    let text = "1 error occurred:\n\t* namespace \"team\" has non-terminal jobs in regions: [global]\n\n";
    assert_eq!((in_use.status, in_use.body.as_str()), (500, text));
    assert_eq!(running.ask("DELETE", "/v1/job/web?namespace=team&purge=true", "").await.status, 200);
    let gone = running.ask("DELETE", "/v1/namespace/team", "").await;
    assert_eq!((gone.status, gone.body.as_str()), (200, ""));
    assert!(gone.index() > 0);
    assert_eq!(running.get("/v1/namespaces").await.json().as_array().map(Vec::len), Some(1));
    running.stop().await;
}
