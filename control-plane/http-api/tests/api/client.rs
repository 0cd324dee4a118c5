//! What is asked of edges, where no edge is needed to refuse it.

use drover_websocket::{Decoder, Message, accept_key, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Running, start};

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
    running.stop().await;
}

/// Opens a WebSocket, says that, and gives what is heard first.
async fn exec(running: &Running, query: &str, said: &[&str]) -> Message {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!(
        "GET /v1/client/allocation/{NOBODY}/exec?{query} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a2V5\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for text in said {
        stream.write_all(&encode(&Message::Text((*text).to_owned()), Some([1, 2, 3, 4]))).await.unwrap();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let text = String::from_utf8(answer[..end].to_vec()).unwrap();
    assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
    assert!(text.contains(&format!("sec-websocket-accept: {}\r\n", accept_key("a2V5"))), "{text}");
    let mut decoder = Decoder::of_server();
    decoder.put(&answer[end..]);
    decoder.next_message().unwrap().unwrap()
}

#[tokio::test]
async fn a_session_that_can_not_be_is_closed_with_its_reason() {
    let running = start().await;
    let check = async |query: &str, said: &[&str], code: u16, text: &str| {
        assert_eq!(exec(&running, query, said).await, Message::Close(code, text.to_owned()), "{query}");
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
