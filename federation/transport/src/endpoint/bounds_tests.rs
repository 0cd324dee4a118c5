//! Bounds on callers, and what happens to those who come back after a long time.

use drover_certs::{Authority, Lifetimes, Role};

use super::*;
use crate::fixture::*;

fn bounded(authority: &Authority, max: usize) -> Endpoint {
    let options = EndpointOptions { connections_per_address_max: Some(max), ..EndpointOptions::listen(LOOPBACK) };
    let endpoint = Endpoint::bind(options).unwrap();
    endpoint.set_credentials(&credentials(authority, Role::Server, "s1"), &authority.anchors()).unwrap();
    endpoint
}

#[tokio::test]
async fn one_address_gets_so_many_connections_and_servers_more() {
    let west = authority("west");
    let name = region("west");
    let listening = bounded(&west, 2);
    let edge = dialler(&west, &credentials(&west, Role::Client, "n1"));
    let connect = async |endpoint: &Endpoint, protocol| {
        let dial = endpoint.dial(address(&listening), &name, protocol, DEADLINE);
        let (server, caller) = tokio::join!(dial, accept_peer(&listening));
        (server.unwrap(), caller)
    };
    let mut held = vec![connect(&edge, Protocol::Edge).await, connect(&edge, Protocol::Edge).await];
    match edge.dial(address(&listening), &name, Protocol::Edge, DEADLINE).await {
        Err(DialError::Closed(Closed::ByPeer { code: CloseCode::BUSY, reason })) => {
            assert_eq!(reason, "too many connections from 127.0.0.1: limits.rpc_max_conns_per_client is 2");
        }
        other => panic!("a refusal was expected, not {other:?}"),
    }
    let refused = bare().enrol(address(&listening), &name, &west.fingerprint(), DEADLINE).await;
    assert!(matches!(refused, Err(DialError::Closed(Closed::ByPeer { code: CloseCode::BUSY, .. }))), "{refused:?}");

    // Servers at the same address are not counted.
    let server = dialler(&west, &credentials(&west, Role::Server, "s2"));
    for protocol in [Protocol::Raft, Protocol::Server, Protocol::Raft] {
        held.push(connect(&server, protocol).await);
    }

    // A place is free again when its connection has gone.
    let (first, its_caller) = held.remove(0);
    first.connection.close(CloseCode::DONE, "");
    its_caller.connection.closed().await;
    drop(its_caller);
    connect(&edge, Protocol::Edge).await;
}

/// What a dialler without a certificate sets up to enrol.
fn joiner(dialler: &Endpoint, authority: &Authority) -> quinn::ClientConfig {
    let provider = &dialler.0.shared.provider;
    let believed = Believed::Fingerprint(authority.fingerprint());
    let algorithms = provider.signature_verification_algorithms;
    let judge = RegionServer::new(Some(authority.region()), believed, false, algorithms);
    tls::dialler(Protocol::Enrol, judge, None, Clock::system(), provider).unwrap()
}

#[tokio::test]
async fn strangers_that_do_not_take_their_welcome_keep_nobody_out() {
    let west = authority("west");
    let listening = server(&west);
    let stranger = bare();
    let mut config = joiner(&stranger, &west);
    let mut deaf = quinn::TransportConfig::default();
    deaf.max_concurrent_uni_streams(0_u32.into()).keep_alive_interval(Some(Duration::from_secs(1)));
    config.transport_config(Arc::new(deaf));
    let mut held = Vec::new();
    for _ in 0..=ACCEPT_QUEUE_MAX {
        let connecting = stranger.0.quinn.connect_with(config.clone(), address(&listening), "server.west.drover");
        held.push(connecting.unwrap().await.unwrap());
    }
    let edge = dialler(&west, &credentials(&west, Role::Client, "n1"));
    let name = region("west");
    let dial = edge.dial(address(&listening), &name, Protocol::Edge, DEADLINE);
    let (server, caller) = tokio::join!(dial, tokio::time::timeout(DEADLINE, accept_peer(&listening)));
    server.unwrap();
    caller.unwrap();
}

