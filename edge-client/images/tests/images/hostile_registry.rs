//! Registries that hang, cut, lie, send elsewhere or are slow; and what a pull makes of it.

use std::sync::Arc;
use std::time::Duration;

use drover_images::{Bounds, Digest, Platform, PullError, PullPolicy, PullRequest, Settings};

use crate::Case;
use crate::fake::{End, Fake, Reply, Seen};
use crate::made::{Made, Tar, describe};
use crate::support::{Place, eventually, request, settings};

pub const CASES: &[Case] = &[
    ("hostile_registry::silence_has_an_end", silence_has_an_end),
    ("hostile_registry::a_cut_is_gone_on_from", a_cut_is_gone_on_from),
    ("hostile_registry::lies_about_content_are_seen", lies_about_content_are_seen),
    ("hostile_registry::redirects_have_an_end", redirects_have_an_end),
    ("hostile_registry::what_may_pass_is_tried_again", what_may_pass_is_tried_again),
    ("hostile_registry::nonsense_is_named", nonsense_is_named),
    ("hostile_registry::bounds_hold", bounds_hold),
    ("hostile_registry::the_platform_is_chosen", the_platform_is_chosen),
    ("hostile_registry::mirrors_come_first", mirrors_come_first),
    ("hostile_registry::https_needs_a_known_certificate", https_needs_a_known_certificate),
];

fn image() -> Made {
    // It does not pack: a cut falls into the middle.
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    Made::of(&[Tar::new().file("a", noise.take(300_000).collect::<Vec<u8>>()).end()])
}

/// What a hostile registry makes of a right answer.
type Spoil = dyn Fn(&Seen, Reply) -> Reply + Send + Sync;

/// A registry whose answers are spoilt.
fn spoilt(spoil: impl Fn(&Seen, Reply) -> Reply + Send + Sync + 'static) -> (Fake, Made) {
    let made = image();
    let answers = made.clone();
    (Fake::start(move |seen| spoil(seen, answers.answer(seen))), made)
}

fn impatient(host: &str, silence: Duration) -> Settings {
    let mut settings = settings(&[host]);
    settings.bounds.silence_max = silence;
    settings
}

fn silence_has_an_end() {
    let (fake, _) = spoilt(|_, reply| reply.end(End::Hang(0)));
    let place = Place::new(impatient(&fake.host, Duration::from_millis(300)));
    let error = place.pull(&format!("{}/a", fake.host)).unwrap_err();
    assert!(matches!(*error, PullError::Silent { .. }) && error.may_pass(), "{error}");
    assert_eq!(error.sentence(), format!("{} sent nothing for 0 s", fake.host));

    // Never silent, and never done.
    let (fake, _) = spoilt(|seen, reply| {
        if seen.target.contains("/manifests/") { reply } else { reply.end(End::Drip(Duration::from_millis(20))) }
    });
    let place = Place::with(&fake.host);
    let slow = PullRequest { timeout: Some(Duration::from_secs(1)), ..request(&format!("{}/a", fake.host)) };
    let error = place.store.pull(slow, |_| {}).wait().unwrap_err();
    assert_eq!(error.sentence(), "it took longer than 1 s");
    place.assert_clean();
}

