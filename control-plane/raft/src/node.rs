//! This server's part in the region's log: how it starts, what it shows, how it stops.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use drover_state::{Events, Snapshot};
use openraft::async_runtime::WatchReceiver;
use openraft::{Config, Instant as _, RaftLogReader, SnapshotPolicy};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout};

use crate::awake::Awake;
use crate::growth::{self, Looks};
use crate::leadership::{self, Leadership};
use crate::log_store::LogStore;
use crate::machine::{Captured, Machine, Published};
use crate::members::RaftMember;
use crate::network::Network;
use crate::origin::{self, Origin};
use crate::pace::Pace;
use crate::peers::Peers;
use crate::recovery::{self, RecoveryError};
use crate::serve::Served;
use crate::store::Store;
use crate::types::Raft;

/// The longest command, in bytes.
pub const COMMAND_BYTES_MAX: usize = 32 << 20;

/// How long raft may take to stop.
const STOP_WAIT_MAX: Duration = Duration::from_secs(10);

/// How this server takes part.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where log and snapshots are.
    pub dir: PathBuf,
    /// This server's number in the region, never used twice.
    pub node_id: u64,
    /// Where it takes RPCs.
    pub address: String,
    /// How long the log gets.
    pub log: LogLength,
    /// How often it is looked whether a snapshot is due (`raft_snapshot_interval`); with each entry when none.
    pub snapshot_interval: Option<Duration>,
    /// How fast its servers miss each other; the same on all of them.
    pub pace: Pace,
}

impl Settings {
    /// With a log of the usual length, at the usual pace.
    pub fn new(dir: PathBuf, node_id: u64, address: String) -> Self {
        Self { dir, node_id, address, log: LogLength::default(), snapshot_interval: None, pace: Pace::default() }
    }
}

/// How long the log gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLength {
    /// Entries between two snapshots (`raft_snapshot_threshold`).
    pub snapshot_every: u64,
    /// Entries that stay in the log behind a snapshot (`raft_trailing_logs`): an apply that runs after a purge must still
    /// find its entries (openraft #2116), and a follower that was away for a moment needs no snapshot.
    pub kept: u64,
}

/// The shortest log behind a snapshot, and the fewest entries between two, that an operator can ask for.
const LOG_ENTRIES_MIN: u64 = 1000;

/// The shortest time between two looks whether a snapshot is due that an operator can ask for.
const SNAPSHOT_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The time between two looks whether a snapshot is due that an operator asks for, never so short that looking is all that a server
/// does.
pub fn snapshot_interval(asked: Option<Duration>) -> Option<Duration> {
    asked.filter(|asked| !asked.is_zero()).map(|asked| asked.max(SNAPSHOT_INTERVAL_MIN))
}

impl LogLength {
    /// What an operator asks for; the usual numbers where nothing is said, and never so few that snapshots are all that a
    /// server does.
    pub fn of(snapshot_every: Option<u64>, kept: Option<u64>) -> Self {
        let usual = Self::default();
        let asked = |asked: Option<u64>, usual: u64| asked.map_or(usual, |asked| asked.max(LOG_ENTRIES_MIN));
        Self { snapshot_every: asked(snapshot_every, usual.snapshot_every), kept: asked(kept, usual.kept) }
    }
}

impl Default for LogLength {
    fn default() -> Self {
        Self { snapshot_every: 20_000, kept: 10_000 }
    }
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
    /// The log is another server's: it would break the promises that one has made.
    #[error("the log in {} belongs to another server: {owners:?}, not {node_id}", dir.display())]
    OtherServer {
        /// Where.
        dir: PathBuf,
        /// Whose it is, or may be.
        owners: Vec<u64>,
        /// Who was about to use it.
        node_id: u64,
    },
    /// The peers file is not taken.
    #[error("recover from a peers file")]
    Recover(#[from] RecoveryError),
    /// Raft refused to run.
    #[error("start raft: {reason}")]
    Raft {
        /// Why.
        reason: String,
    },
}

/// This server's part in the region's log. A clone is the same one.
#[derive(Clone)]
pub struct RaftNode {
    inner: Arc<Inner>,
}

struct Inner {
    raft: Raft,
    machine: Machine,
    published: Arc<Published>,
    leadership: watch::Receiver<Leadership>,
    members: watch::Receiver<Vec<RaftMember>>,
    served: Arc<Served>,
    network: Network,
    origin: Arc<Origin>,
    store: Arc<Store>,
    settings: Settings,
    stopping: Arc<AtomicBool>,
    awake: Awake,
    /// Asks for snapshots.
    asking: tokio::task::AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

impl RaftNode {
    /// Opens log and snapshots and starts taking part. A peers file in the directory is taken first (`recovery.rs`).
    /// `fatal` is called once when raft dies (a full disk, say): the process must end then, since nothing would ever be
    /// answered again.
    ///
    /// # Errors
    /// The log is in use, can't be read or written, is of a newer format, or belongs to another server.
    pub async fn start(
        settings: Settings,
        peers: Arc<dyn Peers>,
        fatal: impl FnOnce(String) + Send + 'static,
    ) -> Result<Self, StartError> {
        let log_dir = settings.dir.join("log");
        let open_log = |source| StartError::OpenLog { dir: log_dir.clone(), source };
        let store = Arc::new(Store::open(&log_dir).map_err(open_log)?);
        let log = LogStore::new(store.clone());
        let opened = Self::open(settings, peers, log, &store, fatal).await;
        if opened.is_err() {
            // Only frees what was opened; the refusal says more than its failure would.
            let _ = store.close().await;
        }
        opened
    }

