//! Who may ask what: every peer there is, with every request there is, against the table beside this file.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use drover_certs::own_authority::{OwnAuthority, OwnAuthorityOrder, OwnCertificateOrder};
use drover_certs::{Anchors, Authority, Credentials, Identity, KeyPair, Lifetimes, NodeKey, OwnCertificate, Role};
use drover_model::NodeId;
use drover_model::node::Node;
use drover_protocol::codec;
use drover_protocol::edge::{FromServer, HttpRequest, RpcError, ToServer};
use drover_protocol::enrol::{EnrolAnswer, EnrolRequest, Proof};
use drover_protocol::server::{FromPeer, ToPeer};
use drover_server::join_tokens::JoinTokenRequest;
use drover_server::own_tls::OwnTls;
use drover_server::{Server, Settings};
use drover_transport::{Connection, Endpoint, EndpointOptions, Protocol};

const WAIT: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(24 * 3600);
const ANSWER_BYTES_MAX: usize = 64 << 20;
const TABLE: &str = include_str!("rpc_table.txt");

/// What is asked.
enum Ask {
    /// Nothing: to be let in is the answer.
    Welcome(Protocol),
    Server(ToPeer),
    Edge(ToServer),
    Enrol(EnrolRequest),
}

/// Who asks.
struct Caller {
    name: &'static str,
    endpoint: Endpoint,
    /// Its certificate's key; a fresh one where it has none.
    key: KeyPair,
    node: NodeId,
}

/// The server that is asked.
struct Target {
    server: Server,
    /// Where its certificate comes from, for those who show none.
    root: drover_certs::Fingerprint,
    token: String,
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn node_id(number: u8) -> NodeId {
    NodeId::from_random([number; 16])
}

/// The name of a server's request. A new one does not compile until it has a row.
fn server_name(request: &ToPeer) -> &'static str {
    match request {
        ToPeer::Propose { .. } => "Propose",
        ToPeer::ReadIndex => "ReadIndex",
        ToPeer::OfEdge { .. } => "OfEdge",
        ToPeer::EdgeHeard { .. } => "EdgeHeard",
        ToPeer::EdgeStream { .. } => "EdgeStream",
        ToPeer::Form { .. } => "Form",
        ToPeer::RemoveServer { .. } => "RemoveServer",
        ToPeer::TransferLeadership { .. } => "TransferLeadership",
        ToPeer::Health => "Health",
        ToPeer::RegionCertificate => "RegionCertificate",
        // The same request is for others by what it names.
        ToPeer::RenewRegion { region, .. } if region == "east" => "RenewRegion east",
        ToPeer::RenewRegion { .. } => "RenewRegion west",
        ToPeer::Restore { .. } => "Restore",
        ToPeer::Http(_) => "Http",
    }
}

fn edge_name(request: &ToServer) -> &'static str {
    match request {
        ToServer::Register { .. } => "Register",
        ToServer::Heartbeat { .. } => "Heartbeat",
        ToServer::WatchAllocs { .. } => "WatchAllocs",
        ToServer::ReportAllocs { .. } => "ReportAllocs",
        ToServer::Forward(_) => "Forward",
    }
}

/// One of each, as harmless as it can be.
fn server_requests() -> Vec<ToPeer> {
    let other = node_id(99);
    let http =
        HttpRequest { method: "GET".to_owned(), target: "/v1/status/leader".to_owned(), ..HttpRequest::default() };
    // Who may ask is settled before the proof is looked at.
    let renew =
        |region: &str| ToPeer::RenewRegion { region: region.to_owned(), certificate: String::new(), proof: Vec::new() };
    vec![
        ToPeer::Propose { command: vec![0xc1] },
        ToPeer::ReadIndex,
        ToPeer::OfEdge { node_id: other, request: Box::new(ToServer::Heartbeat { node_id: other }) },
        ToPeer::EdgeHeard { node_id: other },
        ToPeer::EdgeStream { node_id: other },
        ToPeer::Form { members: BTreeMap::new() },
        ToPeer::RemoveServer { id: other.to_string() },
        ToPeer::TransferLeadership { to: Some(other.to_string()) },
        ToPeer::Health,
        ToPeer::RegionCertificate,
        renew("east"),
        renew("west"),
        ToPeer::Restore { len: 0 },
        ToPeer::Http(Box::new(http)),
    ]
}

