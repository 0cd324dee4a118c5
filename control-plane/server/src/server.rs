//! A running server: start, read, write, stop.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use drover_certs::{Authority, Identity, RegionName, Role};
use drover_raft::{Leadership, ProposeError, RaftNode};
use drover_state::{Answer, Command, Snapshot};
use drover_transport::{Accepted, CloseCode, Endpoint, EndpointOptions, Protocol};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::edge_calls::EdgeConnections;
use crate::error::Error;
use crate::forward::ForwardHandler;
use crate::settings::{ServerInfo, Settings, StartError};
use crate::watch::{Waiter, Waiters, Watch};
use crate::{authority, chance, edge_service, enrol_service, host_file, leader_loop};

/// How long a request waits for a leader before it is refused.
const LEADER_WAIT_MAX: Duration = Duration::from_secs(5);
/// After this time a request is tried again although nothing was heard of another leader: a leader whose lease ran out is
/// the same one a moment later.
const LEADER_RETRY_WAIT: Duration = Duration::from_millis(50);
/// How long the log may take at the start until its state is there again.
const RECOVERY_WAIT_MAX: Duration = Duration::from_secs(120);

/// Told to servers that dial a region of one.
const NOT_SERVED: CloseCode = CloseCode(256);
/// How long a server's own certificate lives.
const OWN_LEAF_LIFETIME: Duration = Duration::from_secs(72 * 3600);

/// A running server. A clone is the same one.
#[derive(Clone)]
pub struct Server {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) info: ServerInfo,
    pub(crate) raft: RaftNode,
    pub(crate) waiters: Waiters,
    pub(crate) edges: EdgeConnections,
    pub(crate) heard: leader_loop::Heard,
    authority: RwLock<Authority>,
    pub(crate) host_secret: drover_certs::Secret,
    pub(crate) forward_handler: OnceLock<ForwardHandler>,
    endpoint: Endpoint,
    host_file: host_file::HostFile,
}

/// A state that may be read, with how fresh it is.
#[derive(Clone)]
pub struct Reading {
    /// The state.
    pub snapshot: Snapshot,
    /// How long ago this server heard the leader; zero on the leader.
    pub last_contact: Duration,
    /// Somebody leads.
    pub known_leader: bool,
}

impl Server {
    /// Starts a server: opens its log, its port and its duties. `fatal` is called when it can't go on (a dead log): the
    /// process must end then.
    ///
    /// # Errors
    /// The data directory, the port, the keys or the log can't be used.
    pub async fn start(settings: Settings, fatal: impl FnOnce(String) + Send + 'static) -> Result<Self, StartError> {
        if settings.bootstrap_expect != 1 {
            return Err(StartError::BootstrapExpect(settings.bootstrap_expect));
        }
        let region: RegionName = settings
            .region
            .parse()
            .map_err(|e| StartError::Region { name: settings.region.clone(), source: Box::new(e) })?;
        let dir = settings.data_dir.clone();
        let home = authority::open(&dir, &region)?;

        let endpoint = Endpoint::bind(EndpointOptions::listen(settings.rpc_bind)).map_err(StartError::Bind)?;
        let identity =
            Identity::new(region.clone(), Role::Server, &home.id).map_err(|e| StartError::Authority(Box::new(e)))?;
        let valid = authority::renew_own(&endpoint, &home.authority, &identity, OWN_LEAF_LIFETIME)?;
        let bound = endpoint
            .local_address()
            .map_err(|source| StartError::DataDir { dir: settings.data_dir.clone(), source })?;
        let rpc_advertise = settings.rpc_advertise.unwrap_or_else(|| authority::reachable(bound));

        let raft_settings =
            drover_raft::Settings { dir: dir.join("raft"), node_id: home.number, address: rpc_advertise.to_string() };
        let raft = RaftNode::start(raft_settings, fatal).await?;
        raft.bootstrap().await.map_err(StartError::Bootstrap)?;
        if let Err(error) = recover(&raft).await {
            raft.shutdown().await;
            return Err(StartError::Recover(error));
        }

        let info = ServerInfo {
            name: settings.name,
            region: settings.region,
            datacenter: settings.datacenter,
            id: home.id.clone(),
            rpc_advertise,
            http_advertise: settings.http_advertise,
            bootstrap_expect: settings.bootstrap_expect,
            fingerprint: home.authority.fingerprint().to_string(),
        };
        let host_secret = drover_certs::Secret::generate().map_err(|_| StartError::Randomness)?;
        let host_file = host_file::write(&info, bound, &host_secret);
        let inner = Arc::new(Inner {
            info,
            raft,
            waiters: Waiters::default(),
            edges: EdgeConnections::default(),
            heard: leader_loop::Heard::default(),
            authority: RwLock::new(home.authority),
            host_secret,
            forward_handler: OnceLock::new(),
            endpoint,
            host_file,
        });
        let server = Server { inner };
        tokio::spawn(wake_waiters(server.clone()));
        tokio::spawn(leader_loop::run(server.clone()));
        tokio::spawn(accept_connections(server.clone()));
        tokio::spawn(authority::keep_renewed(server.clone(), dir, identity, OWN_LEAF_LIFETIME, valid));
        Ok(server)
    }

