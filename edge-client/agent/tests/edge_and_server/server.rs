//! A server that issues certificates, says what shall run, and hears what does.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use drover_certs::{Authority, Identity, JoinToken, Lifetimes, PublicKey, RegionName, Role, Secret};
use drover_model::alloc::AllocUpdate;
use drover_model::node::Node;
use drover_protocol::codec;
use drover_protocol::edge::{
    FromEdge, FromServer, LogChunk, NODE_ALLOCS_BYTES_MAX, NodeAllocs, REQUEST_BYTES_MAX, ToEdge, ToServer, WantedAlloc,
};
use drover_protocol::enrol::{ENROL_BYTES_MAX, EnrolAnswer, EnrolRequest, Proof};
use drover_transport::{Accepted, Candidate, CloseCode, Connection, Endpoint, EndpointOptions, Peer, Stream};
use serde_bytes::ByteBuf;
use tokio::sync::{mpsc, watch};

use crate::PATIENCE;

const HOUR: Duration = Duration::from_secs(3600);

pub struct FakeServer {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    reports: mpsc::UnboundedReceiver<AllocUpdate>,
    nodes: mpsc::UnboundedReceiver<Node>,
}

struct Shared {
    authority: Authority,
    secret: Secret,
    /// Of a certificate that is had by a token; one that is renewed lives for an hour.
    first_leaf_lifetime: Mutex<Duration>,
    renewals: AtomicU32,
    wanted: watch::Sender<Vec<WantedAlloc>>,
    /// When an edge was first told of them.
    told: Mutex<Option<Instant>>,
    edge: watch::Sender<Option<Connection>>,
    reports: mpsc::UnboundedSender<AllocUpdate>,
    nodes: mpsc::UnboundedSender<Node>,
}

impl FakeServer {
    pub async fn start() -> FakeServer {
        let region = RegionName::new("global").unwrap();
        let authority = Authority::create(region.clone(), SystemTime::now(), &Lifetimes::default()).unwrap();
        let identity = Identity::new(region, Role::Server, "server").unwrap();
        let credentials = authority.issue_own(&identity, SystemTime::now(), Duration::from_secs(3600)).unwrap();
        let endpoint = Endpoint::bind(EndpointOptions::listen("127.0.0.1:0".parse().unwrap())).unwrap();
        endpoint.set_credentials(&credentials, &authority.anchors()).unwrap();
        let (reports_tx, reports) = mpsc::unbounded_channel();
        let (nodes_tx, nodes) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            authority,
            secret: Secret::generate().unwrap(),
            first_leaf_lifetime: Mutex::new(HOUR),
            renewals: AtomicU32::new(0),
            wanted: watch::channel(Vec::new()).0,
            told: Mutex::default(),
            edge: watch::channel(None).0,
            reports: reports_tx,
            nodes: nodes_tx,
        });
        let (accepting, accepted) = (endpoint.clone(), shared.clone());
        tokio::spawn(async move {
            while let Some(accepted_one) = accepting.accept().await {
                let shared = accepted.clone();
                match accepted_one {
                    Accepted::Candidate(candidate) => drop(tokio::spawn(enrol(shared, candidate))),
                    Accepted::Peer(peer) => drop(tokio::spawn(serve(shared, peer))),
                }
            }
        });
        FakeServer { shared, endpoint, reports, nodes }
    }

    pub fn address(&self) -> String {
        self.endpoint.local_address().unwrap().to_string()
    }

    pub fn token(&self, region: &str) -> String {
        let token = JoinToken {
            role: Role::Client,
            region: RegionName::new(region).unwrap(),
            at: None,
            fingerprint: self.shared.authority.fingerprint(),
            secret: self.shared.secret.clone(),
        };
        token.reveal()
    }

    pub fn want(&self, wanted: Vec<WantedAlloc>) {
        *self.shared.told.lock().unwrap() = None;
        self.shared.wanted.send_replace(wanted);
    }

    /// When an edge was first told what shall run, of what was said last; not before then.
    pub fn told(&self) -> Instant {
        self.shared.told.lock().unwrap().unwrap()
    }

    pub fn set_first_leaf_lifetime(&self, lifetime: Duration) {
        *self.shared.first_leaf_lifetime.lock().unwrap() = lifetime;
    }

    pub fn renewals(&self) -> u32 {
        self.shared.renewals.load(Ordering::SeqCst)
    }

    pub fn hang_up(&self) {
        self.shared.edge.borrow().as_ref().unwrap().close(CloseCode::SHUTDOWN, "test");
    }

    pub async fn registered(&mut self) -> Node {
        tokio::time::timeout(PATIENCE, self.nodes.recv()).await.expect("registers in time").unwrap()
    }

    pub async fn until(&mut self, fits: impl Fn(&AllocUpdate) -> bool) -> AllocUpdate {
        let mut last = None;
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let update = self.reports.recv().await.unwrap();
                if fits(&update) {
                    return update;
                }
                last = Some(update);
            }
        });
        found.await.unwrap_or_else(|_| panic!("not reported in time; last: {last:#?}"))
    }

    pub async fn ask(&self, request: ToEdge) -> Asked {
        let connection = self.shared.edge.borrow().clone().unwrap();
        let mut stream = connection.open_stream().await.unwrap();
        stream.send_frame(&codec::encode(&request)).await.unwrap();
        stream.finish();
        Asked(stream)
    }
}