fn a_cut_is_gone_on_from() {
    // Twice in the middle, then whole.
    let layer = image().layer(0);
    let is_layer = move |seen: &Seen| seen.target.ends_with(layer.as_str());
    let check = |spoil: Box<Spoil>, ranges: &[usize]| {
        let (fake, made) = spoilt(spoil);
        let place = Place::with(&fake.host);
        place.pull(&format!("{}/a", fake.host)).unwrap();
        let from: Vec<_> =
            fake.seen().iter().filter(|it| it.target.ends_with(made.layer(0).as_str())).map(Seen::from).collect();
        assert_eq!(from, ranges);
        assert_eq!(place.names("partial"), [""; 0]);
    };
    let cut = is_layer.clone();
    check(
        Box::new(move |seen, reply| if cut(seen) && seen.nth < 2 { reply.end(End::Cut(100_000)) } else { reply }),
        &[0, 100_000, 200_000],
    );
    // One that knows no ranges begins anew.
    let cut = is_layer.clone();
    let whole = image();
    check(
        Box::new(move |seen, reply| match seen.nth {
            0 if cut(seen) => reply.end(End::Cut(100_000)),
            _ if cut(seen) => Reply::new(200, whole.layers[0].clone()),
            _ => reply,
        }),
        &[0, 100_000],
    );
    check(Box::new(|_, reply| reply.end(End::Chunked(1000))), &[0]);

    // Another agent, later: the pull was given up in the middle, and what had come is not fetched again.
    let cut = is_layer.clone();
    let (fake, made) =
        spoilt(move |seen, reply| if cut(seen) && seen.nth == 0 { reply.end(End::Hang(123_456)) } else { reply });
    let place = Place::with(&fake.host);
    let kept = place.path().join("partial").join(made.layer(0).hex());
    let pull = place.store.pull(request(&format!("{}/a", fake.host)), |_| {});
    let has_come = || kept.metadata().is_ok_and(|kept| kept.len() == 123_456).then_some(());
    eventually("all that was sent has come", has_come);
    drop(pull);
    let place = place.reopen(settings(&[&fake.host]));
    place.pull(&format!("{}/a", fake.host)).unwrap();
    let last = fake.seen().iter().rfind(|seen| seen.target.ends_with(made.layer(0).as_str())).unwrap().from();
    assert_eq!(last, 123_456);

    // What was kept is spoilt: once more from the beginning.
    let (fake, made) = spoilt(|_, reply| reply);
    let place = Place::with(&fake.host);
    std::fs::write(place.path().join("partial").join(made.layer(0).hex()), vec![0; 1000]).unwrap();
    place.pull(&format!("{}/a", fake.host)).unwrap();

    // Always cut at once: an end, with the reason.
    let (fake, _) = spoilt(move |seen, reply| if is_layer(seen) { reply.end(End::Cut(0)) } else { reply });
    let place = Place::with(&fake.host);
    let sentence = place.refusal(&format!("{}/a", fake.host));
    assert!(sentence.contains("can not be reached: the connection was cut"), "{sentence}");
}

fn lies_about_content_are_seen() {
    let flip = |mut reply: Reply| {
        reply.body[9] ^= 1;
        reply
    };
    let (fake, made) = spoilt(move |seen, reply| if seen.target.contains("/blobs/") { flip(reply) } else { reply });
    let place = Place::with(&fake.host);
    let sentence = place.refusal(&format!("{}/a", fake.host));
    assert!(sentence.starts_with("configuration from"), "{sentence}");

    let layer = made.layer(0);
    let wrong = layer.clone();
    let (fake, _) = spoilt(move |seen, reply| if seen.target.ends_with(wrong.as_str()) { flip(reply) } else { reply });
    let place = Place::with(&fake.host);
    let error = place.pull(&format!("{}/a", fake.host)).unwrap_err();
    assert!(matches!(&*error, PullError::Digest { wanted, .. } if *wanted == layer) && !error.may_pass(), "{error}");
    assert!(place.names("partial").is_empty() && place.names("layers").is_empty());

    // By digest: another image under it is refused, the right one taken.
    let by_digest = |made: &Made| format!("a@{}", Digest::of(&made.manifest));
    let other = Made::of(&[Tar::new().file("other", "").end()]);
    let lie = other.manifest.clone();
    let (fake, made) = spoilt(
        move |seen, reply| if seen.target.contains("/manifests/") { Reply::new(200, lie.clone()) } else { reply },
    );
    let place = Place::with(&fake.host);
    assert!(place.refusal(&format!("{}/{}", fake.host, by_digest(&made))).starts_with("manifest from"));
    let (fake, made) = spoilt(|_, reply| reply);
    let place = Place::with(&fake.host);
    let image = place.pull(&format!("{}/{}", fake.host, by_digest(&made))).unwrap();
    assert_eq!((image.digest, image.id), (Digest::of(&made.manifest), Digest::of(&made.config)));

    let (fake, _) = spoilt(|seen, mut reply| {
        if seen.target.contains("/blobs/") {
            reply.body.extend([0; 1000]);
        }
        reply
    });
    let place = Place::with(&fake.host);
    let sentence = place.refusal(&format!("{}/a", fake.host));
    assert!(sentence.contains("configuration") || sentence.contains("more than the"), "{sentence}");
}

