//! Who gets through to whom, and with which words the others are turned away.

use std::time::SystemTime;

use drover_certs::{Authority, KeyPair, Leaf, Lifetimes, PublicKey, Role, Secret};
use rustls::client::ResolvesClientCert;
use rustls::sign::SingleCertAndKey;

use super::*;
use crate::fixture::*;

/// The code with which the listener has turned a dialler away.
fn refused(result: Result<impl fmt::Debug, DialError>) -> CloseCode {
    match result {
        Err(DialError::Closed(Closed::ByPeer { code, reason })) => {
            assert!(!reason.is_empty());
            code
        }
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

/// The words with which a handshake has failed.
fn failed(result: Result<impl fmt::Debug, DialError>) -> String {
    match result {
        Err(DialError::Closed(Closed::Handshake(text))) => text,
        other => panic!("a failed handshake was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let pair = pair().await;
    assert_eq!(pair.server.identity.to_string(), "drover://west/server/s1");
    assert_eq!(pair.edge.identity.to_string(), "drover://west/client/n1");
    assert_eq!((pair.server.protocol, pair.edge.protocol), (Protocol::Edge, Protocol::Edge));
    assert_eq!(pair.edge.connection.remote_address(), address(&pair.edge_endpoint));
    assert_eq!(pair.edge_endpoint.identity(), Some(pair.edge.identity));
    assert_eq!(pair.server_endpoint.open_connections(), 1);
}

#[tokio::test]
async fn each_protocol_takes_its_own_callers() {
    let west = authority("west");
    let east = west.create_region(region("east"), SystemTime::now(), &Lifetimes::default()).unwrap();
    let listening = server(&west);
    let callers = [(&west, Role::Server), (&west, Role::Client), (&east, Role::Server), (&east, Role::Client)];
    let (ok, role, other) = (None, Some(CloseCode::WRONG_ROLE), Some(CloseCode::WRONG_REGION));
    let table = [
        (Protocol::Raft, [ok, role, other, role]),
        (Protocol::Server, [ok, role, ok, role]),
        (Protocol::Edge, [role, ok, role, other]),
    ];
    for (protocol, expected) in table {
        for ((authority, caller), expected) in callers.into_iter().zip(expected) {
            let endpoint = dialler(authority, &credentials(authority, caller, "x"));
            let west = region("west");
            let dial = endpoint.dial(address(&listening), &west, protocol, DEADLINE);
            let what = format!("{protocol:?} {caller} of {}", authority.region());
            match expected {
                None => {
                    let (peer, accepted) = tokio::join!(dial, accept_peer(&listening));
                    assert!(peer.is_ok(), "{what}: {peer:?}");
                    assert_eq!(accepted.identity, endpoint.identity().unwrap(), "{what}");
                }
                Some(code) => assert_eq!(refused(dial.await), code, "{what}"),
            }
        }
    }
}

#[tokio::test]
async fn a_dialler_takes_only_a_server_of_the_wanted_region() {
    let west = authority("west");
    let edge = dialler(&west, &credentials(&west, Role::Client, "n1"));
    let dial = async |listening: &Endpoint, name: &str| {
        failed(edge.dial(address(listening), &region(name), Protocol::Edge, DEADLINE).await)
    };
    // A server of west is none of east.
    let right = server(&west);
    assert!(dial(&right, "east").await.contains("not valid for name"));
    // A stolen edge's certificate does not play a server.
    let stolen = listener(&west, &credentials(&west, Role::Client, "n2"));
    dial(&stolen, "west").await;
    // A server of another federation says the same names.
    let foreign = server(&authority("west"));
    dial(&foreign, "west").await;
    // A server whose certificate has ended.
    let ended = listener(&west, &issued(&west, Role::Server, "s1", SystemTime::now() - 2 * HOUR, HOUR));
    assert!(dial(&ended, "west").await.contains("expired"));
    // A server without any certificate yet.
    let waiting = Endpoint::bind(EndpointOptions::listen(LOOPBACK)).unwrap();
    dial(&waiting, "west").await;
}

#[tokio::test]
async fn a_listener_turns_other_authorities_away() {
    let west = authority("west");
    let listening = server(&west);
    // A certificate of another federation, on an endpoint that believes the right one.
    let foreign = authority("west");
    let stranger = credentials(&foreign, Role::Client, "n1");
    let trust = TrustCell::default();
    trust.replace(&Shows::Issued(stranger), &foreign.anchors(), &tls::provider()).unwrap();
    let endpoint = bare();
    let believed = Believed::Roots(Arc::new(west.anchors().root_store().unwrap()));
    let shown = trust.current().map(|trust| trust.as_caller()).unwrap();
    let west = region("west");
    for protocol in Protocol::RPC {
        let dial =
            endpoint.connect(address(&listening), Some(&west), protocol, believed.clone(), shown.clone(), DEADLINE);
        failed(dial.await);
    }
}

#[tokio::test]
async fn chains_that_are_valid_but_name_nobody_are_turned_away() {
    let west = authority("west");
    let listening = server(&west);
    let endpoint = bare();
    let name = region("west");
    let believed = Believed::Roots(Arc::new(west.anchors().root_store().unwrap()));
    let cases: [(&[&str], &[&str], Option<CloseCode>); 7] = [
        (&["client.west.drover"], &["drover://west/client/n1"], None),
        (&["client.west.nomad"], &["drover://west/client/n1"], None),
        (&[], &["drover://east/client/n1"], Some(CloseCode::CERTIFICATE_REFUSED)),
        (&["client.west.drover"], &["drover://east/client/n1"], Some(CloseCode::CERTIFICATE_REFUSED)),
        (&["client.west.drover"], &[], Some(CloseCode::CERTIFICATE_REFUSED)),
        (&["*.west.drover"], &["drover://west/client/n1"], Some(CloseCode::CERTIFICATE_REFUSED)),
        (
            &["client.west.drover", "server.west.drover"],
            &["drover://west/client/n1"],
            Some(CloseCode::CERTIFICATE_REFUSED),
        ),
    ];
    for (dns, uris, expected) in cases {
        let forged: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(forged(&west, dns, uris)));
        for protocol in [Protocol::Edge, Protocol::Enrol] {
            let shown = Caller { shown: Some(forged.clone()), node_key: None };
            let dial = endpoint.connect(address(&listening), Some(&name), protocol, believed.clone(), shown, DEADLINE);
            match expected {
                Some(code) => assert_eq!(refused(dial.await), code, "{dns:?} {uris:?}"),
                None => {
                    let (dialled, accepted) = tokio::join!(dial, listening.accept());
                    assert!(dialled.is_ok() && accepted.is_some(), "{dns:?} {uris:?}");
                }
            }
        }
    }
    // Names of another region do not even pass the handshake: the intermediate is not allowed to sign them.
    let foreign = forged(&west, &["client.east.drover"], &["drover://east/client/n1"]);
    let shown = Caller { shown: Some(Arc::new(SingleCertAndKey::from(foreign))), node_key: None };
    failed(endpoint.connect(address(&listening), Some(&name), Protocol::Server, believed, shown, DEADLINE).await);
}

#[tokio::test]
async fn without_a_certificate_only_enrolment_is_open() {
    let west = authority("west");
    let listening = server(&west);
    let endpoint = bare();
    let name = region("west");
    let dialled = endpoint.dial(address(&listening), &name, Protocol::Edge, DEADLINE).await;
    assert!(matches!(dialled, Err(DialError::NoCredentials)));
    // One that asks all the same is turned away after the handshake.
    let believed = Believed::Roots(Arc::new(west.anchors().root_store().unwrap()));
    for protocol in [Protocol::Raft, Protocol::Server, Protocol::Edge] {
        let dial =
            endpoint.connect(address(&listening), Some(&name), protocol, believed.clone(), Caller::default(), DEADLINE);
        assert_eq!(refused(dial.await), CloseCode::NO_CERTIFICATE, "{protocol:?}");
    }
    let fingerprint = west.fingerprint();
    let enrol = endpoint.enrol(address(&listening), &name, &fingerprint, DEADLINE);
    let (enrolment, candidate) = tokio::join!(enrol, accept_candidate(&listening));
    assert_eq!(enrolment.unwrap().server.to_string(), "drover://west/server/s1");
    assert!(candidate.presented.is_none());
}

#[tokio::test]
async fn an_ended_certificate_is_good_for_enrolment_alone_and_not_for_ever() {
    let west = authority("west");
    let listening = server(&west);
    let name = region("west");
    let fingerprint = west.fingerprint();
    let recent = issued(&west, Role::Client, "n1", SystemTime::now() - 2 * HOUR, HOUR);
    let edge = dialler(&west, &recent);
    let dialled = edge.dial(address(&listening), &name, Protocol::Edge, DEADLINE).await;
    assert_eq!(refused(dialled), CloseCode::CERTIFICATE_ENDED);

    let enrol = edge.enrol(address(&listening), &name, &fingerprint, DEADLINE);
    let (enrolment, candidate) = tokio::join!(enrol, accept_candidate(&listening));
    enrolment.unwrap();
    let presented = candidate.presented.unwrap();
    assert_eq!(presented.identity.node, "n1");
    assert_eq!(presented.public_key, recent.key().public_key());
    assert!(presented.not_after < SystemTime::now());

    let ancient = issued(&west, Role::Client, "n1", SystemTime::now() - 32 * DAY, DAY);
    let edge = dialler(&west, &ancient);
    let enrolled = edge.enrol(address(&listening), &name, &fingerprint, DEADLINE).await;
    assert_eq!(refused(enrolled), CloseCode::CERTIFICATE_ENDED);
}

#[tokio::test]
async fn a_joiner_needs_the_right_fingerprint_and_gets_the_root() {
    let west = authority("west");
    let listening = server(&west);
    let (joiner, name) = (bare(), region("west"));
    let wrong = authority("west").fingerprint();
    let text = failed(joiner.enrol(address(&listening), &name, &wrong, DEADLINE).await);
    assert!(text.contains(&wrong.to_string()), "{text}");
    let east = region("east");
    failed(joiner.enrol(address(&listening), &east, &west.fingerprint(), DEADLINE).await);
    // A stolen edge that shows the right root must not collect secrets.
    let stolen = listener(&west, &credentials(&west, Role::Client, "n2"));
    failed(joiner.enrol(address(&stolen), &name, &west.fingerprint(), DEADLINE).await);

    let fingerprint = west.fingerprint();
    let enrol = joiner.enrol(address(&listening), &name, &fingerprint, DEADLINE);
    let (enrolment, candidate) = tokio::join!(enrol, accept_candidate(&listening));
    let enrolment = enrolment.unwrap();
    assert_eq!(Anchors::new(vec![enrolment.root.clone()]).unwrap(), west.anchors());

    // The whole way of a joiner: prove, ask, take, and come back as a peer.
    let secret = Secret::generate().unwrap();
    let key = KeyPair::generate().unwrap();
    let signer = async {
        let mut stream = candidate.connection.accept_stream().await.unwrap();
        let proof = stream.recv_frame(32).await.unwrap().unwrap();
        assert!(candidate.connection.check_proof(&secret, &proof));
        let request = stream.recv_frame(4096).await.unwrap().unwrap();
        let key = PublicKey::from_signing_request(&request).unwrap();
        let identity = Identity::new(region("west"), Role::Client, "n9").unwrap();
        let leaf = west.issue(&key, &identity, SystemTime::now(), HOUR).unwrap();
        stream.send_frame(leaf.to_pem().as_bytes()).await.unwrap();
        stream.finish();
        candidate.connection.closed().await
    };
    let asker = async {
        let mut stream = enrolment.connection.open_stream().await.unwrap();
        stream.send_frame(&enrolment.connection.prove(&secret).unwrap()).await.unwrap();
        stream.send_frame(&key.signing_request().unwrap()).await.unwrap();
        let answer = stream.recv_frame(64 * 1024).await.unwrap().unwrap();
        enrolment.connection.close(CloseCode::DONE, "");
        Leaf::from_pem(std::str::from_utf8(&answer).unwrap()).unwrap()
    };
    let (_, leaf) = tokio::join!(signer, asker);
    let anchors = Anchors::new(vec![enrolment.root]).unwrap();
    joiner.set_credentials(&Credentials::new(leaf, key).unwrap(), &anchors).unwrap();
    let dial = joiner.dial(address(&listening), &name, Protocol::Edge, DEADLINE);
    let (peer, accepted) = tokio::join!(dial, accept_peer(&listening));
    peer.unwrap();
    assert_eq!(accepted.identity.node, "n9");
}

#[tokio::test]
async fn new_credentials_count_for_new_connections() {
    let west = authority("west");
    let listening = server(&west);
    let edge = dialler(&west, &credentials(&west, Role::Client, "n1"));
    let name = region("west");
    let connect = async || {
        let dial = edge.dial(address(&listening), &name, Protocol::Edge, DEADLINE);
        let (server, edge) = tokio::join!(dial, accept_peer(&listening));
        (server.unwrap(), edge)
    };
    let (server_before, edge_before) = connect().await;
    edge.set_credentials(&credentials(&west, Role::Client, "n2"), &west.anchors()).unwrap();
    listening.set_credentials(&credentials(&west, Role::Server, "s2"), &west.anchors()).unwrap();
    let (server_after, edge_after) = connect().await;
    assert_eq!((server_before.identity.node.as_str(), edge_before.identity.node.as_str()), ("s1", "n1"));
    assert_eq!((server_after.identity.node.as_str(), edge_after.identity.node.as_str()), ("s2", "n2"));
    assert_eq!(server_before.connection.close_reason(), None);

    // Credentials that nobody with the same anchors would take are refused at once, and the old ones stay.
    let foreign = authority("west");
    let refused = edge.set_credentials(&credentials(&foreign, Role::Client, "n3"), &west.anchors());
    assert!(matches!(refused, Err(TrustError::Issuer)));
    assert_eq!(edge.identity().unwrap().node, "n2");
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate() {
    let west = authority("west");
    let listening = server(&west);
    let short = issued(&west, Role::Client, "n1", SystemTime::now(), Duration::from_secs(3));
    let edge = dialler(&west, &short);
    let name = region("west");
    let dial = edge.dial(address(&listening), &name, Protocol::Edge, DEADLINE);
    let (server, accepted) = tokio::join!(dial, accept_peer(&listening));
    let (here, there) = tokio::join!(accepted.connection.closed(), server.as_ref().unwrap().connection.closed());
    assert_eq!(here, Closed::Here);
    assert!(matches!(there, Closed::ByPeer { code: CloseCode::CERTIFICATE_ENDED, .. }), "{there:?}");
    assert!(SystemTime::now() > short.leaf().not_after());
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let west = authority("west");
    let silent = UdpSocket::bind(LOOPBACK).unwrap();
    let edge = dialler(&west, &credentials(&west, Role::Client, "n1"));
    let deadline = Duration::from_millis(50);
    let dialled = edge.dial(silent.local_addr().unwrap(), &region("west"), Protocol::Edge, deadline).await;
    assert!(matches!(dialled, Err(DialError::Deadline(_))), "{dialled:?}");
}

#[tokio::test]
async fn an_endpoint_takes_only_the_protocols_it_was_given() {
    let west = authority("west");
    let options = EndpointOptions { accepts: vec![Protocol::Enrol], ..EndpointOptions::listen(LOOPBACK) };
    let listening = Endpoint::bind(options).unwrap();
    listening.set_credentials(&credentials(&west, Role::Server, "s1"), &west.anchors()).unwrap();
    let edge = dialler(&west, &credentials(&west, Role::Client, "n1"));
    failed(edge.dial(address(&listening), &region("west"), Protocol::Edge, DEADLINE).await);
}

#[tokio::test]
async fn a_full_endpoint_refuses() {
    let west = authority("west");
    let options = EndpointOptions { connections_max: 1, ..EndpointOptions::listen(LOOPBACK) };
    let listening = Endpoint::bind(options).unwrap();
    listening.set_credentials(&credentials(&west, Role::Server, "s1"), &west.anchors()).unwrap();
    let edge = dialler(&west, &credentials(&west, Role::Client, "n1"));
    let name = region("west");
    let dial = || edge.dial(address(&listening), &name, Protocol::Edge, DEADLINE);
    let (first, _accepted) = tokio::join!(dial(), accept_peer(&listening));
    first.as_ref().unwrap();
    assert!(matches!(dial().await, Err(DialError::Closed(Closed::Failed(_)))));
}

#[tokio::test]
async fn a_shutdown_is_heard_and_ends_accepting() {
    let pair = pair().await;
    let code = CloseCode(300);
    let shutdown = pair.server_endpoint.shutdown(code, "leaving");
    let ((), closed) = tokio::join!(shutdown, pair.server.connection.closed());
    assert_eq!(closed, Closed::ByPeer { code, reason: "leaving".into() });
    assert_eq!(closed.to_string(), "closed by the other side: code 300: leaving");
    assert!(pair.server_endpoint.accept().await.is_none());
}

#[tokio::test]
async fn a_port_in_use_is_said() {
    let first = bare();
    let taken = address(&first);
    let error = Endpoint::bind(EndpointOptions::listen(taken)).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {taken}/udp"));
}

#[tokio::test]
async fn a_device_without_a_clock_counts_from_its_floor() {
    let later = SystemTime::now() + 30 * DAY;
    let west = Authority::create(region("west"), later, &Lifetimes::default()).unwrap();
    let begun_at = |options: EndpointOptions, floor: SystemTime, role, node| {
        let endpoint = Endpoint::bind(EndpointOptions { clock: Clock::with_floor(floor), ..options }).unwrap();
        endpoint.set_credentials(&issued(&west, role, node, floor, HOUR), &west.anchors()).unwrap();
        endpoint
    };
    let listening = begun_at(EndpointOptions::listen(LOOPBACK), later, Role::Server, "s1");
    // What is shown tells that the time has come; for both sides, and without a floor too.
    let without = dialler(&west, &issued(&west, Role::Client, "n2", later, HOUR));
    let edge = begun_at(EndpointOptions::dial_only(LOOPBACK), later, Role::Client, "n1");
    let name = region("west");
    for dialling in [&without, &edge] {
        let dial = dialling.dial(address(&listening), &name, Protocol::Edge, DEADLINE);
        let (peer, _accepted) = tokio::join!(dial, accept_peer(&listening));
        peer.unwrap();
    }
    // What ended before the floor has ended.
    let newer = begun_at(EndpointOptions::dial_only(LOOPBACK), later + DAY, Role::Client, "n3");
    let text = failed(newer.dial(address(&listening), &name, Protocol::Edge, DEADLINE).await);
    assert!(text.contains("certificate expired"), "{text}");
}

/// A server of `authority`'s region on a gossip port, believing `anchors`.
fn gossiper(authority: &Authority, node: &str, anchors: &Anchors) -> Endpoint {
    let endpoint = Endpoint::bind(EndpointOptions::gossip(LOOPBACK)).unwrap();
    endpoint.set_credentials(&credentials(authority, Role::Server, node), anchors).unwrap();
    endpoint
}

#[tokio::test]
async fn gossip_is_for_the_servers_of_all_regions_and_has_datagrams() {
    let west = authority("west");
    let lifetimes = Lifetimes::default();
    let east = west.create_region(region("east"), SystemTime::now() - DAY, &lifetimes).unwrap();
    let listening = gossiper(&west, "s1", &west.anchors());
    let other = gossiper(&east, "s2", &west.anchors());
    let dial = other.dial_any_region(address(&listening), Protocol::Gossip, DEADLINE);
    let (there, here) = tokio::join!(dial, accept_peer(&listening));
    let there = there.unwrap();
    assert_eq!(there.identity.to_string(), "drover://west/server/s1");
    assert_eq!(here.identity.to_string(), "drover://east/server/s2");
    assert_eq!(here.connection.remote_address(), address(&other), "both sides use their port for gossip");
    there.connection.send_datagram(bytes::Bytes::from_static(b"hello")).unwrap();
    assert_eq!(here.connection.recv_datagram().await.unwrap(), &b"hello"[..]);
    here.connection.send_datagram(bytes::Bytes::from_static(b"back")).unwrap();
    assert_eq!(there.connection.recv_datagram().await.unwrap(), &b"back"[..]);
    let max = there.connection.datagram_max().unwrap();
    assert!(max > 1000, "{max}");
    let sent = there.connection.send_datagram(vec![0; 64 * 1024].into());
    assert_eq!(sent, Err(crate::connection::DatagramError::TooLarge));
    // Who dials a region by name gets no other.
    failed(other.dial(address(&listening), &region("east"), Protocol::Gossip, DEADLINE).await);
}

#[tokio::test]
async fn gossip_is_for_nobody_else() {
    let west = authority("west");
    let listening = gossiper(&west, "s1", &west.anchors());
    let edge = dialler(&west, &credentials(&west, Role::Client, "n1"));
    let dialled = edge.dial(address(&listening), &region("west"), Protocol::Gossip, DEADLINE).await;
    assert_eq!(refused(dialled), CloseCode::WRONG_ROLE);
    // A server of another federation, even one with a region of the same name, in either direction.
    let foreign = authority("west");
    let stranger = gossiper(&foreign, "s9", &foreign.anchors());
    failed(stranger.dial_any_region(address(&listening), Protocol::Gossip, DEADLINE).await);
    failed(listening.dial_any_region(address(&stranger), Protocol::Gossip, DEADLINE).await);
    // Gossip is not taken on the port for RPC, nor anything else on the one for gossip.
    let server = server(&west);
    let gossip = server.dial(address(&listening), &region("west"), Protocol::Server, DEADLINE).await;
    failed(gossip);
    failed(listening.dial(address(&server), &region("west"), Protocol::Gossip, DEADLINE).await);
}
