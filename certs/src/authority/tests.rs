//! What authorities sign, what they refuse, and that the TLS library judges their chains as intended.

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};

use super::*;
use crate::leaf::Credentials;

const HOUR: Duration = Duration::from_secs(3600);

fn region(name: &str) -> RegionName {
    name.parse().unwrap()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn west() -> Authority {
    Authority::create(region("west"), now(), &Lifetimes::default()).unwrap()
}

fn identity(role: Role) -> Identity {
    Identity::new(region("west"), role, "n1").unwrap()
}

fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

fn as_server(anchors: &Anchors, leaf: &Leaf, name: &str, at: SystemTime) -> Result<(), rustls::Error> {
    let certificate = ParsedCertificate::try_from(&leaf.chain()[0])?;
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let roots = anchors.root_store()?;
    verify_server_cert_signed_by_trust_anchor(&certificate, &roots, &leaf.chain()[1..], unix(at), algorithms.all)?;
    verify_server_name(&certificate, &ServerName::try_from(name.to_owned()).unwrap())
}

fn as_client(anchors: &Anchors, leaf: &Leaf, at: SystemTime) -> Result<(), rustls::Error> {
    let provider = rustls::crypto::ring::default_provider().into();
    let roots = anchors.root_store()?.into();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap();
    verifier.verify_client_cert(&leaf.chain()[0], &leaf.chain()[1..], unix(at)).map(|_| ())
}

#[test]
fn a_server_is_taken_as_server_and_client_and_a_client_as_client_only() {
    let authority = west();
    let anchors = authority.anchors();
    let server = authority.issue_own(&identity(Role::Server), now(), HOUR).unwrap();
    let client = authority.issue_own(&identity(Role::Client), now(), HOUR).unwrap();
    assert_eq!(server.leaf().identity(), &identity(Role::Server));
    assert_eq!(client.leaf().identity(), &identity(Role::Client));
    as_server(&anchors, server.leaf(), "server.west.drover", now()).unwrap();
    as_client(&anchors, server.leaf(), now()).unwrap();
    as_client(&anchors, client.leaf(), now()).unwrap();
    assert!(as_server(&anchors, client.leaf(), "client.west.drover", now()).is_err());
    assert!(as_server(&anchors, server.leaf(), "server.east.drover", now()).is_err());
    assert_eq!(anchors.issuer_of(server.leaf()), Some(&anchors.roots()[0]));
    assert_eq!(west().anchors().issuer_of(server.leaf()), None);
    assert!(as_server(&west().anchors(), server.leaf(), "server.west.drover", now()).is_err());
}

#[test]
fn dates_stay_inside_the_issuers() {
    let lifetimes = Lifetimes { root: 10 * HOUR, intermediate: 5 * HOUR, leaf: HOUR };
    let authority = Authority::create(region("west"), now(), &lifetimes).unwrap();
    let key = KeyPair::generate().unwrap();
    let issue = |at, lifetime| authority.issue(&key.public_key(), &identity(Role::Client), at, lifetime);

    let leaf = issue(now(), HOUR).unwrap();
    assert_eq!(leaf.not_after(), now() + HOUR);
    assert_eq!(leaf.not_before(), now() - CLOCK_SKEW);
    assert_eq!(leaf.renew_at(), leaf.not_before() + (HOUR + CLOCK_SKEW) / 3 * 2);

    let capped = issue(now() + 4 * HOUR, 9 * HOUR).unwrap();
    assert_eq!(capped.not_after(), now() + 5 * HOUR);
    assert_eq!(capped.not_after(), authority.not_after());

    let short = issue(now() + HOUR, Duration::from_secs(10)).unwrap();
    assert!(short.renew_at() > now() + HOUR, "a short-lived certificate is not due at once");

    assert!(matches!(issue(now() + 5 * HOUR, HOUR), Err(AuthorityError::NotNow)));
    assert!(matches!(issue(now() - HOUR, HOUR), Err(AuthorityError::NotNow)));
    assert!(matches!(issue(now(), Duration::from_millis(999)), Err(AuthorityError::Lifetime)));
    assert!(issue(now(), Duration::MAX).is_ok());

    as_client(&authority.anchors(), &leaf, now() + HOUR).unwrap();
    assert!(as_client(&authority.anchors(), &leaf, now() + HOUR + Duration::from_secs(1)).is_err());
}

#[test]
fn a_renewed_authority_keeps_what_it_signed() {
    let lifetimes = Lifetimes { root: 10 * HOUR, intermediate: 2 * HOUR, leaf: HOUR };
    let authority = Authority::create(region("west"), now(), &lifetimes).unwrap();
    let old = authority.issue_own(&identity(Role::Server), now(), 2 * HOUR).unwrap();
    let renewed = authority.renew(now() + HOUR, &lifetimes).unwrap();
    assert_eq!(renewed.not_after(), now() + 3 * HOUR);
    assert_eq!(renewed.fingerprint(), authority.fingerprint());
    as_server(&renewed.anchors(), old.leaf(), "server.west.drover", now() + HOUR).unwrap();
    let last = renewed.renew(now() + 9 * HOUR, &lifetimes).unwrap();
    assert_eq!(last.not_after(), now() + 10 * HOUR, "no intermediate outlives the root");
    assert!(matches!(authority.without_root_key().renew(now(), &lifetimes), Err(AuthorityError::NoRootKey)));
}

#[test]
fn another_regions_certificate_is_renewed_for_its_own_key_alone() {
    let west = west();
    let east = west.create_region(region("east"), now(), &Lifetimes::default()).unwrap().without_root_key();
    let (held, proof, later) = (east.to_pem().intermediate, east.prove_key().unwrap(), now() + 500 * DAY);
    let renew = |by: &Authority, name: &str, held: &str, proof: &[u8]| {
        by.renew_other(&region(name), held, proof, later, &Lifetimes::default())
    };
    let renewed = AuthorityPem { intermediate: renew(&west, "east", &held, &proof).unwrap(), ..east.to_pem() };
    let renewed = Authority::from_pem(&renewed).unwrap();
    assert_eq!((renewed.region(), renewed.not_after()), (&region("east"), later + 730 * DAY));
    // What was signed before still counts under it.
    let identity = Identity::new(region("east"), Role::Server, "n1").unwrap();
    let old = east.issue_own(&identity, now(), HOUR).unwrap();
    as_server(&renewed.anchors(), old.leaf(), "server.east.drover", now()).unwrap();

    let refused = |answer: Result<String, AuthorityError>| answer.unwrap_err().to_string();
    assert_eq!(refused(renew(&east, "east", &held, &proof)), "this needs the root's key, which is not kept here");
    assert!(refused(renew(&west, "north", &held, &proof)).contains("region east cannot sign for region north"));
    // With another key than the certificate's; with another root's certificate; with no certificate.
    let stranger = Authority::create(region("east"), now(), &Lifetimes::default()).unwrap();
    let text = refused(renew(&west, "east", &held, &stranger.prove_key().unwrap()));
    assert_eq!(text, "the region's key belongs to another certificate");
    let (theirs, proof) = (stranger.to_pem().intermediate, stranger.prove_key().unwrap());
    assert_eq!(refused(renew(&west, "east", &theirs, &proof)), "the region's certificate is not signed by the root");
    assert!(renew(&west, "east", "", &proof).is_err() && renew(&west, "east", &held, b"").is_err());
}

#[test]
fn a_clock_that_was_set_back_keeps_nobody_from_a_certificate() {
    let authority = west();
    let early = now() - 30 * DAY;
    let sign = |at: SystemTime| authority.issue_own(&identity(Role::Server), at, HOUR);
    assert!(matches!(sign(early), Err(AuthorityError::NotNow)));
    assert!(sign(authority.floored(early)).is_ok());
    assert_eq!(authority.floored(now()), now());
}

#[test]
fn a_region_speaks_for_itself_alone() {
    let authority = west();
    let east = authority.create_region(region("east"), now(), &Lifetimes::default()).unwrap();
    assert_eq!(east.fingerprint(), authority.fingerprint());
    let key = KeyPair::generate().unwrap();
    let asked = east.issue(&key.public_key(), &identity(Role::Server), now(), HOUR);
    assert!(matches!(asked, Err(AuthorityError::OtherRegion { .. })));

    // A stolen key of east does not ask our code; the constraint in its certificate stops it all the same.
    let forged = forge(&east, &["server.west.drover"], None, &["drover://west/server/n1"]);
    assert!(as_server(&east.anchors(), &forged, "server.west.drover", now()).is_err());
    assert!(as_client(&east.anchors(), &forged, now()).is_err());
}

fn forge(by: &Authority, dns_names: &[&str], address: Option<[u8; 4]>, uris: &[&str]) -> Leaf {
    let mut params = params(now(), HOUR, None).unwrap();
    params.subject_alt_names = dns_names.iter().map(|name| dns(name).unwrap()).collect();
    params.subject_alt_names.extend(uris.iter().map(|name| uri(name).unwrap()));
    params.subject_alt_names.extend(address.map(|address| SanType::IpAddress(address.into())));
    let issuer = Issuer::from_ca_cert_der(&by.intermediate, by.key.inner()).unwrap();
    let certificate = params.signed_by(KeyPair::generate().unwrap().inner(), &issuer).unwrap();
    Leaf::from_chain(vec![certificate.der().clone(), by.intermediate.clone()]).unwrap()
}

#[test]
fn a_request_gets_the_key_certified_and_nothing_it_asks_for() {
    let authority = west();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut wish = CertificateParams::new(vec!["server.west.drover".to_owned()]).unwrap();
    wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wish.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let request = wish.serialize_request(&pair).unwrap();
    let key = PublicKey::from_signing_request(request.der()).unwrap();
    let leaf = authority.issue(&key, &identity(Role::Client), now(), HOUR).unwrap();
    assert_eq!(leaf.identity(), &identity(Role::Client));
    assert_eq!(leaf.public_key(), &key);
    assert!(as_server(&authority.anchors(), &leaf, "server.west.drover", now()).is_err());

    let again = authority.issue(&key, &identity(Role::Client), now(), HOUR).unwrap();
    let serial = |leaf: &Leaf| der::parse(&leaf.chain()[0]).unwrap().raw_serial().to_vec();
    assert_ne!(serial(&leaf), serial(&again));

    let bad = Identity { node: "a/b".into(), ..identity(Role::Client) };
    assert!(matches!(authority.issue(&key, &bad, now(), HOUR), Err(AuthorityError::Identity(_))));
}

#[test]
fn an_authority_survives_its_texts() {
    let authority = west();
    let texts = authority.to_pem();
    let read = Authority::from_pem(&texts).unwrap();
    assert_eq!((read.region(), read.fingerprint()), (authority.region(), authority.fingerprint()));
    assert!(read.has_root_key());
    let leaf = read.issue_own(&identity(Role::Server), now(), HOUR).unwrap();
    as_server(&authority.anchors(), leaf.leaf(), "server.west.drover", now()).unwrap();
    assert!(!Authority::from_pem(&authority.without_root_key().to_pem()).unwrap().has_root_key());

    let credentials = Credentials::from_pem(&leaf.leaf().to_pem(), &leaf.key().to_pem()).unwrap();
    assert_eq!(credentials.leaf(), leaf.leaf());
    let other = KeyPair::generate().unwrap();
    assert!(matches!(Credentials::new(leaf.leaf().clone(), other), Err(LeafError::KeyMismatch)));
    assert_eq!(Anchors::from_pem(&authority.anchors().to_pem()).unwrap(), authority.anchors());
}

#[test]
fn texts_that_do_not_belong_together_are_refused() {
    let (one, two) = (west().to_pem(), west().to_pem());
    let server = west().issue_own(&identity(Role::Server), now(), HOUR).unwrap();
    let check = |texts: AuthorityPem, expected: &str| {
        let error = Authority::from_pem(&texts).unwrap_err().to_string();
        assert_eq!(error, expected);
    };
    check(AuthorityPem { key: two.key.clone(), ..one.clone() }, "the region's key belongs to another certificate");
    check(
        AuthorityPem { root_key: two.root_key.clone(), ..one.clone() },
        "the root's key belongs to another certificate",
    );
    check(
        AuthorityPem { root: two.root.clone(), root_key: None, ..one.clone() },
        "the region's certificate is not signed by the root",
    );
    check(
        AuthorityPem { intermediate: one.root.clone(), key: one.root_key.clone().unwrap(), ..one.clone() },
        "the region's certificate is not bound to one region",
    );
    check(AuthorityPem { root: server.leaf().to_pem(), ..one.clone() }, "exactly one root certificate expected");
    check(AuthorityPem { root: String::new(), ..one.clone() }, "exactly one root certificate expected");
    check(AuthorityPem { key: "x".into(), ..one }, "cannot use the authority's key");
}

#[test]
fn debug_forms_show_no_key() {
    let authority = west();
    let texts = authority.to_pem();
    let shown = format!("{authority:?} {texts:?} {:?}", authority.issue_own(&identity(Role::Server), now(), HOUR));
    assert!(!shown.contains("PRIVATE"));
    assert!(!shown.contains(texts.key.lines().nth(1).unwrap()));
}