fn edge_requests(node_id: NodeId) -> Vec<ToServer> {
    let node = Node { id: node_id, name: "n".to_owned(), ..Node::default() };
    vec![
        ToServer::Register { node: Box::new(node) },
        ToServer::Heartbeat { node_id },
        ToServer::WatchAllocs { node_id },
        ToServer::ReportAllocs { node_id, updates: Vec::new() },
    ]
}

/// All rows for a caller, in the table's order.
fn rows(caller: &Caller, target: &Target) -> Vec<(String, Ask)> {
    let other = node_id(98);
    let mut rows =
        vec![("raft".to_owned(), Ask::Welcome(Protocol::Raft)), ("gossip".to_owned(), Ask::Welcome(Protocol::Gossip))];
    rows.extend(server_requests().into_iter().map(|ask| (format!("server {}", server_name(&ask)), Ask::Server(ask))));
    for (own, other) in edge_requests(caller.node).into_iter().zip(edge_requests(other)) {
        rows.push((format!("edge {} own", edge_name(&own)), Ask::Edge(own)));
        rows.push((format!("edge {} other", edge_name(&other)), Ask::Edge(other)));
    }
    let forward = ToServer::Forward(HttpRequest::default());
    rows.push((format!("edge {}", edge_name(&forward)), Ask::Edge(forward)));

    let enrol = |node: NodeId, proof: Proof| {
        Ask::Enrol(EnrolRequest {
            csr: caller.key.signing_request().unwrap(),
            node: node.to_string(),
            role: "client".to_owned(),
            node_pool: "default".to_owned(),
            datacenter: "dc1".to_owned(),
            region: "east".to_owned(),
            proof,
            held: None,
        })
    };
    let fresh = NodeId::from_random(caller.key.public_key_bytes());
    rows.extend([
        ("enrol Renewal own".to_owned(), enrol(caller.node, Proof::Renewal)),
        ("enrol Renewal other".to_owned(), enrol(other, Proof::Renewal)),
        ("enrol Token".to_owned(), enrol(fresh, Proof::Token { secret: target.token.clone() })),
        ("enrol Token wrong".to_owned(), enrol(fresh, Proof::Token { secret: "ab".repeat(32) })),
        ("enrol HostFile wrong".to_owned(), enrol(fresh, Proof::HostFile { mac: [0; 32] })),
    ]);
    rows
}

/// Something of its own for each key.
trait KeyBytes {
    fn public_key_bytes(&self) -> [u8; 16];
}

impl KeyBytes for KeyPair {
    fn public_key_bytes(&self) -> [u8; 16] {
        self.signing_request().unwrap()[40..56].try_into().unwrap()
    }
}

async fn connect(caller: &Caller, target: &Target, protocol: Protocol) -> Option<Connection> {
    let info = target.server.info();
    let address = if protocol == Protocol::Gossip { info.gossip_advertise } else { info.rpc_advertise };
    let east = "east".parse().unwrap();
    if caller.endpoint.identity().is_none() {
        return caller.endpoint.dial_without_certificate(address, &east, &target.root, protocol, WAIT).await.ok();
    }
    if protocol == Protocol::Enrol {
        return caller.endpoint.enrol(address, &east, &target.root, WAIT).await.ok().map(|found| found.connection);
    }
    caller.endpoint.dial(address, &east, protocol, WAIT).await.ok().map(|peer| peer.connection)
}

/// Whether it is answered. Whatever else the answer says, it is not that the caller may not ask.
async fn is_answered(caller: &Caller, target: &Target, ask: Ask) -> bool {
    let (protocol, bytes) = match &ask {
        Ask::Welcome(protocol) => return connect(caller, target, *protocol).await.is_some(),
        Ask::Server(request) => (Protocol::Server, codec::encode(request)),
        Ask::Edge(request) => (Protocol::Edge, codec::encode(request)),
        Ask::Enrol(request) => (Protocol::Enrol, codec::encode(request)),
    };
    let Some(connection) = connect(caller, target, protocol).await else { return false };
    let answer = async {
        let mut stream = connection.open_stream().await.ok()?;
        stream.send_frame(&bytes).await.ok()?;
        stream.recv_frame(ANSWER_BYTES_MAX).await.ok()?
    };
    let Some(frame) = tokio::time::timeout(WAIT, answer).await.expect("an answer or an end") else { return false };
    let is_forbidden = |error: &RpcError| matches!(error, RpcError::Forbidden { .. });
    match ask {
        Ask::Welcome(_) => unreachable!("answered above"),
        Ask::Server(_) => !matches!(codec::decode(&frame), Ok(FromPeer::Refused(error)) if is_forbidden(&error)),
        // What a node shall run comes in another form.
        Ask::Edge(_) => !matches!(codec::decode(&frame), Ok(FromServer::Refused(error)) if is_forbidden(&error)),
        Ask::Enrol(_) => matches!(codec::decode(&frame).unwrap(), EnrolAnswer::Issued { .. }),
    }
}

