//! Simulated edges and a real server: they join, their allocs run or end, and an idle one costs few bytes.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::time::Duration;

use drover_edge_agent::heartbeats::Heartbeats;
use drover_harness::binaries::binary;
use drover_harness::{Agent, AgentConfig, wait_for};
use drover_protocol::edge::FromServer;
use drover_protocol::heartbeat::HeartbeatAnswer;
use drover_sim_edge::{Fleet, FleetSettings};
use drover_transport::Connection;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

const WAIT: Duration = Duration::from_secs(180);
const EDGES: usize = 24;
/// UDP payload of one heartbeat, its answer and the acknowledgement of that, all headers and seals included. They take about
/// 105 bytes; when the server needs longer than 25 ms for its answer, it acknowledges in a packet of its own, which adds 30.
const EXCHANGE_BYTES_MAX: u64 = 150;
const EXCHANGES: usize = 15;

fn server() -> Agent {
    let mut config = AgentConfig::server("s1");
    config.more.push_str("limits {\n  rpc_max_conns_per_client = 0\n}\n");
    Agent::start(&binary("drover"), config)
}

fn fleet(server: &Agent, count: usize) -> (Runtime, Fleet) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let settings = FleetSettings::of(&format!("127.0.0.1:{}", server.config().rpc), count);
    let fleet = runtime.block_on(async {
        let mut fleet = Fleet::start(&settings).unwrap();
        fleet.wait_until_ready(WAIT).await.unwrap();
        fleet
    });
    (runtime, fleet)
}

fn register(server: &Agent, id: &str, kind: &str, count: usize) {
    let task = json!({ "Name": "t", "Driver": "raw_exec", "Config": { "command": "/bin/true" },
                       "Resources": { "CPU": 1, "MemoryMB": 10 } });
    let job = json!({ "ID": id, "Name": id, "Type": kind, "Datacenters": ["*"],
                      "TaskGroups": [{ "Name": "g", "Count": count, "Tasks": [task] }] });
    server.client().write::<Value>("/v1/jobs", &json!({ "Job": job }), &Default::default()).unwrap();
}

fn wait_for_allocs(server: &Agent, job: &str, status: &str, count: usize) {
    wait_for("allocs", WAIT, || {
        let allocs = server.get(&format!("/v1/job/{job}/allocations"))?;
        let reached = allocs.as_array().unwrap().iter().filter(|alloc| alloc["ClientStatus"] == status).count();
        if reached == count { Ok(()) } else { Err(format!("{job}: {reached} of {count} are {status}")) }
    });
}

#[test]
fn their_allocs_run_or_are_done_and_stop_when_told_to() {
    let server = server();
    let (_runtime, fleet) = fleet(&server, EDGES);
    server.wait_for_nodes(EDGES);
    assert_eq!((fleet.ready(), fleet.node_ids().len()), (EDGES, EDGES));
    register(&server, "web", "service", 2 * EDGES);
    register(&server, "sums", "batch", 2 * EDGES);
    wait_for_allocs(&server, "web", "running", 2 * EDGES);
    wait_for_allocs(&server, "sums", "complete", 2 * EDGES);
    server.client().delete::<Value>("/v1/job/web", &Default::default()).unwrap();
    wait_for_allocs(&server, "web", "complete", 2 * EDGES);
}

/// Bytes both ways of one heartbeat, until the acknowledgement of its answer is on its way.
async fn exchange(heartbeats: &mut Heartbeats, connection: &Connection) -> u64 {
    let before = connection.traffic();
    let answer = heartbeats.beat(connection).await.unwrap();
    assert!(matches!(answer, HeartbeatAnswer::Due(ttl) if ttl >= Duration::from_secs(10)), "{answer:?}");
    let is_acknowledged = async {
        while connection.traffic().sent < before.sent + 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(WAIT, is_acknowledged).await.unwrap();
    let after = connection.traffic();
    after.sent_bytes - before.sent_bytes + after.received_bytes - before.received_bytes
}

#[test]
fn a_heartbeat_takes_few_bytes() {
    let server = server();
    let (runtime, fleet) = fleet(&server, 1);
    let connection = fleet.connection(0).unwrap();
    let mut sizes = runtime.block_on(async {
        let mut heartbeats = Heartbeats::new(fleet.node_ids()[0]);
        let first = heartbeats.beat(&connection).await.unwrap();
        assert!(matches!(first, HeartbeatAnswer::Told(FromServer::Alive { .. })), "{first:?}");
        let mut sizes = Vec::new();
        for _ in 0..EXCHANGES {
            sizes.push(exchange(&mut heartbeats, &connection).await);
        }
        sizes
    });
    // The edge's own heartbeats, and what was sent twice, may fall into one or the other.
    sizes.sort_unstable();
    println!("bytes of {EXCHANGES} heartbeats: {sizes:?}");
    assert!(sizes[EXCHANGES / 2] <= EXCHANGE_BYTES_MAX, "{sizes:?}");
}
