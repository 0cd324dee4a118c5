//! The edge's way to its servers: finds one, gets a certificate if need be, registers, and then does three things at a
//! time: heartbeats, hears what shall run, reports what does. When it breaks it begins anew, after a wait with jitter.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use drover_certs::{Fingerprint, JoinToken, RegionName};
use drover_model::node::Node;
use drover_protocol::codec;
use drover_protocol::edge::{FromServer, NODE_ALLOCS_BYTES_MAX, NodeAllocs, REQUEST_BYTES_MAX, RpcError, ToServer};
use drover_protocol::heartbeat::HeartbeatAnswer;
use drover_protocol::host_file::{HostFile, OWN_CERTIFICATES, OWN_CERTIFICATES_HELP};
use drover_transport::{Clock, CloseCode, Connection, Endpoint, EndpointOptions, Peer, Protocol};
use tokio::sync::{Notify, mpsc, watch};

use crate::config::{EdgeConfig, RPC_PORT};
use crate::credentials::{Trust, TrustFile, load_own};
use crate::enrol::{DIAL_TIME_MAX, Joiner};
use crate::heartbeats::{self, Heartbeats};
use crate::host_servers;
use crate::outbox::Outbox;
use crate::requests::Requests;

/// The longest wait between two attempts to connect.
const BACKOFF_MAX: Duration = Duration::from_secs(15);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// A connection that has lasted this long was a good one: what follows it begins with the shortest wait.
const SETTLED: Duration = Duration::from_secs(10);
/// So long after its end no server takes a certificate for the next one.
const RENEWABLE_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// What shows an earlier time than this is no clock: 2026-01-01, when there was no such program yet.
const NO_CLOCK_UNTIL: Duration = Duration::from_secs(1_767_225_600);
/// The longest time for the answer to a request.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(8);
/// The wait after reports that a server could not take.
const REPORT_RETRY: Duration = Duration::from_millis(500);
/// A wall clock may be set at any time, so the time of a renewal is looked at again at least this often.
const RENEWAL_LOOK: Duration = Duration::from_secs(600);

/// What the connection tells the agent.
#[derive(Debug)]
pub enum Heard {
    /// What the node shall run.
    Pulled(NodeAllocs),
    /// Where the servers of the region take RPCs.
    Servers(Vec<String>),
}

/// How the connection stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// The server that has registered the node.
    pub server: Option<String>,
    /// Why there is none.
    pub error: Option<String>,
}

/// What the connection needs to know.
pub struct Link {
    /// The edge's settings.
    pub config: Arc<EdgeConfig>,
    /// The node as it is registered.
    pub node: Arc<Node>,
    /// Tells when that changes.
    pub nodes: watch::Receiver<Arc<Node>>,
    /// Reports that wait.
    pub outbox: Arc<Outbox>,
    /// Answers what servers ask; without it they are told that nobody does.
    pub requests: Option<Arc<Requests>>,
    /// Takes what is heard.
    pub heard: mpsc::Sender<Heard>,
    /// Shows how it stands.
    pub status: watch::Sender<LinkStatus>,
    /// Shows the connection, for requests that others make on it.
    pub connection: watch::Sender<Option<Connection>>,
    /// Servers that were known before.
    pub known_servers: Vec<String>,
    /// Somebody has put other certificates in place.
    pub renewed: Arc<Notify>,
}

/// A server that may be dialled.
struct Candidate {
    name: String,
    address: SocketAddr,
    /// Its file, when it is on this host.
    host_file: Option<HostFile>,
}

/// Why a session ended.
enum Ended {
    /// The certificate was renewed: connect again at once.
    Renewed,
    /// Something broke after the node had been registered.
    Broken(String),
}