    async fn open(
        settings: Settings,
        peers: Arc<dyn Peers>,
        mut log: LogStore,
        store: &Arc<Store>,
        fatal: impl FnOnce(String) + Send + 'static,
    ) -> Result<Self, StartError> {
        let open_log = |source| StartError::OpenLog { dir: settings.dir.join("log"), source };
        let other_server = |owners| {
            let (dir, node_id) = (settings.dir.clone(), settings.node_id);
            Err(StartError::OtherServer { dir, owners, node_id })
        };
        let (began, owner) = (Instant::now(), log.owner().map_err(open_log)?);
        // A leader's word is kept as a vote too; where a log does not fit, a leader is answered before it is.
        let was_here = owner.is_some() || log.read_vote().await.map_err(open_log)?.is_some();
        if let Some(owner) = owner.filter(|owner| *owner != settings.node_id) {
            return other_server(vec![owner]);
        }
        let snapshot_dir = settings.dir.join("snapshots");
        let machine = Machine::open(snapshot_dir.clone())
            .map_err(|source| StartError::ReadSnapshots { dir: snapshot_dir, source })?;
        // Their names, and the one of the directory they are in: what is promised from here on is found after a power cut.
        for dir in settings.dir.ancestors().take(2).filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(open_log)?;
        }
        recovery::apply(&settings, &mut log, &machine).await?;
        let published = machine.published();
        let looks = settings
            .snapshot_interval
            .map(|interval| Looks::of(interval, settings.log.snapshot_every, settings.node_id));
        let mut config = config(settings.log, settings.pace);
        if looks.is_some() {
            config.snapshot_policy = SnapshotPolicy::Never;
        }
        let config = config.validate().map_err(|e| StartError::Raft { reason: e.to_string() })?;
        let origin = Arc::new(Origin::open(log.clone()).map_err(open_log)?);
        let network = Network::new(peers, origin.clone());
        let raft = Raft::new(settings.node_id, Arc::new(config), network.clone(), log.clone(), machine.clone())
            .await
            .map_err(|e| StartError::Raft { reason: e.to_string() })?;
        machine.started();
        if owner.is_none() {
            // A log of before owners were written names its servers; a server that was removed has an owner.
            let members: Vec<u64> = raft
                .with_raft_state(|state| state.membership_state.effective().nodes().map(|(id, _)| *id).collect())
                .await
                .map_err(|e| StartError::Raft { reason: e.to_string() })?;
            if !members.is_empty() && !members.contains(&settings.node_id) {
                // Only frees what was opened.
                let _ = raft.shutdown().await;
                return other_server(members);
            }
            log.set_owner(settings.node_id).await.map_err(open_log)?;
        }
        if origin.known().is_none() {
            // A crash right after the region was formed, or a log of before there were marks: its members are the founders.
            let founders: Vec<u64> = raft
                .with_raft_state(|state| state.membership_state.effective().voter_ids().collect())
                .await
                .map_err(|e| StartError::Raft { reason: e.to_string() })?;
            if !founders.is_empty() {
                origin.keep(origin::of(founders)).await.map_err(open_log)?;
            }
        }
        let stopping = Arc::new(AtomicBool::new(false));
        let served = Arc::new(Served::new(if was_here { began + settings.pace.lease_read_age_max() } else { began }));
        let (leadership, members) = leadership::follow(
            &raft,
            leadership::Own { address: settings.address.clone(), pace: settings.pace },
            served.leader_heard.subscribe(),
            stopping.clone(),
            fatal,
        );
        let store = store.clone();
        let asking = tokio::spawn(growth::ask_for_snapshots(raft.clone(), machine.growth(), looks)).abort_handle();
        let inner = Inner {
            raft,
            machine,
            published,
            leadership,
            members,
            served,
            network,
            origin,
            store,
            settings,
            stopping,
            awake: Awake::new(),
            asking,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.inner.raft
    }

