use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Running, job, start};

/// A call whose body and answer are bytes: status, headers, body.
async fn call(running: &Running, method: &str, path: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let exchange = async {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::time::timeout(super::support::PATIENCE, exchange).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), answer[end + 4..].to_vec())
}

const PATH: &str = "/v1/operator/snapshot";

#[tokio::test(flavor = "multi_thread")]
async fn a_new_region_takes_everything_over() {
    let old = start().await;
    old.add_node().await;
    old.register(job("web")).await;
    let allocs =
        old.until("/v1/job/web/allocations", |allocs| allocs.as_array().is_some_and(|all| all.len() == 2)).await;
    old.until("/v1/job/web/deployments", |all| all.as_array().is_some_and(|all| all.len() == 1)).await;
    old.server.create_join_token(Default::default()).await.unwrap();
    let (status, head, file) = call(&old, "GET", PATH, b"").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/octet-stream"), "{head}");
    assert!(head.contains(&format!("content-length: {}", file.len())), "{head}");
    assert!(!head.contains("x-nomad-index"), "{head}");
    let mut copy = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut copy, &file).unwrap();
    let digest = STANDARD.encode(drover_server::snapshots::file_digest(&copy).unwrap());
    assert!(head.contains(&format!("digest: sha-256={}", digest.to_lowercase())), "{head}");
    let read = async |running: &Running, path: &str| running.get(path).await.json();
    let paths = ["/v1/nodes", "/v1/deployments", "/v1/operator/join-token", "/v1/evaluations", "/v1/job/web/versions"];
    let mut before = Vec::new();
    for path in paths {
        before.push(read(&old, path).await);
    }
    old.stop().await;

    let new = start().await;
    new.register(job("other")).await;
    // Nothing more changes by itself.
    let is_blocked = |evals: &serde_json::Value| {
        evals.as_array().is_some_and(|all| all.iter().any(|eval| eval["Status"] == "blocked"))
    };
    new.until("/v1/evaluations", is_blocked).await;
    let index = new.get("/v1/jobs").await.index();
    let jobs = format!("/v1/jobs?index={index}&wait=60s");
    let waiting = new.get(&jobs);
    let restore = call(&new, "PUT", PATH, &file);
    let (woken, (status, _, body)) = tokio::join!(waiting, restore);
    assert_eq!((status, body.as_slice()), (200, b"".as_slice()));
    // Whoever waited is told, and of an index above all there were.
    assert!(woken.index() > index && woken.json()[0]["ID"] == "web", "{woken:?}");
    assert_eq!(new.get("/v1/job/other").await.status, 404);
    let restored = read(&new, "/v1/job/web/allocations").await;
    assert_eq!(restored.as_array().unwrap().len(), 2);
    for alloc in allocs.as_array().unwrap() {
        assert!(restored.as_array().unwrap().iter().any(|other| other["ID"] == alloc["ID"]));
    }
    for (path, before) in paths.iter().zip(before) {
        let after = read(&new, path).await;
        let ids = |all: &serde_json::Value| -> Vec<String> {
            let all = all.get("Versions").unwrap_or(all).as_array().unwrap();
            all.iter().map(|one| one["ID"].to_string()).collect()
        };
        assert!(!ids(&before).is_empty(), "{path}");
        // The new leader may have added evals of its own.
        assert!(ids(&before).iter().all(|id| ids(&after).contains(id)), "{path}: {before} {after}");
    }
    // The leader's duties go on with what is there now.
    new.register(job("more")).await;
    new.until("/v1/job/more/allocations", |allocs| allocs.as_array().is_some_and(|all| all.len() == 2)).await;
    new.stop().await;
}

#[tokio::test]
async fn what_is_no_whole_snapshot_is_refused_in_one_line() {
    let running = start().await;
    running.server.create_join_token(Default::default()).await.unwrap();
    let (_, _, file) = call(&running, "GET", PATH, b"").await;
    let before = running.server.reading().snapshot.digest();
    let check = async |body: &[u8], expected: &str| {
        let (status, _, text) = call(&running, "POST", PATH, body).await;
        let text = String::from_utf8(text).unwrap();
        assert_eq!((status, text), (500, format!("failed to restore from snapshot: {expected}")));
    };
    let len = file.len();
    check(b"", "this is not a snapshot of a drover region").await;
    check(b"{}", "this is not a snapshot of a drover region").await;
    check(&file[..len / 2], &format!("snapshot is cut short: {} of {len} bytes", len / 2)).await;
    let mut changed = file.clone();
    changed[len / 2] ^= 1;
    check(&changed, "snapshot is damaged: its digest differs").await;
    changed = file.clone();
    changed[7] = b'3';
    check(&changed, "snapshot has form 3, this drover reads up to form 2").await;
    assert_eq!(running.server.reading().snapshot.digest(), before);
    assert_eq!(call(&running, "GET", &format!("{PATH}?stale"), b"").await.0, 200);
    assert_eq!(running.ask("DELETE", PATH, "").await.status, 405);
    running.stop().await;
}

#[tokio::test]
async fn one_restores_at_a_time_and_few_save() {
    let running = start().await;
    let taken = running.server.incoming_snapshot().await.unwrap();
    let (status, _, text) = call(&running, "PUT", PATH, b"x").await;
    let expected = "failed to restore from snapshot: a snapshot is being restored already";
    assert_eq!((status, String::from_utf8(text).unwrap().as_str()), (500, expected));
    drop(taken);
    let first = running.server.save_snapshot(true).await.unwrap();
    let _second = running.server.save_snapshot(true).await.unwrap();
    let (status, _, text) = call(&running, "GET", PATH, b"").await;
    assert_eq!((status, String::from_utf8(text).unwrap().as_str()), (500, "2 snapshots are being saved already"));
    drop(first);
    assert_eq!(call(&running, "GET", PATH, b"").await.0, 200);
    running.stop().await;
}
