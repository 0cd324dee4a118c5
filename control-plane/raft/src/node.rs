//! This server's part in the region's log: proposing, reading, leading.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use drover_state::{Answer, Command, Events, Snapshot, command};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, RaftError};
use openraft::{BasicNode, Config, ReadPolicy, SnapshotPolicy};
use tokio::sync::{broadcast, watch};

use crate::log_store::LogStore;
use crate::machine::{Machine, Published};
use crate::network::Alone;
use crate::store::Store;
use crate::types::{Proposal, TypeConfig};

/// The longest command, in bytes.
pub const COMMAND_BYTES_MAX: usize = 32 << 20;

/// How often a proposal is tried again when a new leader has not heard its quorum yet.
const LEASE_RETRIES_MAX: u32 = 20;
const LEASE_RETRY_WAIT: Duration = Duration::from_millis(5);

/// How this server takes part.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where log and snapshots are.
    pub dir: PathBuf,
    /// This server's number in the region, never used twice.
    pub node_id: u64,
    /// Where it takes RPCs.
    pub address: String,
}

/// Why it could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log could not be opened.
    #[error("open the log in {}", dir.display())]
    OpenLog {
        /// Where.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The snapshots could not be read.
    #[error("read the snapshots in {}", dir.display())]
    ReadSnapshots {
        /// Where.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The log's members do not include this server: it would wait for the others' votes for ever.
    #[error("the log in {} belongs to another server: its members are {members:?}, not {node_id}", dir.display())]
    OtherServer {
        /// Where.
        dir: PathBuf,
        /// Whose it is.
        members: Vec<u64>,
        /// Who was about to use it.
        node_id: u64,
    },
    /// Raft refused to run.
    #[error("start raft: {reason}")]
    Raft {
        /// Why.
        reason: String,
    },
}

/// Why a proposal was not committed, or nobody knows whether it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another server leads, or none.
    #[error("this server does not lead")]
    NotLeader {
        /// The leader's RPC address, when known.
        leader: Option<String>,
    },
    /// The command is longer than the log takes.
    #[error("command of {len} bytes is over the limit of {COMMAND_BYTES_MAX}")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// Raft has died; the process is about to end.
    #[error("raft has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader's number and RPC address, when known.
    pub leader: Option<(u64, String)>,
    /// It is this server.
    pub is_leader: bool,
    /// The term.
    pub term: u64,
}

/// This server's part in the region's log. A clone is the same one.
#[derive(Clone)]
pub struct RaftNode {
    raft: openraft::Raft<TypeConfig, Machine>,
    published: Arc<Published>,
    leadership: watch::Receiver<Leadership>,
    store: Arc<Store>,
    settings: Arc<Settings>,
}

impl RaftNode {
    /// Opens log and snapshots and starts taking part. `fatal` is called once when raft dies (a full disk, say): the
    /// process must end then, since nothing would ever be answered again.
    ///
    /// # Errors
    /// The log is in use, can't be read or written, is of a newer format, or belongs to another server.
    pub async fn start(settings: Settings, fatal: impl FnOnce(String) + Send + 'static) -> Result<Self, StartError> {
        let log_dir = settings.dir.join("log");
        let store = Store::open(&log_dir).map_err(|source| StartError::OpenLog { dir: log_dir, source })?;
        let store = Arc::new(store);
        let snapshot_dir = settings.dir.join("snapshots");
        let machine = Machine::open(snapshot_dir.clone())
            .map_err(|source| StartError::ReadSnapshots { dir: snapshot_dir, source })?;
        let published = machine.published();
        let config = Config {
            cluster_name: "drover".to_owned(),
            heartbeat_interval: 50,
            election_timeout_min: 150,
            election_timeout_max: 300,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(20_000),
            // An apply that runs after a purge must still find its entries (openraft #2116).
            max_in_snapshot_log_to_keep: 10_000,
            enable_pre_vote: Some(true),
            // The state is in memory: a leader that comes back must be elected again before it serves.
            enable_leader_restore: Some(false),
            backoff: "10ms 20ms 50ms 100ms 200ms 500ms 1s".to_owned(),
            ..Config::default()
        };
        let config = config.validate().map_err(|e| StartError::Raft { reason: e.to_string() })?;
        let raft =
            openraft::Raft::new(settings.node_id, Arc::new(config), Alone, LogStore::new(store.clone()), machine)
                .await
                .map_err(|e| StartError::Raft { reason: e.to_string() })?;
        let members: Vec<u64> = raft
            .with_raft_state(|state| state.membership_state.effective().nodes().map(|(id, _)| *id).collect())
            .await
            .map_err(|e| StartError::Raft { reason: e.to_string() })?;
        if !members.is_empty() && !members.contains(&settings.node_id) {
            // Both only free what was opened; the refusal says more than their failures would.
            let _ = raft.shutdown().await;
            let _ = store.close().await;
            return Err(StartError::OtherServer { dir: settings.dir, members, node_id: settings.node_id });
        }
        let leadership = follow_leadership(&raft, settings.address.clone(), fatal);
        Ok(Self { raft, published, leadership, store, settings: Arc::new(settings) })
    }

