//! Certificates as people make them, and what they are taken for.

use std::time::Duration;

use super::*;
use crate::own_authority::{OwnAuthority, OwnAuthorityOrder, OwnCertificateOrder, Pair};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn authority() -> OwnAuthority {
    OwnAuthority::create(&OwnAuthorityOrder { lifetime: 10 * DAY, ..Default::default() }, SystemTime::now()).unwrap()
}

fn issue(names: &[&str]) -> Pair {
    let order = OwnCertificateOrder {
        common_name: names.first().copied().unwrap_or("x").to_owned(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        addresses: vec![IpAddr::from([127, 0, 0, 1])],
        lifetime: DAY,
    };
    authority().issue(&order, SystemTime::now()).unwrap()
}

use std::net::IpAddr;

fn holder(names: &[&str]) -> Result<String, PresentedError> {
    let Pair { certificate, key } = issue(names);
    match OwnCertificate::from_pem(&certificate, &key) {
        Ok(own) => Ok(own.holder().to_string()),
        Err(OwnError::Names(error)) => Err(error),
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn role_and_region_are_read_from_the_names() {
    let cases: [(&[&str], Result<&str, PresentedError>); 9] = [
        (&["server.global.nomad", "localhost"], Ok("server.global")),
        (&["client.west.drover", "localhost"], Ok("client.west")),
        (&["server.west.drover", "server.west.nomad", "ui.example.org"], Ok("server.west")),
        (&["client.west.nomad", "server.west.nomad"], Ok("server.west")),
        (&["SERVER.Global.nomad"], Ok("server.global")),
        (&["server.west.nomad", "client.east.nomad"], Err(PresentedError::Mixed)),
        (&["cli.global.nomad", "localhost"], Err(PresentedError::NoRoleName)),
        (&["*.global.nomad"], Err(PresentedError::NoRoleName)),
        (&["server.global.example.org"], Err(PresentedError::NoRoleName)),
    ];
    for (names, expected) in cases {
        assert_eq!(holder(names), expected.map(str::to_owned), "{names:?}");
    }
}

#[test]
fn a_servers_certificate_without_a_node_covers_a_client() {
    let holder =
        |role, node: Option<&str>| Holder { region: "west".parse().unwrap(), role, node: node.map(str::to_owned) };
    let cases = [
        (holder(Role::Server, None), true, true),
        (holder(Role::Client, None), false, true),
        (holder(Role::Server, Some("s1")), true, false),
        (holder(Role::Client, Some("n1")), false, true),
    ];
    for (holder, server, client) in cases {
        assert_eq!(holder.in_role(Role::Server).is_some(), server, "{holder}");
        assert_eq!(holder.in_role(Role::Client).is_some(), client, "{holder}");
    }
}

#[test]
fn keys_of_every_usual_form_are_taken_and_others_are_not() {
    let pair = issue(&["server.global.nomad"]);
    let other = issue(&["server.global.nomad"]);
    let read = |chain: &str, key: &str| OwnCertificate::from_pem(chain, key).map(drop).map_err(|e| e.to_string());
    assert_eq!(read(&pair.certificate, &pair.key), Ok(()));
    assert_eq!(read(&pair.certificate, &other.key), Err("the key belongs to another certificate".to_owned()));
    assert_eq!(read(&pair.certificate, ""), Err("exactly one private key expected".to_owned()));
    assert_eq!(read("", &pair.key), Err("the chain has 0 certificates, 1 to 8 expected".to_owned()));
    for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::DnsName("client.global.nomad".try_into().unwrap())];
        let certificate = params.self_signed(&key).unwrap().pem();
        assert_eq!(read(&certificate, &key.serialize_pem()), Ok(()));
    }
    // The authority's own certificate speaks for no machine.
    let authority = authority().to_pem();
    assert!(read(&authority.certificate, &authority.key).is_err());
}
