//! Authorities, endpoints on loopback and connected pairs for the tests of this crate.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use drover_certs::own_authority::{OwnAuthority, OwnAuthorityOrder, OwnCertificateOrder};
use drover_certs::{Authority, Credentials, Identity, Lifetimes, NodeKey, OwnCertificate, RegionName, Role};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use crate::endpoint::{Endpoint, EndpointOptions};
use crate::peer::{Accepted, Candidate, Peer};
use crate::protocol::Protocol;

pub(crate) const DEADLINE: Duration = Duration::from_secs(120);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(crate) fn region(name: &str) -> RegionName {
    name.parse().unwrap()
}

/// An authority that exists for 100 days already, so that old certificates can be made.
pub(crate) fn authority(name: &str) -> Authority {
    Authority::create(region(name), SystemTime::now() - 100 * DAY, &Lifetimes::default()).unwrap()
}

pub(crate) fn credentials(authority: &Authority, role: Role, node: &str) -> Credentials {
    issued(authority, role, node, SystemTime::now(), HOUR)
}

pub(crate) fn issued(authority: &Authority, role: Role, node: &str, at: SystemTime, lifetime: Duration) -> Credentials {
    let identity = Identity::new(authority.region().clone(), role, node).unwrap();
    authority.issue_own(&identity, at, lifetime).unwrap()
}

/// A certificate that the region's own key has signed and our code would not: whoever has stolen the key can make these.
pub(crate) fn forged(authority: &Authority, dns: &[&str], uris: &[&str]) -> Arc<CertifiedKey> {
    let genuine = credentials(authority, Role::Client, "n1");
    let intermediate = genuine.leaf().chain()[1].clone();
    let stolen = rcgen::KeyPair::from_pem(&authority.to_pem().key).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_der(&intermediate, stolen).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = dns.iter().map(|name| rcgen::SanType::DnsName((*name).try_into().unwrap())).collect();
    params.subject_alt_names.extend(uris.iter().map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap())));
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = rustls::crypto::ring::sign::any_ecdsa_type(&key).unwrap();
    Arc::new(CertifiedKey::new(vec![leaf.der().clone(), intermediate], key))
}

/// An authority that people made.
pub(crate) fn own_authority() -> OwnAuthority {
    let order = OwnAuthorityOrder { lifetime: 100 * DAY, ..OwnAuthorityOrder::default() };
    OwnAuthority::create(&order, SystemTime::now()).unwrap()
}

/// A certificate of it, with the names that `drover tls cert create` gives.
pub(crate) fn own_certificate(authority: &OwnAuthority, name: &str) -> OwnCertificate {
    let order = OwnCertificateOrder {
        common_name: name.to_owned(),
        names: vec![name.to_owned(), "localhost".to_owned()],
        addresses: vec![Ipv4Addr::LOCALHOST.into()],
        lifetime: DAY,
    };
    let pair = authority.issue(&order, SystemTime::now()).unwrap();
    OwnCertificate::from_pem(&pair.certificate, &pair.key).unwrap()
}

/// Shows that certificate on the endpoint; gives the key that says which node it is.
pub(crate) fn show_own(endpoint: &Endpoint, authority: &OwnAuthority, certificate: &OwnCertificate) -> NodeKey {
    let key = NodeKey::generate().unwrap();
    endpoint.set_own_credentials(certificate, &authority.anchors(), &key).unwrap();
    key
}

/// A listening server of the authority's region.
pub(crate) fn server(authority: &Authority) -> Endpoint {
    listener(authority, &credentials(authority, Role::Server, "s1"))
}

pub(crate) fn listener(authority: &Authority, credentials: &Credentials) -> Endpoint {
    let endpoint = Endpoint::bind(EndpointOptions::listen(LOOPBACK)).unwrap();
    endpoint.set_credentials(credentials, &authority.anchors()).unwrap();
    endpoint
}

/// An edge client, or a server that only dials.
pub(crate) fn dialler(authority: &Authority, credentials: &Credentials) -> Endpoint {
    let endpoint = bare();
    endpoint.set_credentials(credentials, &authority.anchors()).unwrap();
    endpoint
}

/// An endpoint without credentials.
pub(crate) fn bare() -> Endpoint {
    Endpoint::bind(EndpointOptions::dial_only(LOOPBACK)).unwrap()
}

pub(crate) fn address(endpoint: &Endpoint) -> SocketAddr {
    endpoint.local_address().unwrap()
}

pub(crate) async fn accept_peer(endpoint: &Endpoint) -> Peer {
    match endpoint.accept().await {
        Some(Accepted::Peer(peer)) => peer,
        other => panic!("a peer was expected, not {other:?}"),
    }
}

pub(crate) async fn accept_candidate(endpoint: &Endpoint) -> Candidate {
    match endpoint.accept().await {
        Some(Accepted::Candidate(candidate)) => candidate,
        other => panic!("a candidate was expected, not {other:?}"),
    }
}

/// An edge and a server of one region, connected.
pub(crate) struct Pair {
    /// The server, as the edge sees it.
    pub(crate) server: Peer,
    /// The edge, as the server sees it.
    pub(crate) edge: Peer,
    pub(crate) server_endpoint: Endpoint,
    pub(crate) edge_endpoint: Endpoint,
}

pub(crate) async fn pair() -> Pair {
    let west = authority("west");
    let server_endpoint = server(&west);
    let edge_endpoint = dialler(&west, &credentials(&west, Role::Client, "n1"));
    let west = region("west");
    let dial = edge_endpoint.dial(address(&server_endpoint), &west, Protocol::Edge, DEADLINE);
    let (server, edge) = tokio::join!(dial, accept_peer(&server_endpoint));
    Pair { server: server.unwrap(), edge, server_endpoint, edge_endpoint }
}