#[tokio::test]
async fn handshakes_begun_in_the_name_of_an_address_do_not_count_against_it() {
    const BEGUN: usize = 160;
    let west = authority("west");
    let listening = bounded(&west, 2);
    // The first datagrams of many handshakes, caught before they get to anybody.
    let stranger = bare();
    let trap = tokio::net::UdpSocket::bind(LOOPBACK).await.unwrap();
    let mut caught = std::collections::BTreeMap::new();
    let (mut begun, mut datagram) = (Vec::new(), [0; 2048]);
    while caught.len() < BEGUN {
        let at = trap.local_addr().unwrap();
        begun.push(stranger.0.quinn.connect_with(joiner(&stranger, &west), at, "server.west.drover").unwrap());
        let len = trap.recv(&mut datagram).await.unwrap();
        // By the connection's id, behind type, version and its own length.
        caught.entry(datagram[6..14].to_vec()).or_insert_with(|| datagram[..len].to_vec());
    }
    // Somebody sends them as if from here, and hears nothing of the answers.
    let liar = tokio::net::UdpSocket::bind(LOOPBACK).await.unwrap();
    for first in caught.values() {
        liar.send_to(first, address(&listening)).await.unwrap();
    }
    let edge = dialler(&west, &credentials(&west, Role::Client, "n1"));
    let name = region("west");
    let dial = edge.dial(address(&listening), &name, Protocol::Edge, DEADLINE);
    let (server, caller) = tokio::join!(dial, tokio::time::timeout(DEADLINE, accept_peer(&listening)));
    server.unwrap();
    caller.unwrap();
}

/// Servers that slept past the end of their certificates: each has its keys and makes itself a new one before it dials.
#[tokio::test]
async fn servers_come_back_after_their_certificates_have_ended() {
    let made_at = SystemTime::now();
    let west = Authority::create(region("west"), made_at, &Lifetimes::default()).unwrap();
    let after = |days: u32| made_at + DAY * days;
    // The maker has the root's key, its fellows have not.
    let fellow = west.without_root_key();
    let show = |endpoint: &Endpoint, authority: &Authority, node: &str, at: SystemTime| {
        endpoint.set_credentials(&issued(authority, Role::Server, node, at, 3 * DAY), &authority.anchors()).unwrap();
    };
    let woken = |at: SystemTime| {
        let listen = || EndpointOptions { clock: Clock::with_floor(at), ..EndpointOptions::listen(LOOPBACK) };
        [Endpoint::bind(listen()).unwrap(), Endpoint::bind(listen()).unwrap()]
    };

    // A month: nothing but the own certificates has ended.
    let [one, two] = woken(after(30));
    show(&one, &west, "s1", made_at);
    show(&two, &fellow, "s2", made_at);
    let refused = one.dial(address(&two), &region("west"), Protocol::Raft, DEADLINE).await;
    assert!(matches!(refused, Err(DialError::Closed(Closed::Handshake(_)))), "{refused:?}");
    show(&one, &west, "s1", after(30));
    show(&two, &fellow, "s2", after(30));
    for (dialler, listener) in [(&one, &two), (&two, &one)] {
        let west = region("west");
        let dial = dialler.dial(address(listener), &west, Protocol::Raft, DEADLINE);
        let (server, caller) = tokio::join!(dial, accept_peer(listener));
        assert_eq!((Some(server.unwrap().identity), Some(caller.identity)), (listener.identity(), dialler.identity()));
    }

    // Two years and more: the region's certificate has ended too. Who has the root's key renews it, and it fits what the fellows
    // have: the key of the region is the same.
    let [one, two] = woken(after(800));
    assert!(west.issue_own(&one_of("s1"), after(800), DAY).is_err());
    let renewed = west.renew(after(800), &Lifetimes::default()).unwrap();
    assert_eq!(renewed.fingerprint(), west.fingerprint());
    show(&one, &renewed, "s1", after(800));
    show(&two, &renewed.without_root_key(), "s2", after(800));
    let dial = two.dial(address(&one), renewed.region(), Protocol::Raft, DEADLINE);
    let (server, _) = tokio::join!(dial, accept_peer(&one));
    assert_eq!(server.unwrap().identity, one_of("s1"));
}

fn one_of(node: &str) -> Identity {
    Identity::new(region("west"), Role::Server, node).unwrap()
}
