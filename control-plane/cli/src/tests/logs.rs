use serde_json::{Value, json as j};

use super::{Agent, Reply, json, text};

const ALLOC: &str = "377e8c08-580d-d519-6c20-38ac25d28ab2";

fn frames(texts: &[&str]) -> Reply {
    use std::fmt::Write;
    let mut body = String::new();
    for frame in texts {
        let data: String = encode(frame.as_bytes());
        write!(body, "{{\"Data\":\"{data}\",\"File\":\"alloc/logs/srv.stdout.0\",\"Offset\":1}}").unwrap();
    }
    text(200, &body)
}

/// Base64, without a crate for it.
fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks(3).map(|group| {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        let digit = |place: usize| char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]);
        (0..4).map(|place| if place <= group.len() { digit(place) } else { '=' }).collect::<String>()
    });
    groups.collect()
}

fn agent(tasks: &[&str], logs: Vec<Reply>) -> Agent {
    let tasks: Vec<Value> = tasks.iter().map(|name| j!({ "Name": name })).collect();
    let alloc =
        j!({ "ID": ALLOC, "TaskGroup": "front", "Job": { "TaskGroups": [{ "Name": "front", "Tasks": tasks }] } });
    Agent::start(&[
        ("GET /v1/allocations", vec![json(j!([{ "ID": ALLOC }]))]),
        ("GET /v1/allocation/377e8c08-580d-d519-6c20-38ac25d28ab2", vec![json(alloc)]),
        ("GET /v1/client/fs/logs/377e8c08-580d-d519-6c20-38ac25d28ab2", logs),
        ("GET /v1/jobs", vec![json(j!([{ "ID": "web", "Namespace": "default" }]))]),
        (
            "GET /v1/job/web/allocations",
            vec![json(j!([
                { "ID": "other", "ClientStatus": "complete", "CreateIndex": 9, "TaskGroup": "front" },
                { "ID": ALLOC, "ClientStatus": "running", "CreateIndex": 5, "TaskGroup": "front" },
            ]))],
        ),
    ])
}

#[test]
fn bytes_are_passed_on() {
    let agent = agent(&["srv"], vec![frames(&["hello ", "v1\nno end"])]);
    let ran = agent.run("alloc logs 377e8c08");
    assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (0, "hello v1\nno end", ""));
    assert!(
        agent.asked()[2].ends_with("?follow=false&offset=0&origin=start&task=srv&type=stdout"),
        "{:?}",
        agent.asked()
    );
    agent.run("logs -stderr -task side 377e8c08");
    assert!(agent.asked().last().unwrap().ends_with("&task=side&type=stderr"), "{:?}", agent.asked());
    agent.run("logs -job web srv");
    assert!(agent.asked().last().unwrap().starts_with("GET /v1/client/fs/logs/377e8c08-"), "{:?}", agent.asked());
}

#[test]
fn only_the_end() {
    let agent = agent(&["srv"], vec![frames(&["a\nb\n", "c\nd\n"])]);
    assert_eq!(agent.run("alloc logs -tail -n 2 377e8c08 srv").stdout, "c\nd\n");
    assert!(agent.asked().last().unwrap().contains("offset=240&origin=end"), "{:?}", agent.asked());
    assert_eq!(agent.run("alloc logs -f -tail -n 1 377e8c08 srv").stdout, "d\n");
    assert!(agent.asked().last().unwrap().contains("follow=true"), "{:?}", agent.asked());
    agent.run("alloc logs -tail -c 3 377e8c08 srv");
    assert!(agent.asked().last().unwrap().contains("offset=3&origin=end"), "{:?}", agent.asked());
}

#[test]
fn long_lines_are_asked_for_again() {
    let long = "x".repeat(300);
    let whole = format!("first\n{long}\n{long}\n");
    let part = &whole[whole.len() - 240..];
    let agent = agent(&["srv"], vec![frames(&[part]), frames(&[&whole])]);
    assert_eq!(agent.run("alloc logs -tail -n 2 377e8c08 srv").stdout, format!("{long}\n{long}\n"));
}

#[test]
fn what_can_go_wrong() {
    let agent = agent(&["srv", "side"], vec![text(400, "unknown task name \"nosuch\"")]);
    agent.run("alloc logs 377e8c08").failed(
        "\
Failed to validate task: Allocation \"377e8c08\" is running the following tasks:
  * srv
  * side

Please specify the task.",
    );
    agent.run("alloc logs 377e8c08 nosuch").failed(
        "Failed to read stdout file: error reading file: Unexpected response code: 400 (unknown task name \"nosuch\")",
    );
    agent.run("alloc logs -stdout -stderr 377e8c08 srv").failed("Unable to support both stdout and stderr");
    agent
        .run("alloc logs -job web -task srv")
        .failed("This command takes one or two arguments\nFor additional help try 'drover alloc logs -help'");
}