    /// What this server tells about itself.
    pub fn info(&self) -> &ServerInfo {
        &self.inner.info
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// The region's authority as it is now.
    pub(crate) fn authority(&self) -> Authority {
        self.inner.authority.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this one issues.
    pub(crate) fn set_authority(&self, authority: Authority) {
        *self.inner.authority.write().unwrap_or_else(PoisonError::into_inner) = authority;
    }

    /// A state to read from: linearizable, or the local one if `stale` will do.
    ///
    /// # Errors
    /// Nobody leads, and `stale` was not asked for.
    pub async fn read(&self, stale: bool) -> Result<Reading, Error> {
        if !stale {
            self.read_barrier().await?;
        }
        Ok(self.reading())
    }

    async fn read_barrier(&self) -> Result<(), Error> {
        let mut wait = self.leader_wait();
        loop {
            wait.before_attempt();
            match self.inner.raft.read_barrier().await {
                Err(ProposeError::NotLeader { .. }) => wait.for_change().await?,
                result => return result.map_err(Error::from),
            }
        }
    }

    /// The local state, however old.
    pub fn reading(&self) -> Reading {
        Reading {
            snapshot: self.inner.raft.snapshot(),
            last_contact: Duration::ZERO,
            known_leader: self.inner.raft.leadership().borrow().leader.is_some(),
        }
    }

    /// Takes a place in the queue for a change. Take it before the state is read.
    pub fn wait_for(&self, watch: &Watch) -> Waiter {
        self.inner.waiters.wait_for(watch)
    }

    /// Commits a command; gives its index and answer. A refusal is an error.
    ///
    /// # Errors
    /// Nobody leads, the state refuses it, or the server is stopping.
    pub async fn propose(&self, command: Command) -> Result<(u64, Answer), Error> {
        self.commit(&command).await
    }

    /// As [`Self::propose`], for a command that the caller still needs when it is too long for the log (`Invalid`).
    pub(crate) async fn commit(&self, command: &Command) -> Result<(u64, Answer), Error> {
        let mut wait = self.leader_wait();
        loop {
            wait.before_attempt();
            match self.inner.raft.propose(command).await {
                Ok((_, Answer::Refused(refusal))) => return Err(refusal.into()),
                Ok(done) => return Ok(done),
                Err(ProposeError::NotLeader { .. }) => wait.for_change().await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn leader_wait(&self) -> LeaderWait {
        LeaderWait { leadership: self.inner.raft.leadership(), deadline: Instant::now() + LEADER_WAIT_MAX }
    }

    /// The leader's RPC address, when there is one.
    pub fn leader_address(&self) -> Option<String> {
        self.inner.raft.leadership().borrow().leader.as_ref().map(|(_, address)| address.clone())
    }

    /// True when this server leads its region.
    pub fn is_leader(&self) -> bool {
        self.inner.raft.leadership().borrow().is_leader
    }

    /// RPC addresses of the region's servers.
    pub fn peers(&self) -> Vec<String> {
        vec![self.inner.info.rpc_advertise.to_string()]
    }

    /// Waits until somebody leads; false when that takes longer than `wait`.
    pub async fn wait_for_leader(&self, wait: Duration) -> bool {
        let mut leadership = self.inner.raft.leadership();
        timeout(wait, leadership.wait_for(|now| now.leader.is_some())).await.is_ok_and(|result| result.is_ok())
    }

    /// Numbers for operators, by part.
    pub fn stats(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let server = BTreeMap::from([
            ("server".to_owned(), "true".to_owned()),
            ("leader".to_owned(), self.is_leader().to_string()),
            ("leader_addr".to_owned(), self.leader_address().unwrap_or_default()),
            ("bootstrap".to_owned(), (self.inner.info.bootstrap_expect == 1).to_string()),
            ("known_regions".to_owned(), "1".to_owned()),
        ]);
        BTreeMap::from([("nomad".to_owned(), server), ("raft".to_owned(), self.inner.raft.stats())])
    }

    /// Stops: no new connections, the log closed, the file for the same host gone.
    pub async fn shutdown(&self) {
        self.inner.host_file.remove();
        self.inner.endpoint.shutdown(CloseCode::SHUTDOWN, "server stops").await;
        self.inner.raft.shutdown().await;
    }

    /// A fresh id.
    pub fn fresh_id<T: From<[u8; 16]>>(&self, make: fn([u8; 16]) -> T) -> T {
        make(chance::bytes16())
    }
}

/// The wait of one request for a leader.
struct LeaderWait {
    leadership: watch::Receiver<Leadership>,
    deadline: Instant,
}

impl LeaderWait {
    /// A change from here on counts.
    fn before_attempt(&mut self) {
        self.leadership.mark_unchanged();
    }

    /// Waits for another leader, or a little; an error when that took too long in all.
    async fn for_change(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if now >= self.deadline {
            return Err(Error::NoLeader);
        }
        match timeout_at(self.deadline.min(now + LEADER_RETRY_WAIT), self.leadership.changed()).await {
            Ok(Err(_)) => Err(Error::NoLeader),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

/// Waits until everything that was acknowledged before a restart is applied again. Nobody is answered from an older state:
/// an edge would end what it does not find there.
async fn recover(raft: &RaftNode) -> Result<(), ProposeError> {
    let recovered = async {
        loop {
            match raft.read_barrier().await {
                Err(ProposeError::NotLeader { .. }) => tokio::time::sleep(LEADER_RETRY_WAIT).await,
                result => return result,
            }
        }
    };
    timeout(RECOVERY_WAIT_MAX, recovered).await.unwrap_or(Err(ProposeError::NotLeader { leader: None }))
}

/// Hands the log's events to whoever waits.
async fn wake_waiters(server: Server) {
    let mut events = server.inner.raft.events();
    loop {
        match events.recv().await {
            Ok(events) => server.inner.waiters.wake(&events),
            // Too far behind to know what changed: everybody looks.
            Err(RecvError::Lagged(_)) => server.inner.waiters.wake(&drover_state::Events::default()),
            Err(RecvError::Closed) => return,
        }
    }
}

async fn accept_connections(server: Server) {
    while let Some(accepted) = server.endpoint().accept().await {
        let server = server.clone();
        match accepted {
            Accepted::Peer(peer) if peer.protocol == Protocol::Edge => {
                tokio::spawn(edge_service::serve(server, peer));
            }
            Accepted::Peer(peer) => {
                peer.connection.close(NOT_SERVED, "this region has one server");
            }
            Accepted::Candidate(candidate) => {
                tokio::spawn(enrol_service::serve(server, candidate));
            }
        }
    }
}
