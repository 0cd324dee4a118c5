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
    // Bound and closed again: the port refuses.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = Client::new(Config { address: format!("http://127.0.0.1:{port}"), ..Config::default() }).unwrap();
    let error = client.jobs(&QueryOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("Get \"http://127.0.0.1:{port}/v1/jobs\": dial tcp 127.0.0.1:{port}: connect: connection refused")
    );
    assert!(error.is_unanswered());
}
