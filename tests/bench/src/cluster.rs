//! Three servers of a product as one region on 127.0.0.1.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use drover_api_client::{Client, Config, QueryOptions};
use drover_harness::{Agent, AgentConfig};
use serde_json::{Value, json};

use crate::product::Product;

/// How many servers there are.
pub const SERVERS: u32 = 3;
/// The longest wait for anything.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Servers of one region.
pub struct Cluster {
    /// Their processes.
    pub servers: Vec<Agent>,
}

impl Cluster {
    /// Starts them; nothing is waited for.
    pub fn spawn(product: &Product) -> Self {
        let spawn = |mut config: AgentConfig| {
            // Many clients on one host are the measure, not an attack; what a peer needs says the same.
            if product.is_drover() {
                config.more.push_str("limits {\n  http_max_conns_per_client = 0\n  rpc_max_conns_per_client = 0\n}\n");
            }
            product.spawn(config)
        };
        Self { servers: AgentConfig::region("bench", SERVERS).into_iter().map(spawn).collect() }
    }

    /// Starts them and waits until all of them vote and answer.
    ///
    /// # Errors
    /// They do not in time.
    pub fn start(product: &Product) -> anyhow::Result<Self> {
        let cluster = Self::spawn(product);
        cluster.wait_until_whole().with_context(|| product.name.clone())?;
        Ok(cluster)
    }

    /// Waits until all of them vote and each answers a read for its leader.
    ///
    /// # Errors
    /// They do not in time.
    pub fn wait_until_whole(&self) -> anyhow::Result<()> {
        let end = Instant::now() + WAIT_MAX;
        for server in &self.servers {
            loop {
                let voters = server.get("/v1/operator/raft/configuration").map(|peers| {
                    let peers = peers["Servers"].as_array().cloned().unwrap_or_default();
                    peers.iter().filter(|peer| peer["Voter"] == true).count()
                });
                if voters == Ok(SERVERS as usize) && server.get("/v1/jobs").is_ok() {
                    break;
                }
                if Instant::now() > end {
                    bail!("voters: {voters:?}, of {SERVERS}; {}", server.log());
                }
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        Ok(())
    }

    /// The server that leads.
    ///
    /// # Errors
    /// None does in time.
    pub fn leader(&self) -> anyhow::Result<usize> {
        let end = Instant::now() + WAIT_MAX;
        loop {
            for server in &self.servers {
                let Ok(Value::String(leader)) = server.get("/v1/status/leader") else { continue };
                let is_his = |agent: &Agent| leader.ends_with(&format!(":{}", agent.config().rpc));
                if let Some(place) = self.servers.iter().position(is_his) {
                    return Ok(place);
                }
            }
            if Instant::now() > end {
                bail!("nobody leads");
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Killed, not asked: there are no tasks, and there may be very many jobs.
        for server in &mut self.servers {
            server.kill_9();
        }
    }
}

/// Calls of a server's API that give up after `patience`.
///
/// # Errors
/// The address is not one.
pub fn client(address: &str, patience: Duration) -> anyhow::Result<Client> {
    let config = Config { address: address.to_owned(), timeout: patience, ..Config::default() };
    Ok(Client::new(config)?)
}

/// The smallest durable writes that a product takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// Namespaces: one log entry and nothing after it.
    Namespaces,
    /// Jobs without a task to run: where there are no namespaces.
    Jobs,
}

impl Writing {
    /// Those that a server takes: every product under one measure must write the same.
    pub fn of(server: &Agent) -> Self {
        let write = Self::Namespaces.write(&server.client(), "bench-first");
        if write.is_ok() { Self::Namespaces } else { Self::Jobs }
    }

    /// Its word in a measure's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Namespaces => "namespace",
            Self::Jobs => "job",
        }
    }

    /// Writes one of that name.
    ///
    /// # Errors
    /// It is not acknowledged.
    pub fn write(self, client: &Client, name: &str) -> anyhow::Result<()> {
        let (path, body) = match self {
            Self::Namespaces => ("/v1/namespace", json!({ "Name": name, "Description": "bench" })),
            Self::Jobs => {
                let job = json!({
                    "ID": name, "Name": name, "Type": "service", "Datacenters": ["*"],
                    "TaskGroups": [{ "Name": "g", "Count": 0, "Tasks": [{
                        "Name": "t", "Driver": "raw_exec", "Config": { "command": "/bin/true" },
                        "Resources": { "CPU": 1, "MemoryMB": 10 },
                    }] }],
                });
                ("/v1/jobs", json!({ "Job": job }))
            }
        };
        client.write::<Value>(path, &body, &QueryOptions::default())?;
        Ok(())
    }
}

/// What all of them take: namespaces, if none of them lacks these.
pub fn common_writing<'a>(clusters: impl IntoIterator<Item = &'a Cluster>) -> Writing {
    let lacks = |cluster: &Cluster| Writing::of(&cluster.servers[0]) == Writing::Jobs;
    if clusters.into_iter().any(lacks) { Writing::Jobs } else { Writing::Namespaces }
}