    pub(crate) fn served(&self) -> &Arc<Served> {
        &self.inner.served
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.inner.origin
    }

    /// True when this server has taken part in a region, be it by a vote alone.
    pub fn takes_part(&self) -> bool {
        self.inner.origin.known().is_some()
    }

    pub(crate) fn network(&self) -> &Network {
        &self.inner.network
    }

    pub(crate) fn awake(&self) -> &Awake {
        &self.inner.awake
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(crate) fn snapshot_dir(&self) -> Arc<Path> {
        self.inner.machine.dir()
    }

    pub(crate) fn capture(&self) -> Captured {
        self.inner.machine.capture()
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.inner.machine
    }

    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.inner.published.applied.subscribe()
    }

    pub(crate) fn shown(&self) -> watch::Receiver<u64> {
        self.inner.published.shown.subscribe()
    }

    /// The newest state that this server has applied.
    pub fn snapshot(&self) -> Snapshot {
        self.inner.published.snapshot.borrow().clone()
    }

    /// What changes from now on. A listener that falls too far behind gets `Lagged` and must look at the state anew.
    pub fn events(&self) -> broadcast::Receiver<Arc<Events>> {
        self.inner.published.events.subscribe()
    }

    /// Who leads, now and on each change.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// The servers of the region as the log has them, now and on each change.
    pub fn watch_members(&self) -> watch::Receiver<Vec<RaftMember>> {
        self.inner.members.clone()
    }

    /// How long ago a leader was last heard: zero for the leader itself, the silence of its quorum for one that has lost
    /// it, nothing when none was heard since the start.
    pub fn last_contact(&self) -> Option<Duration> {
        if self.inner.leadership.borrow().is_leader {
            return Some(Duration::ZERO);
        }
        let metrics = self.inner.raft.metrics();
        let acked = metrics.borrow_watched().last_quorum_acked;
        if let Some(acked) = acked {
            return Some(acked.elapsed());
        }
        let heard = *self.inner.served.leader_heard.borrow();
        heard.map(|heard| heard.elapsed())
    }

    /// Numbers for operators: term, indexes, state.
    pub fn stats(&self) -> BTreeMap<String, String> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = |id: &Option<crate::types::LogId>| id.map_or(0, |id| id.index).to_string();
        let members = metrics.membership_config.membership();
        let is_voter = members.voter_ids().any(|id| id == metrics.id);
        BTreeMap::from([
            ("applied_index".to_owned(), index(&metrics.last_applied)),
            ("commit_index".to_owned(), index(&metrics.local_committed)),
            ("last_log_index".to_owned(), metrics.last_log_index.unwrap_or(0).to_string()),
            ("last_snapshot_index".to_owned(), index(&metrics.snapshot)),
            ("state".to_owned(), format!("{:?}", metrics.state)),
            ("term".to_owned(), metrics.current_term.to_string()),
            ("num_peers".to_owned(), members.voter_ids().count().saturating_sub(usize::from(is_voter)).to_string()),
        ])
    }

    /// Stops taking part and closes the log.
    pub async fn shutdown(&self) {
        self.inner.stopping.store(true, Ordering::Relaxed);
        self.inner.asking.abort();
        match timeout(STOP_WAIT_MAX, self.inner.raft.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "raft did not stop cleanly"),
            Err(_) => tracing::warn!("raft did not stop in {STOP_WAIT_MAX:?}"),
        }
        if let Err(error) = self.inner.store.close().await {
            tracing::warn!(%error, "log did not close cleanly");
        }
    }
}

pub(crate) fn config(log: LogLength, pace: Pace) -> Config {
    Config {
        cluster_name: "drover".to_owned(),
        heartbeat_interval: pace.heartbeat().as_millis() as u64,
        election_timeout_min: pace.election_min().as_millis() as u64,
        election_timeout_max: pace.election_max().as_millis() as u64,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(log.snapshot_every.max(1)),
        max_in_snapshot_log_to_keep: log.kept,
        enable_pre_vote: Some(true),
        // The state is in memory: a leader that comes back must be elected again before it serves.
        enable_leader_restore: Some(false),
        backoff: "10ms 20ms 50ms 100ms 200ms 500ms 1s".to_owned(),
        ..Config::default()
    }
}