impl Link {
    /// Connects, again and again. Never ends by itself.
    pub async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        let file = TrustFile::new(&self.config.state_dir);
        let mut endpoints = Endpoints::default();
        let mut lost = None;
        loop {
            match self.connect(&mut endpoints, &file, lost).await {
                Ok((peer, trust, name)) => {
                    let began = Instant::now();
                    let ended = self.session(&peer, &mut endpoints, &file, trust, &name).await;
                    if began.elapsed() >= SETTLED {
                        backoff = BACKOFF_MIN;
                    }
                    self.connection.send_replace(None);
                    peer.connection.close(CloseCode::DONE, "");
                    match ended {
                        // With a clock that is wrong every certificate may be due at once: then the wait grows.
                        Ok(Ended::Renewed) => {}
                        Ok(Ended::Broken(reason)) => {
                            lost = Some(peer.connection.remote_address());
                            tracing::warn!(server = %name, %reason, "connection to the server lost");
                            self.status.send_replace(LinkStatus { server: None, error: Some(reason) });
                        }
                        Err(error) => self.failed(&error),
                    }
                }
                Err(error) => self.failed(&error),
            }
            tokio::time::sleep(with_jitter(backoff)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    fn failed(&self, error: &anyhow::Error) {
        let text = format!("{error:#}");
        let is_new = self.status.borrow().error.as_ref() != Some(&text);
        if is_new {
            tracing::warn!(error = %text, "no connection to a server");
        }
        self.status.send_replace(LinkStatus { server: None, error: Some(text) });
    }

    /// The first candidate that takes us; the one that was lost comes last.
    async fn connect(
        &self,
        endpoints: &mut Endpoints,
        file: &TrustFile,
        lost: Option<SocketAddr>,
    ) -> Result<(Peer, Option<Trust>, String)> {
        let mut candidates = self.candidates().await?;
        candidates.sort_by_key(|candidate| Some(candidate.address) == lost);
        let mut last = None;
        for candidate in candidates {
            match self.connect_to(&candidate, endpoints, file).await {
                Ok((peer, trust)) => return Ok((peer, trust, candidate.name)),
                Err(error) => last = Some(error.context(format!("connect to {}", candidate.name))),
            }
        }
        Err(last.unwrap_or_else(|| anyhow!("no server is known")))
    }

    async fn connect_to(
        &self,
        server: &Candidate,
        endpoints: &mut Endpoints,
        file: &TrustFile,
    ) -> Result<(Peer, Option<Trust>)> {
        let region = RegionName::new(&self.config.region)?;
        let joiner = Joiner { config: &self.config, node_id: self.node.id };
        if let Some(files) = &self.config.own_tls {
            let own = load_own(files, &region, &self.config.state_dir)?;
            let endpoint = endpoints.of_family(server.address, Clock::with_floor(own.certificate.not_before()))?;
            endpoint.set_own_credentials(&own.certificate, &own.anchors, &own.key)?;
            let peer = endpoint.dial(server.address, &region, Protocol::Edge, DIAL_TIME_MAX).await?;
            return Ok((peer, None));
        }
        if server.host_file.as_ref().is_some_and(|file| file.fingerprint == OWN_CERTIFICATES) {
            bail!(OWN_CERTIFICATES_HELP);
        }
        let kept = file.load()?.filter(|trust| trust.credentials.leaf().identity().region == region);
        let is_of_another_root =
            |trust: &Trust| match server.host_file.as_ref().map(|file| file.fingerprint.parse::<Fingerprint>()) {
                Some(Ok(fingerprint)) => trust.anchors.find(&fingerprint).is_none(),
                _ => false,
            };
        let trust = match kept {
            // Another cluster on this host, or one that was made anew: its wishes would end the tasks of the first.
            Some(trust) if is_of_another_root(&trust) => bail!(
                "its root is not the one of the region that this node has joined; to join the new one, remove {}",
                file.path().display()
            ),
            Some(trust) if self.has_waited_too_long(&trust, server) => {
                self.join(&joiner, server, endpoints, file).await.context("the certificate ended too long ago")?
            }
            Some(trust) => {
                if trust.credentials.leaf().not_after() > SystemTime::now() {
                    trust
                } else {
                    let endpoint = endpoints.for_address(server.address, Some(&trust))?;
                    let renewed =
                        joiner.by_renewal(&endpoint, server.address, &trust).await.context("renew the certificate")?;
                    file.save(&renewed)?;
                    renewed
                }
            }
            None => self.join(&joiner, server, endpoints, file).await?,
        };
        let endpoint = endpoints.for_address(server.address, Some(&trust))?;
        let peer = endpoint.dial(server.address, &region, Protocol::Edge, DIAL_TIME_MAX).await?;
        Ok((peer, Some(trust)))
    }

    /// Nobody renews it any more, and there is another way into the same region.
    fn has_waited_too_long(&self, trust: &Trust, server: &Candidate) -> bool {
        let ended = SystemTime::now().duration_since(trust.credentials.leaf().not_after());
        let token = self.config.join_token.as_ref().and_then(|text| text.parse::<JoinToken>().ok());
        // A file of this host was compared already.
        let leads_to_it = |token: JoinToken| trust.anchors.find(&token.fingerprint).is_some();
        ended.is_ok_and(|ago| ago > RENEWABLE_FOR) && (server.host_file.is_some() || token.is_some_and(leads_to_it))
    }

    /// Gets the first certificate.
    async fn join(
        &self,
        joiner: &Joiner<'_>,
        server: &Candidate,
        endpoints: &mut Endpoints,
        file: &TrustFile,
    ) -> Result<Trust> {
        let endpoint = endpoints.for_address(server.address, None)?;
        let issued = match (&server.host_file, &self.config.join_token) {
            (Some(host_file), _) => joiner.by_host_file(&endpoint, server.address, host_file).await,
            (None, Some(text)) => {
                let token: JoinToken = text.parse()?;
                joiner.by_token(&endpoint, server.address, &token).await
            }
            (None, None) => bail!(
                "this node has no certificate: make a token with `drover node join-token create` on a server and give it \
                 in DROVER_JOIN_TOKEN or client {{ join_token_file }}"
            ),
        };
        let issued = issued.context("get a certificate")?;
        file.save(&issued)?;
        tracing::info!(server = %server.name, "certificate issued");
        Ok(issued)
    }

    /// Servers to try, in this order: those of the settings, or of this host, then those that servers have named.
    async fn candidates(&self) -> Result<Vec<Candidate>> {
        let files = host_servers::find(&self.config.region);
        let mut found: Vec<Candidate> = Vec::new();
        let mut unresolved = None;
        for name in &self.config.servers {
            match resolve(name).await {
                Ok(addresses) => found.extend(addresses.into_iter().map(|address| candidate(name, address, &files))),
                Err(error) => unresolved = Some(error),
            }
        }
        if self.config.servers.is_empty() {
            for file in &files {
                if let Ok(address) = file.rpc.parse() {
                    found.push(candidate(&file.rpc, address, &files));
                }
            }
        }
        for name in &self.known_servers {
            if let Ok(address) = name.parse()
                && !found.iter().any(|other| other.address == address)
            {
                found.push(candidate(name, address, &files));
            }
        }
        match (found.is_empty(), unresolved) {
            (false, _) => Ok(found),
            (true, Some(error)) => Err(error),
            (true, None) => bail!(
                "no server of region {:?} on this host, and none is named in client {{ servers = [...] }}",
                self.config.region
            ),
        }
    }

    /// From registration to the end of the connection.
    async fn session(
        &mut self,
        peer: &Peer,
        endpoints: &mut Endpoints,
        file: &TrustFile,
        trust: Option<Trust>,
        name: &str,
    ) -> Result<Ended> {
        let connection = &peer.connection;
        let ttl = self.register(connection).await.context("register the node")?;
        tracing::info!(server = %name, node = %self.node.id, "node registered");
        self.connection.send_replace(Some(connection.clone()));
        self.status.send_replace(LinkStatus { server: Some(name.to_owned()), error: None });
        let endpoint = endpoints.for_address(connection.remote_address(), None)?;
        let (servers_tx, servers) = watch::channel(Vec::new());
        let reason = tokio::select! {
            reason = self.heartbeats(connection, ttl, servers_tx) => reason,
            reason = self.refresh(connection) => reason,
            reason = self.pull(connection) => reason,
            reason = self.reports(connection) => reason,
            reason = self.serve(connection) => reason,
            closed = connection.closed() => closed.to_string(),
            () = self.renewed.notified() => return Ok(Ended::Renewed),
            () = self.renew(&endpoint, connection, file, trust) => return Ok(Ended::Renewed),
        };
        let found = servers.borrow();
        if !found.is_empty() {
            self.known_servers.clone_from(&found);
        }
        Ok(Ended::Broken(reason))
    }

    /// Registers the node again each time that it has changed.
    async fn refresh(&self, connection: &Connection) -> String {
        let mut nodes = self.nodes.clone();
        loop {
            if nodes.changed().await.is_err() {
                // The agent is going.
                return std::future::pending().await;
            }
            loop {
                let node = nodes.borrow_and_update().clone();
                match ask(connection, &ToServer::Register { node: Box::new((*node).clone()) }).await {
                    Ok(FromServer::Alive { .. }) => break,
                    Ok(FromServer::Refused(error @ (RpcError::NotLeader { .. } | RpcError::Unavailable { .. }))) => {
                        tracing::debug!(%error, "the changed node is not registered yet");
                        tokio::time::sleep(with_jitter(REPORT_RETRY)).await;
                    }
                    Ok(FromServer::Refused(error)) => return error.to_string(),
                    Ok(other) => return format!("unexpected answer {other:?}"),
                    Err(error) => return format!("{error:#}"),
                }
            }
        }
    }

    async fn register(&mut self, connection: &Connection) -> Result<Duration> {
        self.node = self.nodes.borrow_and_update().clone();
        match ask(connection, &ToServer::Register { node: Box::new((*self.node).clone()) }).await? {
            FromServer::Alive { heartbeat_ttl, servers } => {
                self.known_servers.clone_from(&servers);
                let _ = self.heard.send(Heard::Servers(servers)).await;
                Ok(heartbeat_ttl)
            }
            FromServer::Refused(error) => Err(error.into()),
            other => bail!("unexpected answer {other:?}"),
        }
    }

    async fn heartbeats(
        &self,
        connection: &Connection,
        mut ttl: Duration,
        servers_tx: watch::Sender<Vec<String>>,
    ) -> String {
        let mut heartbeats = Heartbeats::new(self.node.id);
        loop {
            tokio::time::sleep(heartbeats::wait(ttl)).await;
            let answer = tokio::time::timeout(ANSWER_TIME_MAX, heartbeats.beat(connection)).await;
            match answer.context("no answer from the server").flatten() {
                Ok(HeartbeatAnswer::Due(time)) => ttl = time,
                Ok(HeartbeatAnswer::Told(FromServer::Alive { heartbeat_ttl, servers })) => {
                    ttl = heartbeat_ttl;
                    // Only the latest list counts; the session reads it when it ends.
                    servers_tx.send_replace(servers);
                }
                // Purged, or unknown to a server that has lost its state: the next session registers again.
                Ok(HeartbeatAnswer::Told(FromServer::Refused(RpcError::NotFound { .. }))) => {
                    return "the servers do not know this node".to_owned();
                }
                Ok(HeartbeatAnswer::Told(FromServer::Refused(
                    RpcError::NotLeader { .. } | RpcError::Unavailable { .. },
                ))) => ttl = heartbeats::SOON,
                Ok(HeartbeatAnswer::Told(FromServer::Refused(error))) => return error.to_string(),
                Ok(HeartbeatAnswer::Told(other)) => return format!("unexpected answer {other:?}"),
                Err(error) => return format!("{error:#}"),
            }
        }
    }

    async fn pull(&self, connection: &Connection) -> String {
        let pull = async {
            let mut stream = connection.open_stream().await?;
            stream.send_frame(&codec::encode(&ToServer::WatchAllocs { node_id: self.node.id })).await?;
            stream.finish();
            while let Some(frame) = stream.recv_frame(NODE_ALLOCS_BYTES_MAX).await? {
                let allocs: NodeAllocs = codec::decode(&frame)?;
                if self.heard.send(Heard::Pulled(allocs)).await.is_err() {
                    break;
                }
            }
            anyhow::Ok(())
        };
        match pull.await {
            Ok(()) => "the server tells nothing any more".to_owned(),
            Err(error) => format!("{error:#}"),
        }
    }

    async fn reports(&self, connection: &Connection) -> String {
        loop {
            self.outbox.ready().await;
            let updates = Taken { outbox: &self.outbox, updates: self.outbox.take() };
            let report = ToServer::ReportAllocs { node_id: self.node.id, updates: updates.updates.clone() };
            match ask(connection, &report).await {
                Ok(FromServer::Reported { .. }) => {
                    self.outbox.acknowledged(&updates.updates);
                    updates.done();
                }
                Ok(FromServer::Refused(error @ (RpcError::NotLeader { .. } | RpcError::Unavailable { .. }))) => {
                    tracing::debug!(%error, "reports not taken");
                    drop(updates);
                    tokio::time::sleep(with_jitter(REPORT_RETRY)).await;
                }
                Ok(FromServer::Refused(RpcError::NotFound { message })) => return message,
                Ok(FromServer::Refused(error)) => {
                    // It would be refused again, for ever.
                    tracing::error!(%error, reports = updates.updates.len(), "reports refused and dropped");
                    updates.done();
                }
                Ok(other) => return format!("unexpected answer {other:?}"),
                Err(error) => return format!("{error:#}"),
            }
        }
    }

    async fn serve(&self, connection: &Connection) -> String {
        loop {
            match (connection.accept_stream().await, &self.requests) {
                (Ok(stream), Some(requests)) => requests.clone().serve(stream),
                (Ok(mut stream), None) => stream.abort(CloseCode::BUSY),
                (Err(closed), _) => return closed.to_string(),
            }
        }
    }

    /// Resolves when a new certificate was got and kept.
    async fn renew(&self, endpoint: &Endpoint, connection: &Connection, file: &TrustFile, trust: Option<Trust>) {
        // Nobody but the operator renews what the operator has made.
        let Some(trust) = trust else { return std::future::pending().await };
        let joiner = Joiner { config: &self.config, node_id: self.node.id };
        let mut backoff = BACKOFF_MAX;
        loop {
            let leaf = trust.credentials.leaf();
            while let Ok(left) = leaf.renew_at().duration_since(SystemTime::now()) {
                tokio::time::sleep(left.min(RENEWAL_LOOK) + Duration::from_millis(10)).await;
            }
            let renewed = joiner.by_renewal(endpoint, connection.remote_address(), &trust).await;
            match renewed.and_then(|renewed| file.save(&renewed)) {
                Ok(()) => {
                    tracing::info!("certificate renewed");
                    return;
                }
                Err(error) => tracing::warn!(error = %format!("{error:#}"), "certificate not renewed"),
            }
            tokio::time::sleep(with_jitter(backoff)).await;
            backoff = (backoff * 2).min(RENEWAL_LOOK);
        }
    }
}

/// Reports under way: when they are dropped unacknowledged they wait again.
struct Taken<'a> {
    outbox: &'a Outbox,
    updates: Vec<drover_model::alloc::AllocUpdate>,
}

impl Taken<'_> {
    fn done(mut self) {
        self.updates.clear();
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.updates.is_empty() {
            self.outbox.put_back(std::mem::take(&mut self.updates));
        }
    }
}

