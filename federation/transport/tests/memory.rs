//! What an idle edge's connection takes of its server's heap: servers hold thousands of them.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

#[path = "../../../tests/harness/src/live_bytes.rs"]
mod live_bytes;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use drover_certs::{Authority, Identity, Lifetimes, RegionName, Role};
use drover_transport::{Accepted, CloseCode, Endpoint, EndpointOptions, Peer, Protocol};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

const CONNECTIONS: usize = 64;
/// They are about 32 KB, most of them the library's own and not to be had for less. With room for 64 streams each takes 5 KB more, with
/// buffers for batches of packets 11 KB more.
const BYTES_EACH_MAX: isize = 35 * 1024;
const WAIT: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Looks with nothing changed until all counts as said.
const LOOKS_EQUAL: u32 = 25;

/// Server and edges have a thread each, and share nothing but sockets.
#[global_allocator]
static COUNTING: live_bytes::Counting = live_bytes::Counting;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn region() -> RegionName {
    "west".parse().unwrap()
}

fn endpoint(authority: &Authority, options: EndpointOptions, role: Role, node: &str) -> Endpoint {
    let identity = Identity::new(region(), role, node).unwrap();
    let credentials = authority.issue_own(&identity, SystemTime::now(), Duration::from_secs(3600)).unwrap();
    let endpoint = Endpoint::bind(options).unwrap();
    endpoint.set_credentials(&credentials, &authority.anchors()).unwrap();
    endpoint
}

/// Takes so many connections; gives them with the bytes that they hold once nothing happens on them any more.
async fn take(server: &Endpoint, others: oneshot::Sender<()>) -> (Vec<Peer>, isize) {
    // The first one brings in what is made once.
    let Some(Accepted::Peer(first)) = server.accept().await else { panic!("a peer was expected") };
    let before = settled().await;
    others.send(()).unwrap();
    let mut peers = Vec::with_capacity(CONNECTIONS + 1);
    peers.push(first);
    for _ in 0..CONNECTIONS {
        let Some(Accepted::Peer(peer)) = server.accept().await else { panic!("a peer was expected") };
        peers.push(peer);
    }
    let held = settled().await - before;
    (peers, held)
}

/// The bytes once they are the same at many looks: a machine that is busy with something else may hold up the other side for some.
async fn settled() -> isize {
    let (mut last, mut equal) = (0, 0);
    while equal < LOOKS_EQUAL {
        tokio::time::sleep(LOOK_AGAIN).await;
        let now = live_bytes::live();
        equal = if now == last { equal + 1 } else { 0 };
        last = now;
    }
    last
}

#[test]
fn an_accepted_idle_connection_is_small() {
    let authority = Authority::create(region(), SystemTime::now(), &Lifetimes::default()).unwrap();
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (address_tx, address) = mpsc::channel();
    let (held_tx, held) = mpsc::channel();
    let (others_tx, others) = oneshot::channel();
    let authority = &authority;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            runtime().block_on(async {
                let server = endpoint(authority, EndpointOptions::listen(loopback), Role::Server, "s1");
                address_tx.send(server.local_address().unwrap()).unwrap();
                let (peers, bytes) = tokio::time::timeout(WAIT, take(&server, others_tx)).await.unwrap();
                held_tx.send(bytes).unwrap();
                server.shutdown(CloseCode::DONE, "counted").await;
                drop(peers);
            });
        });
        scope.spawn(move || {
            let address = address.recv_timeout(WAIT).unwrap();
            runtime().block_on(async {
                let edge = endpoint(authority, EndpointOptions::dial_only(loopback), Role::Client, "n1");
                let mut peers = vec![edge.dial(address, &region(), Protocol::Edge, WAIT).await.unwrap()];
                tokio::time::timeout(WAIT, others).await.unwrap().unwrap();
                for _ in 0..CONNECTIONS {
                    peers.push(edge.dial(address, &region(), Protocol::Edge, WAIT).await.unwrap());
                }
                // Until the server has counted and closes them.
                tokio::time::timeout(WAIT, peers[0].connection.closed()).await.unwrap();
            });
        });
    });
    let each = held.recv_timeout(WAIT).unwrap() / CONNECTIONS as isize;
    println!("bytes of the heap for each idle connection: {each}");
    assert!(each <= BYTES_EACH_MAX, "{each}");
}
