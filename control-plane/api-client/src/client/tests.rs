use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use super::*;

/// Answers one request and hands back what was asked.
fn answer_once(answer: &'static str) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some((name, value)) = line.trim().split_once(": ")
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        reader.get_mut().write_all(answer.as_bytes()).unwrap();
        head + &String::from_utf8(body).unwrap()
    });
    (address, asked)
}

fn client(address: String) -> Client {
    Client::new(Config { address, token: "secret".into(), namespace: "team".into(), ..Config::default() }).unwrap()
}

#[test]
fn a_read_carries_token_and_parameters_and_brings_the_meta() {
    let (address, asked) = answer_once(
        "HTTP/1.1 200 OK\r\nContent-Length: 44\r\nX-Nomad-Index: 24\r\nX-Nomad-Knownleader: true\r\nX-Nomad-Lastcontact: 12\r\n\r\n\
         [{\"ID\":\"web\",\"Priority\":50,\"ParentID\":null}]",
    );
    let answer = client(address).jobs(&QueryOptions::prefix("we b")).unwrap();
    assert_eq!(answer.value[0].id, "web");
    assert_eq!(answer.value[0].parent_id, "");
    assert_eq!(answer.meta.index, 24);
    assert!(answer.meta.known_leader);
    assert_eq!(answer.meta.last_contact, Duration::from_millis(12));
    let asked = asked.join().unwrap().to_lowercase();
    assert!(asked.starts_with("get /v1/jobs?namespace=team&prefix=we%20b http/1.1"), "{asked}");
    assert!(asked.contains("x-nomad-token: secret"), "{asked}");
}

#[test]
fn a_write_carries_its_body() {
    let (address, asked) =
        answer_once("HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n{\"EvalID\":\"e1\",\"Warnings\":\"hello\"}");
    let register =
        crate::jobs::Register { job: serde_json::json!({ "ID": "web" }), enforce_index: Some(0), ..Default::default() };
    // The announced length is one byte short: the answer is cut and must not pass as JSON.
    let error = client(address).register_job(&register, &QueryOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Unreadable { .. }), "{error}");
    let asked = asked.join().unwrap();
    assert!(asked.starts_with("PUT /v1/jobs?namespace=team HTTP/1.1"), "{asked}");
    assert!(asked.ends_with(r#"{"EnforceIndex":true,"Job":{"ID":"web"},"JobModifyIndex":0}"#), "{asked}");
}

#[test]
fn a_refusal_keeps_status_and_text() {
    let (address, asked) =
        answer_once("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 20\r\n\r\nNo path to region\n\n\n");
    let error = client(address).jobs(&QueryOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "Unexpected response code: 500 (No path to region)");
    assert_eq!(error.status(), Some(500));
    asked.join().unwrap();
}

#[test]
fn nobody_there() {
    // Not one that was free a moment ago: another test may have it by now.
    let port = 1;
    let client = Client::new(Config { address: format!("http://127.0.0.1:{port}"), ..Config::default() }).unwrap();
    let error = client.jobs(&QueryOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("Get \"http://127.0.0.1:{port}/v1/jobs\": dial tcp 127.0.0.1:{port}: connect: connection refused")
    );
    assert!(error.is_unanswered());
}

#[test]
fn a_raw_call_brings_whatever_was_answered() {
    let (address, asked) = answer_once("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nX-Odd: 1\r\n\r\nnope");
    let client =
        Client::new(Config { address: address.clone(), http_auth: "me:pw".into(), ..Config::default() }).unwrap();
    let call = crate::raw::RawCall {
        method: "PATCH".to_owned(),
        url: format!("{address}/v1/nope?x=1"),
        headers: vec![("x-nomad-token".to_owned(), "mine".to_owned())],
        body: Some(b"{}".to_vec()),
    };
    let mut answer = client.raw(&call).unwrap();
    assert_eq!((answer.protocol.as_str(), answer.status.as_str()), ("HTTP/1.1", "404 Not Found"));
    assert!(answer.headers.contains(&("x-odd".to_owned(), "1".to_owned())));
    let mut body = String::new();
    answer.body.read_to_string(&mut body).unwrap();
    assert_eq!(body, "nope");
    let asked = asked.join().unwrap().to_lowercase();
    assert!(asked.starts_with("patch /v1/nope?x=1 http/1.1"), "{asked}");
    assert!(asked.contains("x-nomad-token: mine") && asked.contains("authorization: basic bwu6chc="), "{asked}");
    assert!(asked.ends_with("{}"), "{asked}");
}

#[test]
fn a_text_from_the_web_is_bounded() {
    let wait = Duration::from_secs(120);
    let (address, asked) = answer_once("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(crate::fetch::text(&format!("{address}/a.hcl"), 5, wait).unwrap(), "hello");
    assert!(asked.join().unwrap().starts_with("GET /a.hcl HTTP/1.1"));
    let (address, asked) = answer_once("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(crate::fetch::text(&format!("{address}/a.hcl"), 4, wait).unwrap_err(), "more than 4 bytes");
    asked.join().unwrap();
    let (address, asked) = answer_once("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(crate::fetch::text(&address, 4, wait).unwrap_err(), "bad response code: 404");
    asked.join().unwrap();
}

#[test]
fn an_agent_behind_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let asked = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        let mut first = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            if first.is_empty() {
                first.clone_from(&line);
            }
            line.clear();
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
        reader.get_mut().write_all(answer.as_bytes()).unwrap();
        first
    });
    let over = |path: &std::path::Path| {
        Client::new(Config { address: format!("unix://{}", path.display()), ..Config::default() }).unwrap()
    };
    assert!(over(&path).jobs(&QueryOptions::default()).unwrap().value.is_empty());
    assert_eq!(asked.join().unwrap(), "GET /v1/jobs HTTP/1.1\r\n");
    let error = over(&dir.path().join("no.sock")).jobs(&QueryOptions::default()).unwrap_err();
    let socket = dir.path().join("no.sock");
    assert_eq!(
        error.to_string(),
        format!("Get \"http://127.0.0.1/v1/jobs\": dial unix {}: connect: no such file or directory", socket.display())
    );
}