/// One request and its answer.
async fn ask(connection: &Connection, request: &ToServer) -> Result<FromServer> {
    let request = codec::encode(request);
    let answer = async { anyhow::Ok(codec::decode(&connection.call(&request, REQUEST_BYTES_MAX).await?)?) };
    tokio::time::timeout(ANSWER_TIME_MAX, answer).await.context("no answer from the server")?
}

fn candidate(name: &str, address: SocketAddr, files: &[HostFile]) -> Candidate {
    let host_file = files.iter().find(|file| file.rpc.parse() == Ok(address)).cloned();
    Candidate { name: name.to_owned(), address, host_file }
}

/// Addresses of `host[:port]`.
async fn resolve(name: &str) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, RPC_PORT)]);
    }
    let with_port = if name.contains(':') { name.to_owned() } else { format!("{name}:{RPC_PORT}") };
    let found = tokio::net::lookup_host(&with_port).await.with_context(|| format!("find server {name:?}"))?;
    Ok(found.collect())
}

/// One endpoint per address family, made when it is needed.
#[derive(Default)]
struct Endpoints(BTreeMap<bool, Endpoint>);

impl Endpoints {
    /// The endpoint for that address; it shows `trust` from now on, where given.
    fn for_address(&mut self, address: SocketAddr, trust: Option<&Trust>) -> Result<Endpoint> {
        // A device without a clock of its own knows at least that its certificate has begun. One that has a clock may have got its
        // certificate while that was ahead.
        let clock = trust.map_or_else(Clock::system, |trust| {
            Clock::with_floor(trust.credentials.leaf().not_before())
                .believed_from(SystemTime::UNIX_EPOCH + NO_CLOCK_UNTIL)
        });
        let endpoint = self.of_family(address, clock)?;
        if let Some(trust) = trust {
            endpoint.set_credentials(&trust.credentials, &trust.anchors)?;
        }
        Ok(endpoint)
    }

