//! What the commands write, read again.

use super::*;
use crate::facts::Facts;
use crate::own::OwnCertificate;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn order() -> OwnCertificateOrder {
    OwnCertificateOrder {
        common_name: "server.global.drover".to_owned(),
        names: vec!["server.global.drover".to_owned(), "localhost".to_owned()],
        addresses: vec![IpAddr::from([127, 0, 0, 1])],
        lifetime: 365 * DAY,
    }
}

#[test]
fn what_is_made_reads_back() {
    let now = SystemTime::UNIX_EPOCH + 20_000 * DAY;
    let subject = Subject { country: "NO".to_owned(), street_address: "Way 1".to_owned(), ..Subject::default() };
    let domains = vec!["drover".to_owned(), "localhost".to_owned()];
    let made = OwnAuthorityOrder { common_name: None, subject, lifetime: 1825 * DAY, domains: domains.clone() };
    let made = OwnAuthority::create(&made, now).unwrap().to_pem();
    let facts = Facts::of_pem(&made.certificate).unwrap();
    assert_eq!(facts.issuer, format!("Drover Agent CA {}", facts.serial));
    assert_eq!(facts.subject, format!("CN={},STREET=Way 1,C=NO", facts.issuer));
    assert_eq!((facts.permitted, facts.is_authority), (domains, true));
    assert_eq!(facts.not_after, now + 1825 * DAY);

    let authority = OwnAuthority::from_pem(&made.certificate, &made.key).unwrap();
    let issued = authority.issue(&order(), now).unwrap();
    let facts = Facts::of_pem(&issued.certificate).unwrap();
    assert_eq!(facts.subject, "CN=server.global.drover");
    assert_eq!(facts.names, ["server.global.drover", "localhost"]);
    assert_eq!(facts.addresses, [IpAddr::from([127, 0, 0, 1])]);
    let own = OwnCertificate::from_pem(&issued.certificate, &issued.key).unwrap();
    assert_eq!(own.holder().to_string(), "server.global");
    assert_eq!(own.not_after(), now + 365 * DAY);
    assert!(authority.anchors().issuer_of_chain(own.chain()).is_some());

    // No certificate outlives its authority, and one that has ended signs nothing.
    let late = OwnCertificate::from_pem(
        &authority.issue(&order(), now + 1800 * DAY).unwrap().certificate,
        &authority.issue(&order(), now).unwrap().key,
    );
    assert!(late.is_err(), "the keys of two certificates");
    assert!(authority.issue(&order(), now + 1826 * DAY).is_err());
}

/// A key of an authority as Nomad writes it: SEC1, with the curve and the public point.
#[test]
fn an_authority_of_nomads_is_taken() {
    let certificate = include_str!("nomad-agent-ca.pem");
    let key = include_str!("nomad-agent-ca-key.pem");
    let authority = OwnAuthority::from_pem(certificate, key).unwrap();
    let now = Facts::of_pem(certificate).unwrap().not_after - 100 * DAY;
    let issued = authority.issue(&order(), now).unwrap();
    let own = OwnCertificate::from_pem(&issued.certificate, &issued.key).unwrap();
    assert!(authority.anchors().issuer_of_chain(own.chain()).is_some());
    // It ends with the authority.
    assert_eq!(own.not_after(), now + 100 * DAY);

    let other = OwnAuthority::create(&OwnAuthorityOrder { lifetime: DAY, ..Default::default() }, now).unwrap();
    let refused = OwnAuthority::from_pem(certificate, &other.to_pem().key);
    assert!(matches!(refused, Err(OwnAuthorityError::KeyMismatch)), "{refused:?}");
    let leaf = OwnAuthority::from_pem(&issued.certificate, &issued.key);
    assert!(matches!(leaf, Err(OwnAuthorityError::NotAnAuthority(_))), "{leaf:?}");
}
