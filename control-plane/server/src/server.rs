//! A running server: start, read, write, stop.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use drover_certs::{Authority, Identity, JoinToken, RegionName, Role};
use drover_membership::{Member, MemberStatus, Membership};
use drover_protocol::host_file::{HOST_FILE_VERSION, HostFile};
use drover_protocol::server::{FromPeer, ToPeer};
use drover_raft::{ProposeError, RaftNode};
use drover_state::{Answer, Command, Snapshot};
use drover_transport::{CloseCode, Endpoint, Protocol};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::edge_calls::EdgeConnections;
use crate::error::Error;
use crate::event_buffer::{EventBuffer, Subscription};
use crate::forward::ForwardHandler;
use crate::leader_wait::{LEADER_RETRY_WAIT, LeaderWait};
use crate::links::{Addresses, Links};
use crate::peer_calls::AskError;
use crate::raft_links::RaftLinks;
use crate::settings::{ServerInfo, Settings, StartError};
use crate::usable_token::usable_token;
use crate::watch::{Waiter, Waiters, Watch};
use crate::{
    accept, authority, chance, clock, copied, ended, endpoints, host_file, leader_loop, peer_service, reconcile, region,
};

/// How long a request waits for a leader before it is refused.
const LEADER_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long the log may take at the start until its state is there again.
const RECOVERY_WAIT_MAX: Duration = Duration::from_secs(120);
/// Who has come to the gossip port for a certificate and waits to be served.
const CANDIDATES_MAX: usize = 64;
/// How long a leader that stops tries to hand leadership over.
const HANDOVER_WAIT_MAX: Duration = Duration::from_secs(1);

/// A running server. A clone is the same one.
#[derive(Clone)]
pub struct Server {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) info: ServerInfo,
    pub(crate) number: u64,
    pub(crate) raft: RaftNode,
    pub(crate) waiters: Waiters,
    events: Option<EventBuffer>,
    pub(crate) edges: EdgeConnections,
    pub(crate) heard: leader_loop::Heard,
    pub(crate) membership: Membership,
    /// To the other servers, for everything but the log.
    pub(crate) peer_links: Links,
    pub(crate) region_links: crate::region_forward::RegionLinks,
    pub(crate) addresses: Addresses,
    pub(crate) snapshot_places: crate::snapshots::Places,
    pub(crate) reconcile: reconcile::Reconcile,
    pub(crate) promise: Mutex<region::Promise>,
    pub(crate) settings: Settings,
    pub(crate) join_token: Option<JoinToken>,
    pub(crate) data_dir: PathBuf,
    pub(crate) waiting_tokens: crate::waiting_tokens::WaitingTokens,
    authority: RwLock<Option<Authority>>,
    /// The region's keys of before, where its certificate has ended.
    pub(crate) ended: Option<Authority>,
    identity: Identity,
    pub(crate) host_secret: drover_certs::Secret,
    pub(crate) forward_handler: OnceLock<ForwardHandler>,
    pub(crate) endpoint: Endpoint,
    pub(crate) rpc_bound: std::net::SocketAddr,
    pub(crate) gossip_endpoint: Endpoint,
    pub(crate) host_file: host_file::HostFile,
    /// When a certificate of one's own ends.
    pub(crate) own_end: Mutex<Option<SystemTime>>,
    fatal: Fatal,
}

/// Ends the process with a reason; called once.
#[derive(Clone)]
pub(crate) struct Fatal(Arc<Mutex<Option<FatalCall>>>);

type FatalCall = Box<dyn FnOnce(String) + Send>;

