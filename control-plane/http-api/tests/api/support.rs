//! A server with its API on a free port, and the smallest client that shows everything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use drover_http_api::{AgentFacts, Api, ServeOptions};
use drover_model::node::{DriverInfo, Node, NodeCpu, NodeDisk, NodeMemory, NodeResources, NodeStatus};
use drover_model::{NodeId, Timestamp};
use drover_server::{Server, Settings};
use drover_state::Command;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A server with its API.
pub struct Running {
    pub address: SocketAddr,
    pub server: Server,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
    _dir: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn index(&self) -> u64 {
        self.header("x-nomad-index").parse().unwrap()
    }
}

/// The API of that server.
pub fn api(server: &Server) -> Api {
    let facts = AgentFacts { config: json!({ "Region": "global" }), version: "0.1.0".into(), node_id: None };
    Api::new(server.clone(), facts)
}

pub async fn start() -> Running {
    start_with(ServeOptions::default()).await
}

pub async fn start_with(options: ServeOptions) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { http_advertise: "127.0.0.1:0".into(), ..Settings::alone("n1", dir.path().to_owned()) };
    start_from(dir, settings, options).await
}

/// A server with these settings, whose data are in `dir`, and its API, also for requests that are handed on.
pub async fn start_from(dir: tempfile::TempDir, settings: Settings, options: ServeOptions) -> Running {
    let server = Server::start(settings, |reason| panic!("server ended: {reason}")).await.unwrap();
    assert!(server.wait_for_leader(PATIENCE).await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    server.set_forward_handler(drover_http_api::forward_handler(api(&server)));
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(drover_http_api::serve(listener, api(&server), options, async {
        let _ = stopped.await;
    }));
    Running { address, server, stop, serving, _dir: dir }
}

impl Running {
    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.serving.await.unwrap().unwrap();
        self.server.shutdown().await;
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask("PUT", path, &body.to_string()).await
    }

    pub async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_with(method, path, &[], body).await
    }

    pub async fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        ask(self.address, method, path, headers, body).await
    }

    /// Registers a job of one group and gives the answer.
    pub async fn register(&self, job: Value) -> Answer {
        let answer = self.put("/v1/jobs", json!({ "Job": job })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    /// Waits until the condition holds for what is read, by blocking reads.
    pub async fn until(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut index = 0;
        loop {
            let mark = if path.contains('?') { '&' } else { '?' };
            let answer = self.get(&format!("{path}{mark}index={index}&wait=5s")).await;
            let body = if answer.status == 200 { answer.json() } else { Value::Null };
            if holds(&body) {
                return body;
            }
            index = answer.index();
            assert!(tokio::time::Instant::now() < deadline, "{path}: {body}");
        }
    }

    /// Adds a node that can run raw_exec tasks, without an edge behind it.
    pub async fn add_node(&self) -> NodeId {
        let id = NodeId::from_random([7; 16]);
        let driver = DriverInfo { detected: true, healthy: true, ..DriverInfo::default() };
        let attributes = [("driver.raw_exec", "1"), ("os.name", "debian"), ("nomad.version", "2.0.6")];
        let node = Node {
            id,
            name: "edge1".into(),
            datacenter: "dc1".into(),
            node_pool: "default".into(),
            status: NodeStatus::Ready,
            http_addr: "127.0.0.1:4646".into(),
            attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            drivers: BTreeMap::from([("raw_exec".to_owned(), driver)]),
            node_resources: NodeResources {
                cpu: NodeCpu { mhz: 4000, cores: 2, ..NodeCpu::default() },
                memory: NodeMemory { mib: 4096 },
                disk: NodeDisk { mib: 100_000 },
                min_dynamic_port: 20_000,
                max_dynamic_port: 32_000,
                ..NodeResources::default()
            },
            ..Node::default()
        };
        let at = Timestamp(1_000_000_000);
        self.server.propose(Command::RegisterNode { node: Box::new(node), evals: Vec::new(), at }).await.unwrap();
        id
    }
}

/// Waits for something, and gives up with a word.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not in {PATIENCE:?}"))
}

pub async fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    within(&format!("an answer to {method} {path}"), exchange(address, method, path, headers, body)).await
}

async fn exchange(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: drover\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses a body by its length may close before all of it is sent.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    read(&String::from_utf8(bytes).unwrap())
}

fn read(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers: BTreeMap<_, _> = lines.filter_map(header).collect();
    let is_chunked = headers.get("transfer-encoding").map(String::as_str) == Some("chunked");
    let body = if is_chunked { unchunked(body) } else { body.to_owned() };
    Answer { status, headers, body }
}

/// Puts a body together that came in chunks.
fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body.push_str(&tail[..size]);
        rest = tail[size..].strip_prefix("\r\n").unwrap();
    }
    body
}

/// A job of one group with one raw_exec task.
pub fn job(id: &str) -> Value {
    json!({
        "ID": id, "Name": id, "Type": "service", "Datacenters": ["dc1"],
        "TaskGroups": [{
            "Name": "g", "Count": 2,
            "Tasks": [{
                "Name": "t", "Driver": "raw_exec", "Config": { "command": "/bin/sleep", "args": ["60"] },
                "Resources": { "CPU": 50, "MemoryMB": 32 },
            }],
        }],
    })
}