fn redirects_have_an_end() {
    let check = |location: &'static str, reason: &str| {
        let (fake, _) = spoilt(move |_, _| Reply::new(302, "").header("Location", location));
        let sentence = Place::with(&fake.host).refusal(&format!("{}/a", fake.host));
        assert!(sentence.contains(reason), "{sentence}");
    };
    check("/v2/again", "more redirects than are followed");
    check("ftp://127.0.0.1/x", "a redirect to nowhere");
    check("http://user@127.0.0.1/x", "a redirect to nowhere");
}

fn what_may_pass_is_tried_again() {
    let (fake, _) = spoilt(|seen, reply| match seen.nth {
        0 => Reply::new(503, ""),
        1 => Reply::new(429, "").header("Retry-After", "0"),
        2 => reply.end(End::Cut(0)),
        _ => reply,
    });
    Place::with(&fake.host).pull(&format!("{}/a", fake.host)).unwrap();

    let (fake, _) = spoilt(|_, reply| reply);
    let host = fake.host.clone();
    let mut settings = settings(&[&host]);
    settings.bounds.unused_max = Duration::from_secs(3600);
    let place = Place::new(settings);
    place.pull(&format!("{host}/a")).unwrap();
    let missing = place.pull(&format!("{host}/a:none")).unwrap_err();
    assert_eq!(missing.sentence(), format!("{host}/a:none does not exist at {host}, or is seen only with a login"));
    // Nobody is there any more: `latest` is what it was, and only who insists is told.
    drop(fake);
    place.pull(&format!("{host}/a")).unwrap();
    let insisting = PullRequest { policy: PullPolicy::Always, ..request(&format!("{host}/a")) };
    let error = place.store.pull(insisting, |_| {}).wait().unwrap_err();
    assert!(error.sentence().contains("Connection refused") && error.may_pass(), "{error}");
}

fn nonsense_is_named() {
    let check = |bytes: &'static [u8], reason: &str| {
        let fake = Fake::start(move |_| Reply::new(200, "").end(End::Raw(bytes.to_vec())));
        let sentence = Place::with(&fake.host).refusal(&format!("{}/a", fake.host));
        assert!(sentence.contains(reason), "{sentence}");
    };
    check(b"SSH-2.0-OpenSSH\r\n\r\n", "what is no HTTP");
    check(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "a length that is no number");
    check(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "a chunk without a length");
    check(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "the manifest of");
    check(
        b"HTTP/1.1 418 x\r\nContent-Length: 43\r\n\r\n{\"errors\":[{\"message\":\"short and\\nstout\"}]}\n",
        "418 (short andstout)",
    );
    let endless = Fake::start(|_| {
        let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
        head.resize(200_000, b'a');
        Reply::new(200, "").end(End::Raw(head))
    });
    let sentence = Place::with(&endless.host).refusal(&format!("{}/a", endless.host));
    assert!(sentence.contains("a head without an end") || sentence.contains("can not be read"), "{sentence}");
    let large = Fake::start(|_| Reply::new(200, vec![b' '; 5 << 20]));
    let sentence = Place::with(&large.host).refusal(&format!("{}/a", large.host));
    assert_eq!(sentence, "the manifest is larger than 4.0 MiB allow");
}

fn bounds_hold() {
    let check = |bounds: fn(&mut Bounds), reason: &str| {
        let made = Made::of(&[Tar::new().file("a", "1").end(), Tar::new().file("a", "2").end()]);
        let fake = Fake::start(move |seen| made.answer(seen));
        let mut settings = settings(&[&fake.host]);
        bounds(&mut settings.bounds);
        let place = Place::new(settings);
        let sentence = place.refusal(&format!("{}/a", fake.host));
        assert!(sentence.contains(reason), "{sentence}");
        assert_eq!(fake.count("/blobs/"), 0, "nothing was fetched");
    };
    check(|bounds| bounds.layer_bytes_max = 10, "is larger than 10 B allow");
    check(|bounds| bounds.image_bytes_max = 100, "the image is larger than 100 B allow");
    check(|bounds| bounds.layers_max = 1, "the image has 2 layers, more than 1");
    check(|bounds| bounds.waiting_max = 0, "0 pulls are running or waiting already");
}