    /// The endpoint for that kind of address; one that is made now has this clock.
    fn of_family(&mut self, address: SocketAddr, clock: Clock) -> Result<Endpoint> {
        if let Some(endpoint) = self.0.get(&address.is_ipv6()) {
            return Ok(endpoint.clone());
        }
        let any: IpAddr = if address.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let endpoint =
            Endpoint::bind(EndpointOptions { clock, ..EndpointOptions::dial_only(SocketAddr::new(any, 0)) })?;
        self.0.insert(address.is_ipv6(), endpoint.clone());
        Ok(endpoint)
    }
}

/// Between half of the time and all of it, so that many edges do not do the same at once.
pub(crate) fn with_jitter(time: Duration) -> Duration {
    let mut bytes = [0; 8];
    // Without randomness the wait is only less well spread.
    let _ = getrandom::fill(&mut bytes);
    let share = f64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])) / f64::from(u32::MAX);
    time.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_usual_port() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let check = |name: &str, expected: &str| {
            let found = runtime.block_on(resolve(name)).unwrap();
            assert!(found.contains(&expected.parse().unwrap()), "{name}: {found:?}");
        };
        check("10.0.0.1", "10.0.0.1:4647");
        check("10.0.0.1:7", "10.0.0.1:7");
        check("::1", "[::1]:4647");
        check("localhost:9", "127.0.0.1:9");
    }

    #[test]
    fn jitter_stays_in_bounds() {
        for _ in 0..100 {
            let wait = with_jitter(Duration::from_secs(10));
            assert!((Duration::from_secs(5)..=Duration::from_secs(10)).contains(&wait), "{wait:?}");
        }
    }
}
