//! Each certificate that the TLS library would let through and that names nobody to us.

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, OtherNameValue, SanType};

use super::*;

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

fn der_with(names: Vec<SanType>, is_ca: IsCa) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params.is_ca = is_ca;
    params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn read(names: Vec<SanType>) -> Result<String, PresentedError> {
    read_identity(&der_with(names, IsCa::ExplicitNoCa)).map(|identity| identity.to_string())
}

#[test]
fn right_names_are_read() {
    let node = "drover://west/server/s1";
    for names in [
        vec![dns("server.west.drover"), uri(node)],
        vec![uri(node), dns("server.west.drover")],
        vec![dns("server.west.nomad"), uri(node)],
        vec![dns("server.west.drover"), dns("server.west.nomad"), uri(node)],
    ] {
        assert_eq!(read(names), Ok(node.to_owned()));
    }
}

#[test]
fn every_other_set_of_names_is_refused() {
    use PresentedError::*;
    let node = || uri("drover://west/server/s1");
    let server = || dns("server.west.drover");
    let not_a_role_name = |name: &str| (vec![server(), dns(name), node()], NotARoleName(name.to_owned()));
    let node_form = |name: &str| (vec![server(), uri(name)], NodeForm(name.to_owned()));
    let other = OtherNameValue::from("x");
    let cases = vec![
        (vec![], NoRoleName),
        (vec![node()], NoRoleName),
        (vec![uri("drover://east/server/s1")], NoRoleName),
        (vec![server()], NoNode),
        (vec![server(), uri("drover://east/server/s1")], Contradiction),
        (vec![server(), uri("drover://west/client/s1")], Contradiction),
        (vec![server(), dns("client.west.drover"), node()], Mixed),
        (vec![server(), dns("server.east.drover"), node()], Mixed),
        (vec![server(), node(), node()], ManyNodes),
        (vec![server(), node(), uri("drover://west/server/s2")], ManyNodes),
        not_a_role_name("*.west.drover"),
        not_a_role_name("west.drover"),
        not_a_role_name("a.server.west.drover"),
        not_a_role_name("SERVER.west.drover"),
        not_a_role_name("server.West.drover"),
        not_a_role_name("server.west.DROVER"),
        not_a_role_name("server.west.drover."),
        not_a_role_name("server.west.example"),
        not_a_role_name("admin.west.drover"),
        not_a_role_name("localhost"),
        not_a_role_name("server..drover"),
        node_form("drover://west/server/"),
        node_form("drover://west/server/a/b"),
        node_form("drover://west/server/a%2fb"),
        node_form("https://west/server/s1"),
        (vec![server(), node(), SanType::IpAddress([127, 0, 0, 1].into())], OtherKind("IP address")),
        (vec![server(), node(), SanType::Rfc822Name("a@west.drover".try_into().unwrap())], OtherKind("mail")),
        (vec![server(), node(), SanType::OtherName((vec![1, 3, 6, 1], other))], OtherKind("other name")),
    ];
    for (names, expected) in cases {
        assert_eq!(read(names.clone()), Err(expected), "{names:?}");
    }
}

#[test]
fn the_subject_is_no_name() {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "server.west.drover");
    let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    assert_eq!(read_identity(certificate.der()), Err(PresentedError::NoRoleName));
}

#[test]
fn authorities_and_foreign_bytes_are_refused() {
    let names = vec![dns("server.west.drover"), uri("drover://west/server/s1")];
    let authority = der_with(names.clone(), IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(read_identity(&authority), Err(PresentedError::Authority));
    let mut longer = der_with(names, IsCa::NoCa);
    assert!(read_identity(&longer).is_ok());
    assert!(read_public_key(&longer).is_ok());
    for cut in 0..longer.len() {
        assert_eq!(read_identity(&longer[..cut]), Err(PresentedError::NotACertificate), "cut at {cut}");
    }
    longer.push(0);
    assert_eq!(read_identity(&longer), Err(PresentedError::NotACertificate));
}

#[test]
fn the_same_key_is_recognised_and_another_kind_refused() {
    let key = crate::KeyPair::generate().unwrap();
    let certificate = CertificateParams::default().self_signed(key.inner()).unwrap();
    assert_eq!(read_public_key(certificate.der()), Ok(key.public_key()));
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = CertificateParams::default().self_signed(&other).unwrap();
    assert_eq!(read_public_key(certificate.der()), Err(PresentedError::Key));
}
