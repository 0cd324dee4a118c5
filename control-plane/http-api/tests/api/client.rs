//! What is asked of edges, where no edge is needed to refuse it.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Running, start, within};

const NOBODY: &str = "11111111-2222-3333-4444-555555555555";

#[tokio::test]
async fn what_no_edge_is_needed_for_is_refused_in_words() {
    let running = start().await;
    let unknown = format!("Unknown allocation \"{NOBODY}\"");
    let no_name = "must provide a file name";
    let no_uuid = "alloc lookup failed: index error: UUID must be 36 characters";
    let check = async |method: &str, path: &str, body: &str, status: u16, expected: &str| {
        let answer = running.ask(method, path, body).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, expected), "{method} {path} {body}");
    };
    let fs = |route: &str| format!("/v1/client/fs/{route}");
    check("GET", &fs(&format!("ls/{NOBODY}")), "", 404, &unknown).await;
    check("GET", &fs("ls/zz"), "", 500, no_uuid).await;
    check("GET", &fs(&format!("stat/{NOBODY}")), "", 400, no_name).await;
    check("GET", &fs(&format!("stat/{NOBODY}?path=x")), "", 404, &unknown).await;
    check("GET", &fs(&format!("cat/{NOBODY}")), "", 200, no_name).await;
    check("GET", &fs(&format!("cat/{NOBODY}?path=x")), "", 200, &unknown).await;
    let no_offset = "error parsing offset: strconv.ParseInt: parsing \"\": invalid syntax";
    check("GET", &fs(&format!("readat/{NOBODY}?path=x")), "", 200, no_offset).await;
    check("GET", &fs(&format!("stream/{NOBODY}")), "", 400, no_name).await;
    check("GET", &fs(&format!("stream/{NOBODY}?path=x&origin=zz")), "", 400, "origin must be start or end").await;
    let wrong = "error parsing offset: strconv.ParseInt: parsing \"zz\": invalid syntax";
    check("GET", &fs(&format!("stream/{NOBODY}?path=x&offset=zz")), "", 500, wrong).await;
    let alloc = |route: &str| format!("/v1/client/allocation/{NOBODY}/{route}");
    check("PUT", &alloc("restart"), "", 404, &unknown).await;
    check("PUT", &alloc("restart"), "{}", 404, &unknown).await;
    check("PUT", &alloc("signal"), "{}", 404, &unknown).await;
    check("PUT", &alloc("signal"), "", 400, "Failed to decode body: Request body is empty").await;
    check("GET", &alloc("signal"), "", 405, "Invalid method").await;
    let no_command = "failed to marshal command into json: unexpected end of JSON input";
    check("GET", &alloc("exec"), "", 500, no_command).await;
    check("GET", "/v1/client/stats", "", 400, "No local Node and node_id not provided").await;
    let node = format!("/v1/client/stats?node_id={NOBODY}");
    check("GET", &node, "", 404, &format!("Unknown node {NOBODY}")).await;
    check("PUT", &alloc("gc"), "", 404, &unknown).await;
    check("GET", "/v1/client/allocation/zz/gc", "", 500, no_uuid).await;
    check("GET", "/v1/client/gc", "", 400, "No local Node and node_id not provided").await;
    check("PUT", &format!("/v1/client/gc?node_id={NOBODY}"), "", 500, &format!("Unknown node {NOBODY}")).await;
    let meta = "/v1/client/metadata";
    let unknown_node = format!("Unknown node {NOBODY}");
    check("PUT", meta, "{}", 405, "Invalid method").await;
    check("POST", meta, "", 400, "Request body is empty").await;
    check("POST", meta, "{", 400, "unexpected EOF").await;
    check("POST", meta, "{}", 400, "missing required Meta object").await;
    check("POST", meta, r#"{"Meta":{"a":null}}"#, 400, "No local Node and node_id not provided").await;
    check("POST", meta, &format!(r#"{{"NodeID":"{NOBODY}","Meta":{{}}}}"#), 500, &unknown_node).await;
    check("GET", &format!("{meta}?node_id={NOBODY}"), "", 500, &unknown_node).await;
    let page = "GET /v1/client/allocation/x/exec HTTP/1.1\r\nHost: localhost:4646\r\nOrigin: http://evil.example\r\n\
                Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a2V5\r\n\r\n";
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(page.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    within("a status", stream.read_exact(&mut status)).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 403", "a page of somebody else's may not run commands");
    running.stop().await;
}

/// Opens a WebSocket, says that, and gives the code and the text it is closed with.
async fn exec(running: &Running, query: &str, said: &[&str]) -> (u16, String) {
    let stream = TcpStream::connect(running.address).await.unwrap();
    let url = format!("ws://{}/v1/client/allocation/{NOBODY}/exec?{query}", running.address);
    let (mut socket, _) = within("a handshake", tokio_tungstenite::client_async(url, stream)).await.unwrap();
    for text in said {
        socket.send(Message::text(*text)).await.unwrap();
    }
    match within("the end of a session", socket.next()).await.unwrap().unwrap() {
        Message::Close(Some(frame)) => (frame.code.into(), frame.reason.as_str().to_owned()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_session_that_can_not_be_is_closed_with_its_reason() {
    let running = start().await;
    let check = async |query: &str, said: &[&str], code: u16, text: &str| {
        assert_eq!(exec(&running, query, said).await, (code, text.to_owned()), "{query}");
    };
    let command = "command=%5B%22true%22%5D&task=loop&tty=false";
    let unknown = format!("Unknown allocation \"{NOBODY}\"");
    check(command, &[], 1008, &unknown).await;
    check("command=", &[], 1011, "failed to marshal command into json: unexpected end of JSON input").await;
    check("command=%5B%5D", &[], 1008, "command is not present").await;
    let tty = "tty value is not a boolean: strconv.ParseBool: parsing \"zz\": invalid syntax";
    check("command=%5B%22true%22%5D&tty=zz", &[], 1011, tty).await;
    let shaking = format!("{command}&ws_handshake=true");
    check(&shaking, &[r#"{"version": 1, "auth_token": ""}"#], 1008, &unknown).await;
    check(&shaking, &[r#"{"version": 2, "auth_token": ""}"#], 1008, "unexpected handshake value: 2").await;
    running.stop().await;
}