async fn check(part: &str, target: &Target, callers: &[Caller]) {
    let section = TABLE.split_once(&format!("[{part}]\n")).unwrap().1.split("\n[").next().unwrap().trim_end();
    let mut found = String::new();
    let head: Vec<&str> = callers.iter().map(|caller| caller.name).collect();
    writeln!(found, "{:<25} {}", "request", head.join(" ")).unwrap();
    let mut lines: Vec<(String, Vec<bool>)> = Vec::new();
    for caller in callers {
        for (number, (name, ask)) in rows(caller, target).into_iter().enumerate() {
            let is_answered = is_answered(caller, target, ask).await;
            match lines.get_mut(number) {
                Some((_, cells)) => cells.push(is_answered),
                None => lines.push((name, vec![is_answered])),
            }
        }
    }
    for (name, cells) in lines {
        let cells: Vec<String> = cells
            .iter()
            .zip(&head)
            .map(|(is_answered, head)| format!("{:<width$}", if *is_answered { "y" } else { "." }, width = head.len()))
            .collect();
        writeln!(found, "{}", format!("{name:<25} {}", cells.join(" ")).trim_end()).unwrap();
    }
    let found = found.trim_end();
    assert!(found == section, "found:\n{found}\nexpected:\n{section}");
}

fn endpoint() -> Endpoint {
    Endpoint::bind(EndpointOptions::dial_only(any())).unwrap()
}

fn caller(name: &'static str, credentials: &Credentials, anchors: &Anchors) -> Caller {
    let endpoint = endpoint();
    endpoint.set_credentials(credentials, anchors).unwrap();
    let node = credentials.leaf().identity().node.parse().unwrap();
    Caller { name, endpoint, key: credentials.key().clone(), node }
}

fn nobody() -> Caller {
    Caller { name: "nobody", endpoint: endpoint(), key: KeyPair::generate().unwrap(), node: node_id(97) }
}

/// A leaf that the region's key has signed and our code would not sign.
fn forged(authority: &Authority, dns: &str, uri: &str) -> OwnCertificate {
    let genuine = issue(authority, Role::Client, node_id(96), SystemTime::now());
    let intermediate = genuine.leaf().to_pem();
    let intermediate = intermediate.split_inclusive("-----END CERTIFICATE-----\n").nth(1).unwrap();
    let stolen = rcgen::KeyPair::from_pem(&authority.to_pem().key).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_der(&genuine.leaf().chain()[1], stolen).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names =
        vec![rcgen::SanType::DnsName(dns.try_into().unwrap()), rcgen::SanType::URI(uri.try_into().unwrap())];
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap().pem();
    OwnCertificate::from_pem(&format!("{leaf}{intermediate}"), &key.serialize_pem()).unwrap()
}

fn shows(name: &'static str, certificate: &OwnCertificate, anchors: &Anchors) -> Caller {
    let (endpoint, key) = (endpoint(), NodeKey::generate().unwrap());
    endpoint.set_own_credentials(certificate, anchors, &key).unwrap();
    let node = key.node().parse().unwrap();
    Caller { name, endpoint, key: KeyPair::generate().unwrap(), node }
}

fn issue(authority: &Authority, role: Role, node: NodeId, at: SystemTime) -> Credentials {
    let identity = Identity::new(authority.region().clone(), role, &node.to_string()).unwrap();
    authority.issue_own(&identity, at, DAY).unwrap()
}

/// A place where the server finds the region's keys as its own.
fn keep(authority: &Authority, dir: &Path) {
    let texts = authority.to_pem();
    std::fs::create_dir(dir.join("tls")).unwrap();
    let files = [("root.pem", &texts.root), ("region.pem", &texts.intermediate), ("region-key.pem", &texts.key)];
    for (name, text) in files {
        std::fs::write(dir.join("tls").join(name), text).unwrap();
    }
}