    /// Forms a region of this server alone, unless it is part of one already.
    ///
    /// # Errors
    /// Raft has stopped.
    pub async fn bootstrap(&self) -> Result<(), ProposeError> {
        let members = BTreeMap::from([(self.settings.node_id, BasicNode { addr: self.settings.address.clone() })]);
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(openraft::errors::InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(ProposeError::Stopped { reason: error.to_string() }),
        }
    }

    /// Commits a command and applies it; gives its index and answer.
    ///
    /// # Errors
    /// This server does not lead, the command is too long, or raft has stopped. A refusal by the state is an answer.
    pub async fn propose(&self, command: &Command) -> Result<(u64, Answer), ProposeError> {
        let bytes: Arc<[u8]> = command::encode(command).into();
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLong { len: bytes.len() });
        }
        let mut retries = 0;
        loop {
            match self.raft.client_write(Proposal(bytes.clone())).await {
                Ok(response) => return Ok((response.log_id.index, response.data)),
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                    // A new leader has no lease until a quorum has answered it once: that is no missing leader.
                    let own_lease = forward.leader_id.is_none() && self.raft.is_leader();
                    if own_lease && retries < LEASE_RETRIES_MAX {
                        retries += 1;
                        tokio::time::sleep(LEASE_RETRY_WAIT).await;
                        continue;
                    }
                    return Err(ProposeError::NotLeader { leader: forward.leader_node.map(|node| node.addr) });
                }
                Err(error) => {
                    return Err(ProposeError::Stopped { reason: error.to_string() });
                }
            }
        }
    }

    /// Waits until a read of [`Self::snapshot`] sees every write that was acknowledged before this call.
    ///
    /// # Errors
    /// This server does not lead, or raft has stopped.
    pub async fn read_barrier(&self) -> Result<(), ProposeError> {
        let lease = self.raft.ensure_linearizable(ReadPolicy::LeaseRead).await;
        let result = match lease {
            Ok(read) => Ok(read),
            // The lease is stale: ask the quorum.
            Err(_) => self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await,
        };
        match result {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(openraft::errors::LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader { leader: forward.leader_node.map(|node| node.addr) })
            }
            Err(RaftError::APIError(_)) => Err(ProposeError::NotLeader { leader: None }),
            Err(RaftError::Fatal(error)) => Err(ProposeError::Stopped { reason: error.to_string() }),
        }
    }

    /// The newest state that this server has applied.
    pub fn snapshot(&self) -> Snapshot {
        self.published.snapshot.borrow().clone()
    }

    /// What changes from now on. A listener that falls too far behind gets `Lagged` and must look at the state anew.
    pub fn events(&self) -> broadcast::Receiver<Arc<Events>> {
        self.published.events.subscribe()
    }

    /// Who leads, now and on each change.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Numbers for operators: term, indexes, state.
    pub fn stats(&self) -> BTreeMap<String, String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = |id: &Option<crate::types::LogId>| id.map_or(0, |id| id.index).to_string();
        BTreeMap::from([
            ("applied_index".to_owned(), index(&metrics.last_applied)),
            ("commit_index".to_owned(), index(&metrics.local_committed)),
            ("last_log_index".to_owned(), metrics.last_log_index.unwrap_or(0).to_string()),
            ("last_snapshot_index".to_owned(), index(&metrics.snapshot)),
            ("state".to_owned(), format!("{:?}", metrics.state)),
            ("term".to_owned(), metrics.current_term.to_string()),
            ("num_peers".to_owned(), self.raft.voter_ids().count().saturating_sub(1).to_string()),
        ])
    }

    /// Stops taking part and closes the log.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop cleanly");
        }
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "log did not close cleanly");
        }
    }
}

/// Turns raft's metrics into who leads, and watches for its death.
fn follow_leadership(
    raft: &openraft::Raft<TypeConfig, Machine>,
    own_address: String,
    fatal: impl FnOnce(String) + Send + 'static,
) -> watch::Receiver<Leadership> {
    let (sender, receiver) = watch::channel(Leadership::default());
    let mut metrics = raft.metrics();
    tokio::spawn(async move {
        loop {
            let (leadership, dead) = {
                let now = metrics.borrow_watched();
                let leader = now.current_leader.map(|id| {
                    // The log knows the address of the first start, this server the one of today.
                    let known = || now.membership_config.membership().get_node(&id).map(|node| node.addr.clone());
                    let address = if id == now.id { own_address.clone() } else { known().unwrap_or_default() };
                    (id, address)
                });
                let is_leader = now.current_leader == Some(now.id) && now.state.is_leader();
                let dead = match &now.running_state {
                    Ok(()) | Err(Fatal::Stopped) => None,
                    Err(error) => Some(error.to_string()),
                };
                (Leadership { leader, is_leader, term: now.current_term }, dead)
            };
            sender.send_if_modified(|current| {
                let changed = *current != leadership;
                *current = leadership;
                changed
            });
            if let Some(reason) = dead {
                fatal(reason);
                return;
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    });
    receiver
}
