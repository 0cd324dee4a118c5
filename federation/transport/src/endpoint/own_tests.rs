//! Certificates that people made: who gets through to whom, as which node.

use drover_certs::Role;

use super::*;
use crate::fixture::*;

fn own_server(authority: &drover_certs::own_authority::OwnAuthority, name: &str) -> (Endpoint, NodeKey) {
    let endpoint = Endpoint::bind(EndpointOptions::listen(LOOPBACK)).unwrap();
    let key = show_own(&endpoint, authority, &own_certificate(authority, name));
    (endpoint, key)
}

async fn meet(dialler: &Endpoint, listener: &Endpoint, protocol: Protocol) -> (Peer, Peer) {
    let west = region("west");
    let dial = dialler.dial(address(listener), &west, protocol, DEADLINE);
    let (server, caller) = tokio::join!(dial, accept_peer(listener));
    (server.unwrap(), caller)
}

async fn turned_away(dialler: &Endpoint, listener: &Endpoint, protocol: Protocol) -> CloseCode {
    match dialler.dial(address(listener), &region("west"), protocol, DEADLINE).await {
        Err(DialError::Closed(Closed::ByPeer { code, .. })) => code,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn two_nodes_with_one_certificate_are_two_nodes() {
    let authority = own_authority();
    let (listening, server_key) = own_server(&authority, "server.west.nomad");
    let shared = own_certificate(&authority, "client.west.nomad");
    let nodes = [bare(), bare()];
    let keys: Vec<NodeKey> = nodes.iter().map(|node| show_own(node, &authority, &shared)).collect();
    for (node, key) in nodes.iter().zip(&keys) {
        let (server, caller) = meet(node, &listening, Protocol::Edge).await;
        assert_eq!(server.identity.to_string(), format!("drover://west/server/{}", server_key.node()));
        assert_eq!(caller.identity.to_string(), format!("drover://west/client/{}", key.node()));
        assert_eq!(node.identity(), Some(caller.identity));
    }
    assert_ne!(keys[0].node(), keys[1].node());
    // The next certificate leaves it the same node.
    let next = own_certificate(&authority, "client.west.drover");
    nodes[0].set_own_credentials(&next, &authority.anchors(), &keys[0]).unwrap();
    let (_, caller) = meet(&nodes[0], &listening, Protocol::Edge).await;
    assert_eq!(caller.identity.node, keys[0].node());
}

#[tokio::test]
async fn roles_and_regions_are_those_of_the_names() {
    let authority = own_authority();
    let (listening, _) = own_server(&authority, "server.west.nomad");
    let (ok, role, other) = (None, Some(CloseCode::WRONG_ROLE), Some(CloseCode::WRONG_REGION));
    // An agent that is server and client has a server's certificate, as in Nomad.
    let table = [
        ("server.west.nomad", [ok, ok, ok]),
        ("server.west.drover", [ok, ok, ok]),
        ("client.west.nomad", [role, role, ok]),
        ("server.east.nomad", [other, ok, other]),
        ("client.east.nomad", [role, role, other]),
    ];
    for (name, expected) in table {
        let caller = bare();
        show_own(&caller, &authority, &own_certificate(&authority, name));
        for (protocol, expected) in [Protocol::Raft, Protocol::Server, Protocol::Edge].into_iter().zip(expected) {
            match expected {
                Some(code) => assert_eq!(turned_away(&caller, &listening, protocol).await, code, "{name} {protocol:?}"),
                None => {
                    let (_, seen) = meet(&caller, &listening, protocol).await;
                    let role = if protocol == Protocol::Edge { "client" } else { "server" };
                    assert_eq!(seen.identity.role.as_str(), role, "{name} {protocol:?}");
                }
            }
        }
    }
    // A server of any region is known by what it says; one of another is none of the wanted.
    let (east, key) = own_server(&authority, "server.east.drover");
    let dial = listening.dial_any_region(address(&east), Protocol::Server, DEADLINE);
    let (found, _) = tokio::join!(dial, accept_peer(&east));
    assert_eq!(found.unwrap().identity.to_string(), format!("drover://east/server/{}", key.node()));
    let refused = listening.dial(address(&east), &region("west"), Protocol::Server, DEADLINE).await;
    assert!(matches!(refused, Err(DialError::Closed(Closed::Handshake(_)))), "{refused:?}");
    // A client's certificate does not play a server.
    let (stolen, _) = own_server(&authority, "client.west.nomad");
    assert!(listening.dial(address(&stolen), &region("west"), Protocol::Server, DEADLINE).await.is_err());
}

#[tokio::test]
async fn a_certificate_that_names_its_node_counts_as_such() {
    let west = authority("west");
    let files = credentials(&west, Role::Client, "n1");
    let named = OwnCertificate::from_pem(&files.leaf().to_pem(), &files.key().to_pem()).unwrap();
    let edge = bare();
    edge.set_own_credentials(&named, &west.anchors(), &NodeKey::generate().unwrap()).unwrap();
    // An automatic server and one whose files the same authority has made.
    let server_files = credentials(&west, Role::Server, "s1");
    let server_named = OwnCertificate::from_pem(&server_files.leaf().to_pem(), &server_files.key().to_pem()).unwrap();
    let by_files = Endpoint::bind(EndpointOptions::listen(LOOPBACK)).unwrap();
    by_files.set_own_credentials(&server_named, &west.anchors(), &NodeKey::generate().unwrap()).unwrap();
    for listening in [server(&west), by_files] {
        let (server, caller) = meet(&edge, &listening, Protocol::Edge).await;
        assert_eq!(server.identity.node, "s1");
        assert_eq!(caller.identity.node, "n1");
    }
}

#[tokio::test]
async fn set_ups_that_are_mixed_are_refused_with_what_helps() {
    let (own, automatic) = (own_authority(), authority("west"));
    let (own_listening, _) = own_server(&own, "server.west.drover");
    let own_edge = bare();
    show_own(&own_edge, &own, &own_certificate(&own, "client.west.drover"));
    let stranger = bare();
    let other = own_authority();
    show_own(&stranger, &other, &own_certificate(&other, "client.west.drover"));
    let edge = dialler(&automatic, &credentials(&automatic, Role::Client, "n1"));
    let foreign = authority("west");
    let foreign_edge = dialler(&foreign, &credentials(&foreign, Role::Client, "n1"));
    let listening = server(&automatic);
    let cases = [
        (&own_edge, &listening, "set tls { rpc = true, ca_file, cert_file, key_file } there too"),
        (&edge, &own_listening, "set tls { rpc = true, ca_file, cert_file, key_file } here too"),
        (&stranger, &own_listening, "another authority than those in tls { ca_file }"),
        (&foreign_edge, &listening, "drover node join-token create"),
    ];
    for (dialler, listening, expected) in cases {
        let refused = dialler.dial(address(listening), &region("west"), Protocol::Edge, DEADLINE).await;
        let Err(DialError::Closed(Closed::Handshake(said))) = refused else { panic!("{refused:?}") };
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn a_role_without_its_node_is_not_let_in() {
    let authority = own_authority();
    let (patient, _) = own_server(&authority, "server.west.drover");
    let options =
        EndpointOptions { handshake_time_max: Some(Duration::from_secs(1)), ..EndpointOptions::listen(LOOPBACK) };
    let impatient = Endpoint::bind(options).unwrap();
    show_own(&impatient, &authority, &own_certificate(&authority, "server.west.drover"));
    let caller = bare();
    show_own(&caller, &authority, &own_certificate(&authority, "client.west.drover"));
    let trust = caller.0.shared.trust.current().unwrap();
    let provider = &caller.0.shared.provider;
    let connect = async |listening: &Endpoint| {
        let judge = RegionServer::new(
            Some(&region("west")),
            Believed::Roots(trust.roots.clone()),
            true,
            provider.signature_verification_algorithms,
        );
        let shown = trust.as_caller().shown;
        let config = tls::dialler(Protocol::Edge, judge, shown, Clock::system(), provider).unwrap();
        caller.0.quinn.connect_with(config, address(listening), "server.west.drover").unwrap().await.unwrap()
    };
    // It says nothing, and is told why it is sent away.
    let silent = connect(&impatient).await;
    match Closed::from(silent.closed().await) {
        Closed::ByPeer { code: CloseCode::TOO_SLOW, reason } => assert!(reason.contains("rpc_handshake_timeout")),
        other => panic!("{other:?}"),
    }
    // It repeats what another has said on another connection.
    let overheard = trust.node_key.as_ref().unwrap().introduce(b"another connection").unwrap();
    let liar = connect(&patient).await;
    let mut stream = liar.open_uni().await.unwrap();
    stream.write_all(&overheard).await.unwrap();
    match Closed::from(liar.closed().await) {
        Closed::ByPeer { code: CloseCode::CERTIFICATE_REFUSED, .. } => {}
        other => panic!("{other:?}"),
    }
}
