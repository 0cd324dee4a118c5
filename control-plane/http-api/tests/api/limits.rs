//! What is refused: unknown paths, bodies and heads that are too large, callers that may not.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use drover_certs::Secret;
use drover_http_api::body::BODY_BYTES_MAX;
use drover_http_api::serve::HEAD_BYTES_MAX;
use drover_server::Server;
use drover_server::join_tokens::TokenOrder;
use serde_json::json;

use crate::support::start;

#[tokio::test]
async fn unknown_paths_have_no_route() {
    let running = start().await;
    for path in ["/v1/nosuch", "/", "/v1/job/web/services", "/v1/node/x/drain", "/v1/vars"] {
        let answer = running.get(path).await;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.body, format!("no route for GET {path}"));
        assert_eq!(running.ask("OPTIONS", path, "").await.status, 404);
    }
    assert_eq!(running.get("/v1/job/%zz").await.status, 400);
    running.stop().await;
}

#[tokio::test]
async fn a_path_tells_its_methods() {
    let running = start().await;
    let check = async |path: &str, allow: &str| {
        let answer = running.ask("OPTIONS", path, "").await;
        assert_eq!((answer.status, answer.header("allow")), (204, allow), "{path}");
    };
    check("/v1/jobs", "GET, PUT, POST").await;
    check("/v1/job/web", "GET, PUT, POST, DELETE").await;
    check("/v1/agent/self", "GET").await;
    let wrong = running.ask("DELETE", "/v1/jobs", "").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, "GET, PUT, POST"));
    running.stop().await;
}

#[tokio::test]
async fn pages_of_other_origins_may_read_logs_and_nothing_else() {
    let running = start().await;
    let asking = [("Origin", "https://ui.example"), ("Access-Control-Request-Method", "GET")];
    let logs = "/v1/client/fs/logs/11111111-2222-3333-4444-555555555555";
    let preflight = running.ask_with("OPTIONS", logs, &asking, "").await;
    assert_eq!(preflight.header("access-control-allow-origin"), "https://ui.example");
    assert_eq!(preflight.header("access-control-allow-methods"), "HEAD, GET");
    let preflight = running.ask_with("OPTIONS", "/v1/jobs", &asking, "").await;
    assert_eq!(preflight.header("access-control-allow-origin"), "");
    let answer = running.ask_with("GET", logs, &asking[..1], "").await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://ui.example");
    running.stop().await;
}

#[tokio::test]
async fn too_large_is_said() {
    let running = start().await;
    let body = " ".repeat(BODY_BYTES_MAX + 1);
    let answer = running.ask_with("PUT", "/v1/jobs", &[("Expect", "100-continue")], &body).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(answer.body, format!("request body too large: at most {BODY_BYTES_MAX} bytes are taken"));
    let head = "x".repeat(2 * HEAD_BYTES_MAX);
    assert_eq!(running.ask_with("GET", "/v1/jobs", &[("X-Long", &head)], "").await.status, 431);
    assert_eq!(running.get("/v1/jobs").await.status, 200);
    running.stop().await;
}

#[tokio::test]
async fn join_tokens_are_made_for_callers_on_this_host_only() {
    let running = start().await;
    let path = "/v1/operator/join-token";
    let order = |uses: u32, time: i64, proof: &str| json!({ "Role": "client", "Uses": uses, "TTL": "1h", "NodePool": "gold", "Time": time, "Proof": proof });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let signed = |time| {
        TokenOrder { role: "client", uses: Some(3), ttl: "1h", node_pool: "gold", datacenter: "", region: "", time }
            .message()
    };
    let secret = host_secret(&running.server);
    let proof = |time| secret.mac(&signed(time)).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let refusals = [
        ("unsigned", order(3, now, "")),
        ("no number", order(3, now, "zz")),
        ("another order", order(4, now, &proof(now))),
        ("an old one", order(3, now - 3600, &proof(now - 3600))),
    ];
    for (what, body) in refusals {
        let refused = running.put(path, body).await;
        assert_eq!(refused.status, 403, "{what}: {refused:?}");
        assert!(refused.body.contains("host file"), "{what}: {refused:?}");
    }
    let made = running.put(path, order(3, now, &proof(now))).await;
    assert_eq!(made.status, 200, "{made:?}");
    let made = made.json();
    assert!(made["Token"].as_str().is_some_and(|text| text.starts_with("drover1.client.global.")));
    assert_eq!((&made["Uses"], &made["NodePool"]), (&json!(3), &json!("gold")));
    let listed = running.get(path).await;
    assert_eq!(listed.json()[0]["ID"], made["ID"]);
    assert!(!listed.body.contains(made["Token"].as_str().unwrap()));
    for header in [("Origin", "https://evil.example"), ("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1")]
    {
        let refused = running.ask_with("PUT", path, &[header], "{}").await;
        assert_eq!(refused.status, 403, "{header:?}");
    }
    running.stop().await;
}

/// The secret in the file that the server wrote for its own host.
fn host_secret(server: &Server) -> Secret {
    let rpc = server.info().rpc_advertise.to_string();
    let uid = rustix::process::geteuid().as_raw();
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let dir = drover_server::join_tokens::host_file_directory(uid, runtime_dir.as_deref());
    let files = std::fs::read_dir(&dir).unwrap().filter_map(|entry| std::fs::read(entry.unwrap().path()).ok());
    let file = files
        .filter_map(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
        .find(|file| file["rpc"] == rpc.as_str())
        .expect("the server wrote its file");
    file["secret"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_stop_does_not_wait_for_blocked_reads() {
    let running = start().await;
    let index = running.get("/v1/jobs").await.index();
    let address = running.address;
    let mut blocked = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /v1/jobs?index={index}&wait=300s HTTP/1.1\r\nHost: drover\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut blocked, request.as_bytes()).await.unwrap();
    tokio::time::timeout(crate::support::PATIENCE, running.stop()).await.expect("the API stops");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