impl Fatal {
    pub(crate) fn call(&self, reason: String) {
        if let Some(fatal) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            fatal(reason);
        }
    }
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
    /// Starts a server: opens its log, its ports and its duties. One that is to form its region with others, or to join one,
    /// goes on with that after this has returned. `fatal` is called when it can't go on (a dead log): the process must end then.
    ///
    /// # Errors
    /// The data directory, a port, the keys or the log can't be used.
    pub async fn start(settings: Settings, fatal: impl FnOnce(String) + Send + 'static) -> Result<Self, StartError> {
        let region: RegionName = settings
            .region
            .parse()
            .map_err(|e| StartError::Region { name: settings.region.clone(), source: Box::new(e) })?;
        let dir = settings.data_dir.clone();
        let home = authority::open_home(&dir)?;
        let (forms_alone, now) = (settings.bootstrap_expect == 1, SystemTime::now());
        let own_trust = settings.own_tls.as_ref().map(|files| files.load(&region, &home, &dir)).transpose();
        let own_trust = own_trust.map_err(Box::new)?;
        let join_token = usable_token(&settings, &region)?;
        let authority = match own_trust {
            Some(_) => None,
            None => match authority::load(&dir, &region, now)? {
                None if forms_alone && join_token.is_none() => Some(authority::create(&dir, &region, now)?),
                kept => kept,
            },
        };
        let (authority, ended) = ended::told_apart(authority, now, join_token.is_some())?;

        let (endpoint, gossip_endpoint) = endpoints::bind(&settings)?;
        let bound = |endpoint: &Endpoint| {
            endpoint.local_address().map_err(|source| StartError::DataDir { dir: dir.clone(), source })
        };
        let (rpc_bound, gossip_bound) = (bound(&endpoint)?, bound(&gossip_endpoint)?);
        let identity =
            Identity::new(region.clone(), Role::Server, &home.id).map_err(|e| StartError::Authority(Box::new(e)))?;
        let info = ServerInfo {
            name: settings.name.clone(),
            region: settings.region.clone(),
            datacenter: settings.datacenter.clone(),
            id: home.id.clone(),
            rpc_advertise: settings.rpc_advertise.unwrap_or_else(|| authority::reachable(rpc_bound)),
            http_advertise: settings.http_advertise.clone(),
            bootstrap_expect: settings.bootstrap_expect,
            gossip_advertise: settings.gossip_advertise.unwrap_or_else(|| authority::reachable(gossip_bound)),
            version: settings.version.clone(),
            stays_alone: settings.stays_alone,
        };

        let show = |endpoint: &Endpoint| match (&own_trust, &authority) {
            (Some(own), _) => own.show_on(endpoint),
            (None, Some(authority)) => authority::renew_own(&[endpoint], authority, &identity).map(drop),
            (None, None) => Ok(()),
        };
        copied::check(&dir, info.rpc_advertise, &identity, show).await?;
        let addresses = Addresses::default();
        let links = |protocol| Links::new(endpoint.clone(), region.clone(), protocol, addresses.clone());
        let fatal = Fatal(Arc::new(Mutex::new(Some(Box::new(fatal)))));
        let raft_settings = drover_raft::Settings {
            log: settings.raft_log,
            snapshot_interval: settings.raft_snapshot_interval,
            pace: settings.raft_pace,
            ..drover_raft::Settings::new(dir.join("raft"), home.number, info.rpc_advertise.to_string())
        };
        let raft_fatal = fatal.clone();
        let raft_peers = Arc::new(RaftLinks(links(Protocol::Raft)));
        let raft = RaftNode::start(raft_settings, raft_peers, move |reason| raft_fatal.call(reason)).await?;
        if let Err(error) = begin_alone(&raft, &info, home.number).await {
            raft.shutdown().await;
            return Err(error);
        }

        let (candidates, at_gossip_port) = mpsc::channel(CANDIDATES_MAX);
        let membership = Membership::start(drover_membership::Options {
            own: own_member(&info, !raft.members().is_empty()),
            endpoint: gossip_endpoint.clone(),
            key: settings.gossip_key.clone(),
            seed: chance::seed(),
            candidates: Some(candidates),
        })
        .map_err(|e| StartError::Gossip(Box::new(e)))?;
        let host_secret = drover_certs::Secret::generate().map_err(|_| StartError::Randomness)?;
        let waiting_tokens = crate::waiting_tokens::WaitingTokens::open(&dir)
            .map_err(|source| StartError::DataDir { dir: dir.clone(), source })?;
        let inner = Arc::new(Inner {
            info,
            number: home.number,
            raft,
            waiters: Waiters::default(),
            events: settings.event_buffer.map(EventBuffer::new),
            edges: EdgeConnections::default(),
            heard: leader_loop::Heard::default(),
            membership,
            peer_links: links(Protocol::Server),
            region_links: Default::default(),
            addresses,
            snapshot_places: Default::default(),
            reconcile: reconcile::Reconcile::default(),
            promise: Mutex::default(),
            settings,
            join_token,
            data_dir: dir,
            waiting_tokens,
            authority: RwLock::new(None),
            ended,
            identity,
            host_secret,
            forward_handler: OnceLock::new(),
            endpoint,
            rpc_bound,
            gossip_endpoint,
            host_file: host_file::HostFile::default(),
            own_end: Mutex::default(),
            fatal,
        });
        let server = Server { inner };
        match (own_trust, authority) {
            (Some(own), _) => server.begin_own(&own)?,
            (None, Some(authority)) => server.adopt(authority)?,
            // One that has waits for no fellow: it has a token.
            (None, None) if server.inner.ended.is_some() => {}
            (None, None) => server.inner.host_file.write(&server.own_host_file(), rpc_bound.port()),
        }
        tokio::spawn(wake_waiters(server.clone()));
        tokio::spawn(leader_loop::run(server.clone()));
        tokio::spawn(accept::accept_connections(server.clone()));
        tokio::spawn(accept::accept_candidates(server.clone(), at_gossip_port));
        tokio::spawn(region::run(server.clone()));
        tokio::spawn(region::follow_directory(server.clone()));
        tokio::spawn(reconcile::run(server.clone()));
        tokio::spawn(crate::kept_snapshots::run(server.clone()));
        Ok(server)
    }

    /// From now on this server has a place in the region's trust: it shows a certificate, issues them, and says so to its host.
    pub(crate) fn adopt(&self, authority: Authority) -> Result<(), StartError> {
        self.set_authority(authority);
        let valid = self.renew_own()?;
        self.inner.host_file.write(&self.own_host_file(), self.inner.rpc_bound.port());
        tokio::spawn(authority::keep_renewed(self.clone(), valid));
        Ok(())
    }

    /// Shows a new certificate from now on; gives the time in which it needs no other.
    pub(crate) fn renew_own(&self) -> Result<Range<SystemTime>, StartError> {
        let missing = || StartError::Authority("this server has no authority yet".into());
        let authority = self.authority().ok_or_else(missing)?;
        let endpoints = [&self.inner.endpoint, &self.inner.gossip_endpoint];
        authority::renew_own(&endpoints, &authority, &self.inner.identity)
    }

    /// What this server tells about itself.
    pub fn info(&self) -> &ServerInfo {
        &self.inner.info
    }

    /// What this server says to its own host.
    pub(crate) fn own_host_file(&self) -> HostFile {
        let Inner { info, settings, .. } = &*self.inner;
        HostFile {
            version: HOST_FILE_VERSION,
            region: info.region.clone(),
            fingerprint: self.host_fingerprint(),
            secret: self.inner.host_secret.reveal(),
            // Not the advertised address: behind a NAT it may lead nowhere from here.
            rpc: authority::reachable(self.inner.rpc_bound).to_string(),
            http: info.http_advertise.clone(),
            pid: std::process::id(),
            gossip: info.gossip_advertise.to_string(),
            bootstrap_expect: info.bootstrap_expect,
            joins: region::plain_addresses(settings.join.once.iter().chain(&settings.join.retry)),
        }
    }

    /// The region's name, as certificates have it.
    pub(crate) fn region_name(&self) -> &RegionName {
        &self.inner.identity.region
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// The region's authority as it is now; none while this server waits to get it.
    pub(crate) fn authority(&self) -> Option<Authority> {
        self.inner.authority.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this one issues.
    pub(crate) fn set_authority(&self, authority: Authority) {
        *self.inner.authority.write().unwrap_or_else(PoisonError::into_inner) = Some(authority);
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
            match self.read_barrier_here().await {
                Err(Error::NoLeader) => {}
                result => return result,
            }
            match self.ask_leader_within(&ToPeer::ReadIndex, Duration::ZERO, wait.left()).await {
                Ok(FromPeer::ReadIndex { index }) => {
                    return in_time(self.inner.raft.wait_applied(index, LEADER_WAIT_MAX).await);
                }
                Ok(_) => return Err(peer_service::unexpected()),
                Err(error @ AskError::Refused(_)) if !error.is_about_leader() => return Err(error.into()),
                Err(_) => wait.for_change().await?,
            }
        }
    }

    /// As [`Self::read`] on the leader; another server says that it does not lead.
    pub(crate) async fn read_barrier_here(&self) -> Result<(), Error> {
        if !self.is_leader() {
            return Err(Error::NoLeader);
        }
        self.inner.raft.read_barrier().await.map_err(Error::from)
    }

    /// The local state, however old.
    pub fn reading(&self) -> Reading {
        let leadership = self.inner.raft.leadership();
        let known_leader = leadership.borrow().leader.is_some();
        // A server that never heard a leader is as old as its last start; nobody knows how old that is.
        let last_contact = self.inner.raft.last_contact().unwrap_or(Duration::ZERO);
        Reading { snapshot: self.inner.raft.snapshot(), last_contact, known_leader }
    }

    /// Takes a place in the queue for a change. Take it before the state is read.
    pub fn wait_for(&self, watch: &Watch) -> Waiter {
        self.inner.waiters.wait_for(watch)
    }

    /// Follows what happens from the entry at that index on; nothing where the event stream is off.
    pub fn subscribe(&self, index: u64) -> Option<Subscription> {
        self.inner.events.as_ref().map(|events| events.subscribe(index))
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
        let mut encoded = None;
        loop {
            wait.before_attempt();
            match self.commit_here(command).await {
                Err(Error::NoLeader) => {}
                result => return result,
            }
            let bytes = encoded.get_or_insert_with(|| drover_state::command::encode(command));
            match self.ask_leader(&ToPeer::Propose { command: bytes.clone() }, LOST_GRACE).await {
                Ok(FromPeer::Proposed { index, answer }) => {
                    in_time(self.inner.raft.wait_shown(index, LEADER_WAIT_MAX).await)?;
                    return answered(index, peer_service::decode_answer(&answer)?);
                }
                Ok(_) => return Err(peer_service::unexpected()),
                // Nothing was sent, or the other side did not lead: it is surely not in the log.
                Err(AskError::NotSent(_)) => wait.for_change().await?,
                Err(error @ AskError::Refused(_)) if error.is_about_leader() => wait.for_change().await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Commits a command if this server leads; nobody else is asked. What a leader has decided is worth nothing under the next.
    pub(crate) async fn commit_here(&self, command: &Command) -> Result<(u64, Answer), Error> {
        if !self.is_leader() {
            return Err(Error::NoLeader);
        }
        let (index, answer) = self.inner.raft.propose(command).await?;
        answered(index, answer)
    }

    fn leader_wait(&self) -> LeaderWait {
        LeaderWait::new(self.inner.raft.leadership(), LEADER_WAIT_MAX)
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
        let members = self.inner.raft.members();
        let mut peers: Vec<String> = members
            .into_iter()
            .map(|member| match self.inner.addresses.of(member.number, &member.address) {
                Ok(address) => address.to_string(),
                Err(_) => member.address,
            })
            .collect();
        if peers.is_empty() {
            peers.push(self.inner.info.rpc_advertise.to_string());
        }
        peers.sort();
        peers
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
            ("known_regions".to_owned(), self.regions().len().to_string()),
        ]);
        BTreeMap::from([("nomad".to_owned(), server), ("raft".to_owned(), self.inner.raft.stats())])
    }

    /// Stops: leadership handed over, no new connections, the log closed, the file for the same host gone.
    pub async fn shutdown(&self) {
        self.inner.host_file.remove();
        self.hand_over().await;
        let stop = |endpoint| Endpoint::shutdown(endpoint, CloseCode::SHUTDOWN, "server stops");
        // Together: each waits for others, who may all be gone.
        tokio::join!(stop(&self.inner.endpoint), self.inner.raft.shutdown(), stop(&self.inner.gossip_endpoint));
    }

    /// A leader with other voters lets one of them lead, and waits a little until one does.
    pub(crate) async fn hand_over(&self) {
        let others =
            self.inner.raft.members().into_iter().any(|member| member.is_voter && member.number != self.inner.number);
        if !self.is_leader() || !others {
            return;
        }
        match timeout(HANDOVER_WAIT_MAX, self.inner.raft.transfer_leadership(None)).await {
            Ok(Ok(_)) => tracing::info!("leadership handed over"),
            Ok(Err(error)) => tracing::warn!(%error, "leadership not handed over"),
            Err(_) => tracing::warn!("leadership not handed over in time"),
        }
    }

    /// The process must end, and why.
    pub(crate) fn fail(&self, reason: String) {
        self.inner.fatal.call(reason);
    }

    /// A fresh id.
    pub fn fresh_id<T: From<[u8; 16]>>(&self, make: fn([u8; 16]) -> T) -> T {
        make(chance::bytes16())
    }
}

/// How long an answer may still come from a leader that is none any more, before nobody knows what became of the write.
const LOST_GRACE: Duration = Duration::from_millis(300);

/// What was waited for came, or not.
fn in_time(came: bool) -> Result<(), Error> {
    let late = || Error::Unavailable("this server is too far behind its leader".to_owned());
    came.then_some(()).ok_or_else(late)
}

fn answered(index: u64, answer: Answer) -> Result<(u64, Answer), Error> {
    match answer {
        Answer::Refused(refusal) => Err(refusal.into()),
        answer => Ok((index, answer)),
    }
}

/// What this server says of itself to the others.
fn own_member(info: &ServerInfo, is_bootstrapped: bool) -> Member {
    Member {
        name: info.name.clone(),
        region: info.region.clone(),
        datacenter: info.datacenter.clone(),
        id: info.id.clone(),
        gossip: info.gossip_advertise,
        rpc: info.rpc_advertise,
        http: info.http_advertise.clone(),
        version: info.version.clone(),
        bootstrap_expect: info.bootstrap_expect,
        is_bootstrapped,
        is_leader: false,
        incarnation: u64::try_from(clock::now().0 / 1_000_000).unwrap_or_default(),
        status: MemberStatus::Alive,
    }
}

/// A server that expects nobody else begins its log at once; one that is alone in it waits for its state.
async fn begin_alone(raft: &RaftNode, info: &ServerInfo, number: u64) -> Result<(), StartError> {
    let is_begun = raft.is_initialized().await.map_err(StartError::Bootstrap)?;
    if !is_begun && info.bootstrap_expect != 1 {
        return Ok(());
    }
    if !is_begun {
        let members = BTreeMap::from([(number, info.rpc_advertise.to_string())]);
        raft.initialize(members).await.map_err(StartError::Bootstrap)?;
    }
    let mut members = raft.watch_members();
    // The sender goes with raft itself; whoever asks it next hears of that.
    let known = timeout(RECOVERY_WAIT_MAX, members.wait_for(|members| !members.is_empty())).await;
    let is_alone =
        known.is_ok_and(|known| known.is_ok_and(|members| members.len() == 1 && members[0].number == number));
    if is_alone {
        recover(raft).await.map_err(StartError::Recover)?;
    }
    Ok(())
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
            Ok(entry) => {
                if let Some(events) = &server.inner.events {
                    // Without changes it is a state that came whole.
                    if entry.changes.is_empty() { events.reset() } else { events.push(&entry) }
                }
                server.inner.waiters.wake(&entry);
            }
            // Too far behind to know what changed: everybody looks.
            Err(RecvError::Lagged(_)) => {
                server.inner.events.iter().for_each(EventBuffer::reset);
                server.inner.waiters.wake(&drover_state::Events::default());
            }
            Err(RecvError::Closed) => return,
        }
    }
}