/// A request to the edge under way.
pub struct Asked(Stream);

impl Asked {
    pub async fn head(&mut self) -> FromEdge {
        let frame = tokio::time::timeout(PATIENCE, self.0.recv_frame(REQUEST_BYTES_MAX)).await.unwrap();
        codec::decode(&frame.unwrap().unwrap()).unwrap()
    }

    /// Waits for that text and gives the file in which it ended.
    pub async fn text(&mut self, expected: &str) -> String {
        let mut text = String::new();
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.0.recv_frame(REQUEST_BYTES_MAX)).await.unwrap();
            let chunk: LogChunk = codec::decode(&frame.unwrap().unwrap()).unwrap();
            text.push_str(std::str::from_utf8(&chunk.data).unwrap());
            if text == expected {
                return chunk.file;
            }
            assert!(expected.starts_with(&text), "{text:?}");
        }
    }
}

async fn enrol(shared: Arc<Shared>, candidate: Candidate) {
    let Ok(mut stream) = candidate.connection.accept_stream().await else { return };
    let Ok(Some(frame)) = stream.recv_frame(ENROL_BYTES_MAX).await else { return };
    let request: EnrolRequest = codec::decode(&frame).unwrap();
    let key = PublicKey::from_signing_request(&request.csr).unwrap();
    match &request.proof {
        Proof::Token { secret } => assert_eq!(*secret, shared.secret.reveal()),
        Proof::Renewal => {
            assert_eq!(candidate.presented.as_ref().unwrap().public_key, key);
            shared.renewals.fetch_add(1, Ordering::SeqCst);
        }
        Proof::HostFile { .. } => panic!("not asked for here"),
    }
    let identity = Identity::new(shared.authority.region().clone(), Role::Client, &request.node).unwrap();
    let lifetime = match request.proof {
        Proof::Renewal => HOUR,
        _ => *shared.first_leaf_lifetime.lock().unwrap(),
    };
    let leaf = shared.authority.issue(&key, &identity, SystemTime::now(), lifetime).unwrap();
    let chain = leaf.chain().iter().map(|der| ByteBuf::from(der.to_vec())).collect();
    let answer = EnrolAnswer::Issued { chain, region: "global".to_owned(), mac: None, servers: Vec::new(), keys: None };
    stream.send_frame(&codec::encode(&answer)).await.unwrap();
    stream.finish();
    candidate.connection.closed().await;
}

async fn serve(shared: Arc<Shared>, peer: Peer) {
    shared.edge.send_replace(Some(peer.connection.clone()));
    while let Ok(stream) = peer.connection.accept_stream().await {
        tokio::spawn(answer(shared.clone(), stream));
    }
}

async fn answer(shared: Arc<Shared>, mut stream: Stream) {
    let Ok(Some(frame)) = stream.recv_frame(REQUEST_BYTES_MAX).await else { return };
    let alive = FromServer::Alive { heartbeat_ttl: Duration::from_secs(2), servers: Vec::new() };
    let answer = match codec::decode::<ToServer>(&frame).unwrap() {
        ToServer::Register { node } => {
            let _ = shared.nodes.send(*node);
            alive
        }
        ToServer::Heartbeat { .. } => alive,
        ToServer::ReportAllocs { updates, .. } => {
            for update in updates {
                let _ = shared.reports.send(update);
            }
            FromServer::Reported { index: 1 }
        }
        ToServer::WatchAllocs { .. } => return push(&shared, stream).await,
        ToServer::Forward(_) => panic!("not asked for here"),
    };
    let _ = stream.send_frame(&codec::encode(&answer)).await;
    stream.finish();
}

/// Says all that shall run, each time whole.
async fn push(shared: &Shared, mut stream: Stream) {
    let mut wanted = shared.wanted.subscribe();
    loop {
        let upserts = wanted.borrow_and_update().clone();
        let frame = codec::encode(&NodeAllocs { index: 1, whole: true, complete: true, upserts, removals: Vec::new() });
        assert!(frame.len() < NODE_ALLOCS_BYTES_MAX);
        let now = Instant::now();
        if stream.send_frame(&frame).await.is_err() {
            return;
        }
        shared.told.lock().unwrap().get_or_insert(now);
        if wanted.changed().await.is_err() {
            return;
        }
    }
}