async fn start(settings: Settings) -> Server {
    let server = Server::start(settings, |reason| panic!("the server died: {reason}")).await.unwrap();
    assert!(server.wait_for_leader(WAIT).await);
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_automatic_authority_everybody_may_what_the_table_says() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let east = Authority::create("east".parse().unwrap(), now - 30 * DAY, &Lifetimes::default()).unwrap();
    let west = east.create_region("west".parse().unwrap(), now - 30 * DAY, &Lifetimes::default()).unwrap();
    let stranger = Authority::create("east".parse().unwrap(), now, &Lifetimes::default()).unwrap();
    keep(&east, dir.path());
    let settings = Settings { region: "east".to_owned(), ..Settings::alone("s1", dir.path().to_owned()) };
    let server = start(settings).await;
    let order = JoinTokenRequest { uses: Some(100), ..JoinTokenRequest::default() };
    let token = server.create_join_token(order).await.unwrap().text.rsplit('.').next().unwrap().to_owned();
    let target = Target { server: server.clone(), root: east.fingerprint(), token };

    let anchors = east.anchors();
    // It believes the server, so that it is the server who turns it away.
    let both = [anchors.roots(), stranger.anchors().roots()].concat();
    let both = Anchors::new(both).unwrap();
    let of_east = |role, number| issue(&east, role, node_id(number), now);
    let ended = |role, number| issue(&east, role, node_id(number), now - 5 * DAY);
    let callers = [
        caller("server", &of_east(Role::Server, 1), &anchors),
        caller("west", &issue(&west, Role::Server, node_id(2), now), &anchors),
        caller("node1", &of_east(Role::Client, 3), &anchors),
        caller("node2", &of_east(Role::Client, 4), &anchors),
        caller("ended-s", &ended(Role::Server, 5), &anchors),
        caller("ended-n", &ended(Role::Client, 6), &anchors),
        caller("stranger", &issue(&stranger, Role::Server, node_id(7), now), &both),
        shows(
            "contra",
            &forged(&east, "client.east.drover", &format!("drover://east/server/{}", node_id(8))),
            &anchors,
        ),
        shows("name", &forged(&west, "server.east.drover", &format!("drover://east/server/{}", node_id(9))), &anchors),
        shows("uri", &forged(&west, "server.west.drover", &format!("drover://east/server/{}", node_id(10))), &anchors),
        nobody(),
    ];
    check("automatic", &target, &callers).await;
    server.shutdown().await;
}

fn issue_own(authority: &OwnAuthority, name: &str, at: SystemTime) -> (String, String) {
    let order = OwnCertificateOrder {
        common_name: name.to_owned(),
        names: vec![name.to_owned(), "localhost".to_owned()],
        addresses: Vec::new(),
        lifetime: DAY,
    };
    let pair = authority.issue(&order, at).unwrap();
    (pair.certificate, pair.key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_own_authority_everybody_may_what_the_table_says() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let order = OwnAuthorityOrder { lifetime: 100 * DAY, ..OwnAuthorityOrder::default() };
    let made = OwnAuthority::create(&order, now - 30 * DAY).unwrap();
    let stranger = OwnAuthority::create(&order, now - 30 * DAY).unwrap();
    let (cert, key) = issue_own(&made, "server.east.nomad", now);
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = OwnTls {
        ca: write("ca.pem", &made.to_pem().certificate),
        cert: write("cert.pem", &cert),
        key: write("key.pem", &key),
    };
    let settings =
        Settings { region: "east".to_owned(), own_tls: Some(files), ..Settings::alone("s1", dir.path().join("data")) };
    let server = start(settings).await;
    let anchors = made.anchors();
    let root = drover_certs::Fingerprint::of(&anchors.roots()[0]);
    let target = Target { server: server.clone(), root, token: "cd".repeat(32) };

    let both = Anchors::new([anchors.roots(), stranger.anchors().roots()].concat()).unwrap();
    let read = |(cert, key): (String, String)| OwnCertificate::from_pem(&cert, &key).unwrap();
    let of = |name: &str| read(issue_own(&made, name, now));
    let shared = of("client.east.nomad");
    // It states no role that RPC has.
    let (cert, key) = issue_own(&made, "cli.east.nomad", now);
    let cli = OwnCertificate::pretended(&cert, &key, of("server.east.nomad").holder().clone()).unwrap();
    let callers = [
        shows("server", &of("server.east.drover"), &anchors),
        shows("west", &of("server.west.nomad"), &anchors),
        shows("node1", &shared, &anchors),
        shows("node2", &shared, &anchors),
        shows("cli", &cli, &anchors),
        shows("ended", &read(issue_own(&made, "server.east.nomad", now - 10 * DAY)), &anchors),
        shows("stranger", &read(issue_own(&stranger, "server.east.nomad", now)), &both),
        nobody(),
    ];
    check("own", &target, &callers).await;
    server.shutdown().await;
}
