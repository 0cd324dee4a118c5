//! Many simulated edges on one runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use drover_edge_agent::EdgeConfig;
use drover_edge_agent::connection::{Heard, Link, LinkStatus};
use drover_edge_agent::fingerprint;
use drover_edge_agent::outbox::Outbox;
use drover_model::NodeId;
use drover_model::node::{DriverInfo, Node};
use drover_runner::clock;
use drover_runner::drivers::Drivers;
use drover_transport::Connection;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::work::Work;

/// What is heard and waits for its edge.
const HEARD_MAX: usize = 16;
/// Files that the process has open besides one UDP port per edge.
const OTHER_FILES: u64 = 256;
/// Of each node: so much that any measure's allocs find room.
const CPU_MHZ: u64 = 64_000;
const MEMORY_MIB: u64 = 256 << 10;
const DISK_MIB: u64 = 4 << 20;

/// What simulated edges are told.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// How many there are.
    pub count: usize,
    /// RPC addresses of servers that they try.
    pub servers: Vec<String>,
    /// The region.
    pub region: String,
    /// Without one they join by the file of a server on this host.
    pub join_token: Option<String>,
    /// How many connect at a time: a handshake costs both ends a millisecond of processor time.
    pub connecting_max: usize,
}

impl FleetSettings {
    /// So many edges of one server, in the usual region.
    pub fn of(server: &str, count: usize) -> FleetSettings {
        let (servers, region) = (vec![server.to_owned()], "global".to_owned());
        FleetSettings { count, servers, region, join_token: None, connecting_max: 32 }
    }
}

/// Simulated edges. All of them are gone, as after a crash, when this is dropped.
pub struct Fleet {
    edges: Vec<Shown>,
    _tasks: JoinSet<()>,
    /// Their certificates.
    _dir: TempDir,
}

/// What is seen of one edge.
struct Shown {
    node_id: NodeId,
    status: watch::Receiver<LinkStatus>,
    connection: watch::Receiver<Option<Connection>>,
}

impl Fleet {
    /// Starts them on the current runtime; nothing is waited for.
    ///
    /// # Errors
    /// The system does not let one process have so many ports, or a directory for their certificates.
    pub fn start(settings: &FleetSettings) -> Result<Fleet> {
        allow_files(settings.count as u64 + OTHER_FILES)?;
        let dir = tempfile::Builder::new().prefix("drover-edges-").tempdir()?;
        let template = template(dir.path(), &settings.region);
        let seats = Arc::new(Semaphore::new(settings.connecting_max.max(1)));
        let mut fleet = Fleet { edges: Vec::with_capacity(settings.count), _tasks: JoinSet::new(), _dir: dir };
        for number in 0..settings.count {
            fleet.add(settings, number, &template, seats.clone())?;
        }
        Ok(fleet)
    }

    fn add(&mut self, settings: &FleetSettings, number: usize, template: &Node, seats: Arc<Semaphore>) -> Result<()> {
        let mut config = EdgeConfig::new(&self._dir.path().join(number.to_string()));
        std::fs::create_dir_all(&config.state_dir)?;
        config.name = format!("sim-{number}");
        config.servers.clone_from(&settings.servers);
        config.region.clone_from(&settings.region);
        config.join_token.clone_from(&settings.join_token);
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        let node_id = NodeId::from_random(id);
        let mut node = Node { id: node_id, name: config.name.clone(), ..template.clone() };
        node.attributes.insert("unique.hostname".to_owned(), config.name.clone());
        let node = Arc::new(node);

        let (nodes_tx, nodes) = watch::channel(node.clone());
        let (heard_tx, heard) = mpsc::channel(HEARD_MAX);
        let (status_tx, status) = watch::channel(LinkStatus::default());
        let (connection_tx, connection) = watch::channel(None);
        let outbox = Arc::new(Outbox::default());
        let link = Link {
            config: Arc::new(config),
            node,
            nodes,
            outbox: outbox.clone(),
            requests: None,
            heard: heard_tx,
            status: status_tx,
            connection: connection_tx,
            known_servers: Vec::new(),
            renewed: Arc::new(Notify::new()),
        };
        let mut registered = status.clone();
        self._tasks.spawn(async move {
            let seat = seats.acquire_owned().await;
            let first = async {
                // The sender goes with the link.
                let _ = registered.wait_for(|status| status.server.is_some()).await;
                drop(seat);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = link.run() => {}
                () = work(heard, &outbox) => {}
                () = first => {}
            }
            // The node never changes, and that it might is all that this is for.
            drop(nodes_tx);
        });
        self.edges.push(Shown { node_id, status, connection });
        Ok(())
    }

    /// How many are registered and connected now.
    pub fn ready(&self) -> usize {
        self.edges.iter().filter(|edge| edge.status.borrow().server.is_some()).count()
    }

    /// Waits until all of them are.
    ///
    /// # Errors
    /// They are not in time; the text holds why one of them is not.
    pub async fn wait_until_ready(&mut self, within: Duration) -> Result<()> {
        let all = async {
            for edge in &mut self.edges {
                edge.status.wait_for(|status| status.server.is_some()).await.context("an edge has ended")?;
            }
            anyhow::Ok(())
        };
        if let Ok(ready) = tokio::time::timeout(within, all).await {
            return ready;
        }
        let problem = self.edges.iter().find_map(|edge| edge.status.borrow().error.clone()).unwrap_or_default();
        bail!("{} of {} edges are ready within {within:?}; {problem}", self.ready(), self.edges.len())
    }

    /// The nodes, in the order in which they were made.
    pub fn node_ids(&self) -> Vec<NodeId> {
        self.edges.iter().map(|edge| edge.node_id).collect()
    }

    /// The connection of one of them, while there is one.
    pub fn connection(&self, number: usize) -> Option<Connection> {
        self.edges.get(number)?.connection.borrow().clone()
    }
}

/// Answers for the tasks that there are not.
async fn work(mut heard: mpsc::Receiver<Heard>, outbox: &Outbox) {
    let mut work = Work::default();
    while let Some(heard) = heard.recv().await {
        let Heard::Pulled(allocs) = heard else { continue };
        for update in work.pulled(&allocs, clock::now().wall) {
            outbox.put(update);
        }
        if !allocs.removals.is_empty() {
            // The outbox keeps whose end was acknowledged until it is asked for fewer.
            outbox.ended_of(&work.ids().collect::<BTreeSet<_>>());
        }
    }
}

/// This machine, as it would register itself, with more room than it has and drivers that it may lack.
fn template(dir: &Path, region: &str) -> Node {
    let config = EdgeConfig {
        region: region.to_owned(),
        network_interface: Some("lo".to_owned()),
        cpu_total_mhz: CPU_MHZ,
        memory_total_mib: MEMORY_MIB,
        disk_total_mib: DISK_MIB,
        ..EdgeConfig::new(dir)
    };
    let now = clock::now().wall;
    let mut node = fingerprint::node(NodeId::default(), &config, &Drivers::default(), now);
    let healthy = DriverInfo {
        attributes: BTreeMap::new(),
        detected: true,
        healthy: true,
        health_description: "Healthy".to_owned(),
        update_time: now,
    };
    for driver in ["raw_exec", "exec"] {
        node.attributes.insert(format!("driver.{driver}"), "1".to_owned());
        node.drivers.insert(driver.to_owned(), healthy.clone());
    }
    node
}

/// Lets this process have so many files open, as far as the system does.
fn allow_files(count: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= count) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < count) {
        bail!("{count} open files are needed, and no more than {maximum:?} allowed");
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum }).context("raise the number of open files")
}
