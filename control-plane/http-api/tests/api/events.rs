//! The event stream as a reader sees it, line by line.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{PATIENCE, Running, job, start};

/// A reader of the stream.
struct Reader {
    lines: BufReader<TcpStream>,
    head: String,
}

impl Reader {
    async fn open(running: &Running, query: &str) -> Self {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let head = format!("GET /v1/event/stream{query} HTTP/1.1\r\nHost: drover\r\nAccept-Encoding: gzip\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut reader = Self { lines: BufReader::new(stream), head: String::new() };
        loop {
            let line = reader.line().await;
            if line.is_empty() {
                break;
            }
            reader.head += &format!("{}\n", line.to_lowercase());
        }
        assert_eq!(reader.next().await, json!({}), "the first line");
        reader
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.lines.read_line(&mut line)).await.expect("a line in time").unwrap();
        line.trim_end().to_owned()
    }

    /// The next object; the sizes of the chunks that it came in are passed over.
    async fn next(&mut self) -> Value {
        loop {
            let line = self.line().await;
            if line.starts_with('{') {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }

    /// The next entry that holds an event, with its index.
    async fn events(&mut self) -> (u64, Vec<Value>) {
        loop {
            let line = self.next().await;
            if let Some(events) = line["Events"].as_array() {
                return (line["Index"].as_u64().unwrap(), events.clone());
            }
        }
    }
}

fn kinds(events: &[Value]) -> Vec<(&str, &str)> {
    events.iter().map(|event| (event["Topic"].as_str().unwrap(), event["Type"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_is_one_line_and_a_plan_another() {
    let running = start().await;
    running.add_node().await;
    let mut reader = Reader::open(&running, "").await;
    for header in ["http/1.1 200", "content-type: application/json", "cache-control: no-cache", "connection: close"] {
        assert!(reader.head.contains(header), "{header}: {}", reader.head);
    }
    assert!(!reader.head.contains("content-encoding"), "{}", reader.head);
    let (_, events) = reader.events().await;
    assert_eq!(kinds(&events), [("Node", "NodeRegistration")]);
    assert_eq!((&events[0]["Namespace"], &events[0]["FilterKeys"]), (&json!(""), &json!(null)));

    let registered = running.register(job("web")).await;
    let (index, events) = reader.events().await;
    assert_eq!(json!(index), registered.json()["JobModifyIndex"]);
    assert_eq!(kinds(&events), [("Job", "JobRegistered"), ("Evaluation", "JobRegistered")]);
    let job_event = &events[0];
    assert_eq!((&job_event["Key"], &job_event["Index"]), (&json!("web"), &json!(index)));
    let payload = &job_event["Payload"]["Job"];
    assert_eq!((&payload["ID"], &payload["ModifyIndex"]), (&json!("web"), &json!(index)));
    assert_eq!(events[1]["FilterKeys"], json!(["web", ""]));
    assert_eq!(events[1]["Payload"]["Evaluation"]["Status"], json!("pending"));

    let (_, events) = reader.events().await;
    let allocs: Vec<&Value> = events.iter().filter(|event| event["Topic"] == "Allocation").collect();
    assert_eq!(allocs.len(), 2, "{events:?}");
    assert!(events.iter().all(|event| event["Type"] == "PlanResult"), "{events:?}");
    let alloc = &allocs[0]["Payload"]["Allocation"];
    assert!(alloc["Job"].is_null() && alloc["TaskResources"].is_object(), "{alloc}");

    running.ask("DELETE", "/v1/job/web?purge=true", "").await;
    let (_, events) = reader.events().await;
    assert_eq!(events[0]["Type"], "JobDeregistered");
    assert_eq!(events[0]["Payload"]["Deleted"], json!(true));
    drop(reader);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_choose_and_come_late() {
    let running = start().await;
    running.put("/v1/namespace", json!({ "Name": "team" })).await;
    running.register(job("web")).await;
    let second = running.register(job("db")).await.json()["JobModifyIndex"].as_u64().unwrap();
    let mut inside = job("web");
    inside["Namespace"] = "team".into();
    running.register(inside).await;

    // What is still kept, by key.
    let mut by_key = Reader::open(&running, "?topic=Job:db&topic=Node").await;
    assert_eq!(by_key.events().await.0, second);
    // From an index on.
    let mut from = Reader::open(&running, &format!("?topic=Job&index={second}")).await;
    assert_eq!(from.events().await.1[0]["Key"], "db");
    // In one namespace, and in all.
    let mut in_team = Reader::open(&running, "?topic=Job&namespace=team").await;
    assert_eq!(in_team.events().await.1[0]["Namespace"], "team");
    let mut everywhere = Reader::open(&running, "?topic=Job&namespace=*").await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        // A job whose status changes with its first eval is told again.
        let registered = everywhere.events().await.1.into_iter().filter(|event| event["Type"] == "JobRegistered");
        seen.extend(registered.map(|event| event["Key"].clone()));
    }
    assert_eq!(seen, ["web", "db", "web"]);
    // By what an eval belongs to, and live.
    let mut live = Reader::open(&running, "?topic=Evaluation:later&index=100000").await;
    running.register(job("later")).await;
    assert_eq!(live.events().await.1[0]["FilterKeys"][0], "later");

    for (query, text) in [
        ("topic=a:b:c", "Invalid topic query: error parsing topics: Invalid key value pair for topic, topic: a:b:c"),
        ("index=abc", "Unable to parse index: strconv.Atoi: parsing \"abc\": invalid syntax"),
    ] {
        let answer = running.get(&format!("/v1/event/stream?{query}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (400, text));
    }
    drop((by_key, from, in_team, everywhere, live));
    running.stop().await;
}