fn the_platform_is_chosen() {
    let (mut small, large) = (Made::of(&[Tar::new().file("arm", "").end()]), image());
    let entry = |made: &Made, architecture: &str| {
        let mut entry = describe(&made.manifest, "application/vnd.oci.image.manifest.v1+json");
        entry["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        entry
    };
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry(&large, "amd64"), entry(&small, "arm64")]});
    let index = serde_json::to_vec(&index).unwrap();
    small.tag("multi", &index);
    let fake = Fake::start(move |seen| small.answer(seen));
    let of = |architecture: &str| {
        let platform = Platform { os: "linux".into(), architecture: architecture.into(), variant: String::new() };
        Place::new(Settings { platform, ..settings(&[&fake.host]) })
    };
    let name = format!("{}/a:multi", fake.host);
    let place = of("arm64");
    let image = place.pull(&name).unwrap();
    assert!(image.layers[0].join("arm").exists());
    // The digest is that of the whole image: it holds on every platform.
    assert_eq!(image.digest, Digest::of(&index));
    assert_eq!(
        of("riscv64").refusal(&name),
        format!("{name} is there for linux/amd64, linux/arm64 and not for linux/riscv64")
    );
    place.pull(&format!("{}/a@{}", fake.host, Digest::of(&index))).unwrap();
}

fn mirrors_come_first() {
    let made = image();
    let (mirrored, original) = (made.clone(), made);
    let mirror =
        Fake::start(
            move |seen| if seen.target.contains("/mirrored/") { mirrored.answer(seen) } else { Reply::new(404, "") },
        );
    let registry = Fake::start(move |seen| original.answer(seen));
    let nobody = "127.0.0.1:1".to_owned();
    let mut settings = settings(&[&registry.host, &mirror.host, &nobody]);
    settings.registries.get_mut(&registry.host).unwrap().mirrors = vec![mirror.host.clone()];
    let place = Place::new(settings.clone());
    place.pull(&format!("{}/mirrored", registry.host)).unwrap();
    assert_eq!(registry.seen().len(), 0);
    place.pull(&format!("{}/other", registry.host)).unwrap();
    assert!(mirror.count("/other/") == 1 && registry.count("/other/") > 0);
    settings.registries.get_mut(&registry.host).unwrap().mirrors = vec![nobody];
    Place::new(settings).pull(&format!("{}/other", registry.host)).unwrap();
}

fn https_needs_a_known_certificate() {
    let names = vec!["127.0.0.1".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
    let server = || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap()
    };
    let made = image();
    let fake = Fake::start_tls(server(), move |seen| made.answer(seen));
    let name = format!("{}/a", fake.host);
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), cert.pem()).unwrap();
    let trusting = Settings { ca_file: Some(ca.path().to_owned()), ..settings(&[]) };
    Place::new(trusting.clone()).pull(&name).unwrap();
    // A registry that nobody declared as plain is never spoken to in the clear, nor without a known certificate.
    let other = rcgen::generate_simple_self_signed(vec!["other".to_owned()]).unwrap();
    std::fs::write(ca.path(), other.cert.pem()).unwrap();
    let sentence = Place::new(trusting.clone()).refusal(&name);
    assert!(sentence.contains("can not be trusted") && sentence.contains("certificate"), "{sentence}");
    std::fs::write(ca.path(), "nothing").unwrap();
    assert!(Place::new(trusting.clone()).refusal(&name).contains("holds no certificate"));

    std::fs::write(ca.path(), cert.pem()).unwrap();
    let fake = Fake::start_tls(server(), |_| Reply::new(302, "").header("Location", "http://127.0.0.1/x"));
    let sentence = Place::new(trusting).refusal(&format!("{}/a", fake.host));
    assert!(sentence.contains("a redirect from HTTPS to plain HTTP"), "{sentence}");
}
