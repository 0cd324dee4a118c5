//! Two regions below one root, each with a server: either answers for the other, and neither needs it.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use drover_certs::{Authority, AuthorityPem, Lifetimes};
use drover_http_api::ServeOptions;
use drover_server::{JoinSettings, MemberStatus, Settings};
use serde_json::json;

use crate::support::{PATIENCE, Running, job, start_from};

/// The first server of a region, which joins by that gossip address.
async fn start(region: &str, dir: tempfile::TempDir, join: Option<String>) -> Running {
    let name = format!("{region}-1");
    let join = JoinSettings {
        retry: join.into_iter().collect(),
        interval: Duration::from_millis(100),
        ..JoinSettings::default()
    };
    let settings = Settings { region: region.to_owned(), join, ..Settings::alone(&name, dir.path().to_owned()) };
    start_from(dir, settings, ServeOptions::default()).await
}

/// What a new region gets from the root's holder.
fn found_region(region: &str, holder: &Path, dir: &Path) {
    let read = |name: &str| fs::read_to_string(holder.join("tls").join(name)).unwrap();
    let texts = AuthorityPem {
        root: read("root.pem"),
        intermediate: read("region.pem"),
        key: read("region-key.pem"),
        root_key: Some(read("root-key.pem")),
    };
    let root = Authority::from_pem(&texts).unwrap();
    let made = root.create_region(region.parse().unwrap(), SystemTime::now(), &Lifetimes::default()).unwrap();
    let texts = made.without_root_key().to_pem();
    let tls = dir.join("tls");
    fs::create_dir(&tls).unwrap();
    for (name, text) in [("root.pem", &texts.root), ("region.pem", &texts.intermediate), ("region-key.pem", &texts.key)]
    {
        fs::write(tls.join(name), text).unwrap();
    }
}

async fn two_regions() -> (Running, Running) {
    let (west_dir, east_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let west_path = west_dir.path().to_owned();
    let west = start("west", west_dir, None).await;
    found_region("east", &west_path, east_dir.path());
    let east = start("east", east_dir, Some(west.server.info().gossip_advertise.to_string())).await;
    for running in [&west, &east] {
        let mut watch = running.server.membership().watch();
        let both = watch.wait_for(|directory| directory.regions() == ["east", "west"]);
        tokio::time::timeout(PATIENCE, both).await.unwrap().unwrap();
    }
    (west, east)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_region_answers_for_the_other() {
    let (west, east) = two_regions().await;
    for running in [&west, &east] {
        assert_eq!(running.get("/v1/regions").await.json(), json!(["east", "west"]));
    }
    // By the parameter, for writes and reads; the answer is the other region's, headers included.
    let written = west.put("/v1/jobs?region=east", json!({ "Job": job("by-parameter") })).await;
    assert_eq!(written.status, 200, "{written:?}");
    assert!(written.index() > 0);
    let read = west.get("/v1/job/by-parameter?region=east").await;
    assert_eq!((read.status, &read.json()["Region"]), (200, &json!("east")));
    assert_eq!(read.header("content-type"), "application/json");
    assert_eq!(west.get("/v1/job/by-parameter").await.status, 404);
    assert_eq!(east.get("/v1/job/by-parameter").await.status, 200);
    // By the job.
    let mut of_west = job("by-job");
    of_west["Region"] = json!("west");
    for (path, body) in [
        ("/v1/job/by-job/plan", json!({ "Job": of_west, "Diff": true })),
        ("/v1/validate/job", json!({ "Job": of_west })),
        ("/v1/jobs", json!({ "Job": of_west })),
    ] {
        let answer = east.put(path, body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    assert_eq!(west.get("/v1/job/by-job").await.status, 200);
    assert_eq!(east.get("/v1/job/by-job").await.status, 404);
    // Its own name is no detour.
    assert_eq!(west.get("/v1/job/by-job?region=west").await.status, 200);
    // The leader is asked of the region, not of the agent.
    let leader = west.get("/v1/status/leader?region=east").await.json();
    assert_eq!(leader, json!(east.server.info().rpc_advertise.to_string()));
    // Problems of the other region come back as they are.
    let missing = west.get("/v1/job/nosuch?region=east").await;
    assert_eq!((missing.status, missing.body.as_str()), (404, "job not found"));
    // Who is on this host is not on that one.
    assert_eq!(west.ask("PUT", "/v1/operator/join-token?region=east", "{}").await.status, 403);
    west.stop().await;
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_read_waits_in_the_other_region() {
    let (west, east) = two_regions().await;
    let index = west.get("/v1/jobs?region=east").await.index();
    let path = format!("/v1/jobs?region=east&index={index}&wait=60s");
    let (read, _) = tokio::join!(west.get(&path), east.register(job("web")));
    assert_eq!(read.json()[0]["ID"], json!("web"));
    assert!(read.index() > index);
    west.stop().await;
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_is_unknown_and_one_that_is_lost_are_told_apart() {
    let (west, east) = two_regions().await;
    for path in ["/v1/jobs?region=north", "/v1/status/leader?region=north"] {
        let answer = west.get(path).await;
        assert_eq!((answer.status, answer.body.as_str()), (500, "No path to region"), "{path}");
    }
    // Stopped without a goodbye: at first nobody knows, later gossip does. Nothing hangs, and the own region goes on.
    let mut watch = west.server.membership().watch();
    east.stop().await;
    let answer = west.get("/v1/jobs?region=east").await;
    assert_eq!(answer.status, 500);
    assert!(answer.body.starts_with("region \"east\" "), "{}", answer.body);
    west.register(job("web")).await;
    let gone = watch.wait_for(|directory| {
        directory
            .of_region("east")
            .iter()
            .all(|member| matches!(member.status, MemberStatus::Failed | MemberStatus::Left))
    });
    tokio::time::timeout(PATIENCE, gone).await.unwrap().unwrap();
    let answer = west.get("/v1/jobs?region=east").await;
    let expected = "region \"east\" can't be reached: none of its servers answers";
    assert_eq!((answer.status, answer.body.as_str()), (500, expected));
    assert_eq!(west.get("/v1/regions").await.json(), json!(["east", "west"]));
    assert_eq!(west.get("/v1/job/web").await.status, 200);
    west.stop().await;
}
