//! Who gets into a region: founded by a token, refused with a reason, with certificates of one's own.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

#[path = "../../../tests/harness/src/ports.rs"]
mod ports;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use drover_certs::own_authority::{OwnAuthority, OwnAuthorityOrder, OwnCertificateOrder};
use drover_certs::{Authority, AuthorityPem, Identity, Lifetimes, Role};
use drover_server::join_tokens::{JoinTokenMade, JoinTokenRequest};
use drover_server::own_tls::OwnTls;
use drover_server::{AutopilotConfig, Error, JoinSettings, Server, Settings, StartError};
use tokio::time::{Instant, sleep};

const WAIT: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A log of this test alone: a region's joining is told by its lines.
#[derive(Clone, Default)]
struct Said(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Said {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    fn times(&self, text: &str) -> usize {
        self.text().matches(text).count()
    }
}

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The log of all tests of this process; each looks for words that only it can cause.
fn said() -> Said {
    static SAID: std::sync::OnceLock<Said> = std::sync::OnceLock::new();
    let begin = || {
        let said = Said::default();
        let writer = said.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        said
    };
    SAID.get_or_init(begin).clone()
}

/// One that nobody else takes while this process lives.
fn free_address() -> SocketAddr {
    let [port] = std::mem::ManuallyDrop::new(ports::Ports::<1>::take()).numbers();
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn settings(region: &str, name: &str, dir: &Path) -> Settings {
    Settings {
        region: region.to_owned(),
        rpc_bind: free_address(),
        gossip_bind: free_address(),
        autopilot: AutopilotConfig {
            server_stabilization_time: Duration::from_millis(500),
            ..AutopilotConfig::default()
        },
        ..Settings::alone(name, dir.to_path_buf())
    }
}

fn joining(server: &Server) -> JoinSettings {
    let retry = vec![server.info().gossip_advertise.to_string()];
    JoinSettings { retry, interval: Duration::from_millis(200), ..JoinSettings::default() }
}

async fn start(settings: &Settings) -> Server {
    said();
    Server::start(settings.clone(), |reason| panic!("the server died: {reason}")).await.unwrap()
}

async fn until(what: &str, is_so: impl AsyncFnMut() -> bool) {
    until_within(WAIT, what, is_so).await;
}

async fn until_within(wait: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + wait;
    while !is_so().await {
        assert!(Instant::now() < end, "{what} did not come about in {wait:?}:\n{}", said().text());
        sleep(Duration::from_millis(10)).await;
    }
}

async fn token(server: &Server, region: &str) -> Result<JoinTokenMade, Error> {
    let request = JoinTokenRequest { is_for_server: true, region: region.to_owned(), ..JoinTokenRequest::default() };
    server.create_join_token(request).await
}

fn invalid(refused: Result<JoinTokenMade, Error>) -> String {
    match refused {
        Err(Error::Invalid(text)) => text,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_region_is_founded_by_a_token() {
    let dirs: Vec<tempfile::TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let east = start(&settings("found-east", "e1", dirs[0].path())).await;
    assert!(east.wait_for_leader(WAIT).await);
    let made = token(&east, "found-west").await.unwrap();
    assert!(made.text.starts_with("drover1.server.found-west@found-east."), "{:?}", made.token);
    assert_eq!(made.token.region, "found-west");
    let spare = token(&east, "found-west").await.unwrap();

    // It is no token for another region, nor for a server of this one.
    let wrong = Settings { join_token: Some(made.text.clone()), ..settings("found-north", "n1", dirs[1].path()) };
    let refused = Server::start(wrong, |_| ()).await.err().unwrap();
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(why.contains("it is for region found-west") && why.contains("-region found-north"), "{why}");
    let text = format!("{:?}", token(&east, "Bad_Name").await);
    assert!(text.contains("one lower-case DNS label"), "{text}");
    let for_two = JoinTokenRequest {
        is_for_server: true,
        uses: Some(2),
        region: "found-west".to_owned(),
        ..JoinTokenRequest::default()
    };
    assert!(invalid(east.create_join_token(for_two).await).contains("for its first server alone"));
    let for_client = JoinTokenRequest { region: "found-west".to_owned(), ..JoinTokenRequest::default() };
    assert!(invalid(east.create_join_token(for_client).await).contains("made on a server of found-west"));

    // The region begins alone, and gets its keys and its place in the federation beside that.
    let plan = Settings {
        join_token: Some(made.text.clone()),
        join: joining(&east),
        ..settings("found-west", "w1", dirs[1].path())
    };
    let west = start(&plan).await;
    assert!(west.wait_for_leader(WAIT).await);
    for server in [&east, &west] {
        until("both regions", async || server.regions() == ["found-east", "found-west"]).await;
    }
    let tls = dirs[1].path().join("tls");
    assert!(tls.join("region-key.pem").exists() && !tls.join("root-key.pem").exists());
    // Keys of its own, below the same root.
    let read = |dir: &tempfile::TempDir, name: &str| std::fs::read(dir.path().join("tls").join(name)).unwrap();
    assert_eq!(read(&dirs[0], "root.pem"), read(&dirs[1], "root.pem"));
    assert_ne!(read(&dirs[0], "region-key.pem"), read(&dirs[1], "region-key.pem"));

    // It lets its own servers in, founds no other, and is not founded twice.
    assert!(token(&west, "").await.unwrap().text.starts_with("drover1.server.found-west."));
    assert!(invalid(token(&west, "found-south").await).contains("has not the root's key"));
    assert!(invalid(token(&east, "found-west").await).contains("is there already"));

    // Its use is spent.
    let late_plan = Settings {
        join_token: Some(made.text),
        join: joining(&east),
        bootstrap_expect: 0,
        ..settings("found-west", "w2", dirs[2].path())
    };
    let late = start(&late_plan).await;
    until("the refusal", async || said().text().contains("this join token is used up: make another")).await;
    late.shutdown().await;

    // Another token for the region comes too late, and is not spent by that.
    let later =
        Settings { join_token: Some(spare.text), rpc_bind: free_address(), gossip_bind: free_address(), ..late_plan };
    let late = start(&later).await;
    let refused =
        || said().text().lines().any(|line| line.contains("enrolment refused") && line.contains("is there already"));
    until("the refusal", async || refused()).await;
    let snapshot = east.reading().snapshot;
    let kept = snapshot.join_tokens().find(|token| token.id == spare.token.id).unwrap();
    assert_eq!(kept.uses_left, Some(1));
    for server in [late, west, east] {
        server.shutdown().await;
    }
}

/// Gives the data directory of a founded region's server a certificate of that region which lives so long and was made then; gives
/// its end.
fn age_region(root_dir: &Path, dir: &Path, begin: SystemTime, life: Duration) -> SystemTime {
    let read = |dir: &Path, name: &str| std::fs::read_to_string(dir.join("tls").join(name)).unwrap();
    let texts = AuthorityPem {
        root: read(root_dir, "root.pem"),
        root_key: Some(read(root_dir, "root-key.pem")),
        intermediate: read(dir, "region.pem"),
        key: read(dir, "region-key.pem"),
    };
    let authority = Authority::from_pem(&texts).unwrap();
    let lifetimes = Lifetimes { intermediate: life, ..Lifetimes::default() };
    let old = authority.renew(begin, &lifetimes).unwrap();
    std::fs::write(dir.join("tls/region.pem"), old.to_pem().intermediate).unwrap();
    old.not_after()
}

/// Keys of a region whose root was made long ago, in the data directory of its first server.
fn old_root(region: &str, dir: &Path) {
    let begin = SystemTime::now() - 100 * DAY;
    let made = Authority::create(region.parse().unwrap(), begin, &Lifetimes::default()).unwrap().to_pem();
    let tls = dir.join("tls");
    std::fs::create_dir_all(&tls).unwrap();
    let root_key = made.root_key.unwrap();
    for (name, text) in [
        ("root.pem", &made.root),
        ("root-key.pem", &root_key),
        ("region.pem", &made.intermediate),
        ("region-key.pem", &made.key),
    ] {
        std::fs::write(tls.join(name), text).unwrap();
    }
}

/// When the region's certificate in a data directory ends.
fn region_end(dir: &Path) -> SystemTime {
    let read = |name: &str| std::fs::read_to_string(dir.join("tls").join(name)).unwrap();
    let (root, intermediate, key) = (read("root.pem"), read("region.pem"), read("region-key.pem"));
    Authority::from_pem(&AuthorityPem { root, root_key: None, intermediate, key }).unwrap().not_after()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_founded_by_a_token_has_its_certificate_renewed() {
    let dirs: Vec<tempfile::TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    // Its certificate was made long enough ago for the other one to be old.
    old_root("renew-east", dirs[0].path());
    let east_plan = settings("renew-east", "e1", dirs[0].path());
    let east = start(&east_plan).await;
    assert!(east.wait_for_leader(WAIT).await);
    let made = token(&east, "renew-west").await.unwrap();
    let mut plans: Vec<Settings> = (1..3)
        .map(|number| Settings {
            join_token: Some(made.text.clone()),
            join: joining(&east),
            ..settings("renew-west", &format!("w{number}"), dirs[number].path())
        })
        .collect();
    let west = start(&plans[0]).await;
    assert!(west.wait_for_leader(WAIT).await);
    until("both regions", async || west.regions() == ["renew-east", "renew-west"]).await;
    // A second server of the new region, which gets the keys as they are.
    plans[1].join_token = Some(token(&west, "").await.unwrap().text);
    plans[1].join = joining(&west);
    plans[1].bootstrap_expect = 0;
    let second = start(&plans[1]).await;
    until("two voters", async || west.raft_peers().iter().filter(|peer| peer.is_voter).count() == 2).await;
    second.shutdown().await;
    west.shutdown().await;
    east.shutdown().await;

    // Two thirds of its life have passed, and who has the root's key is not there.
    let ends: Vec<SystemTime> = {
        let age =
            |number: usize| age_region(dirs[0].path(), dirs[number].path(), SystemTime::now() - 18 * DAY, 20 * DAY);
        (1..3).map(age).collect()
    };
    // Elsewhere, as servers that were moved.
    let moved = |plan: &Settings| Settings { rpc_bind: free_address(), gossip_bind: free_address(), ..plan.clone() };
    let west = start(&moved(&plans[0])).await;
    let second = start(&Settings { join: joining(&west), ..moved(&plans[1]) }).await;
    until("a leader", async || west.wait_for_leader(WAIT).await && second.wait_for_leader(WAIT).await).await;
    until("the reason", async || said().text().contains("the region's certificate ends soon and was not renewed"))
        .await;
    assert_eq!([region_end(dirs[1].path()), region_end(dirs[2].path())], ends[..]);

    // It is, and both servers have the later one: the same, for the key that they had.
    let key = std::fs::read(dirs[1].path().join("tls/region-key.pem")).unwrap();
    let east = start(&Settings { join: joining(&west), ..moved(&east_plan) }).await;
    // The leader tries again after as long as it has tried already, and then its fellow.
    until_within(3 * WAIT, "a later certificate", async || {
        (1..3).all(|number| region_end(dirs[number].path()) > SystemTime::now() + 700 * DAY)
    })
    .await;
    let pem = |number: usize| std::fs::read(dirs[number].path().join("tls/region.pem")).unwrap();
    assert_eq!(pem(1), pem(2));
    assert_eq!(std::fs::read(dirs[1].path().join("tls/region-key.pem")).unwrap(), key);
    assert!(said().text().contains("the certificate of another region was renewed"));
    for server in [second, west, east] {
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founded_region_whose_certificate_has_ended_comes_back_by_a_token() {
    let dirs: Vec<tempfile::TempDir> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    old_root("ended-east", dirs[0].path());
    let east = start(&settings("ended-east", "e1", dirs[0].path())).await;
    assert!(east.wait_for_leader(WAIT).await);
    let first = Settings { join: joining(&east), ..settings("ended-west", "w1", dirs[1].path()) };
    let made = token(&east, "ended-west").await.unwrap().text;
    let west = start(&Settings { join_token: Some(made), ..first.clone() }).await;
    until("its keys", async || dirs[1].path().join("tls/region-key.pem").exists()).await;
    assert!(west.wait_for_leader(WAIT).await);
    let mut written = None;
    until("a token of it", async || {
        written = token(&west, "").await.ok().map(|made| made.token.id);
        written.is_some()
    })
    .await;
    let written = written.unwrap();
    west.shutdown().await;
    east.force_leave("w1.ended-west", true).await.unwrap();
    until("nobody of it", async || east.regions() == ["ended-east"]).await;

    // All of its servers were off past its life.
    let end = age_region(dirs[0].path(), dirs[1].path(), SystemTime::now() - 50 * DAY, 20 * DAY);
    assert!(end < SystemTime::now());
    let read = |name: &str| std::fs::read(dirs[1].path().join("tls").join(name)).unwrap();
    let before = (read("region.pem"), read("region-key.pem"));
    let moved = |plan: &Settings| Settings { rpc_bind: free_address(), gossip_bind: free_address(), ..plan.clone() };
    let refused = Server::start(moved(&first), |_| ()).await.err().unwrap();
    assert!(matches!(&refused, StartError::RegionEnded { region, .. } if region == "ended-west"), "{refused}");
    assert!(refused.to_string().contains("`drover server join-token create -region ended-west`"), "{refused}");
    assert_eq!((read("region.pem"), read("region-key.pem")), before, "nothing was changed");

    // One that has a certificate of that name below another root gets none, and spends no token.
    let JoinTokenMade { text: made, token: kept, .. } = token(&east, "ended-west").await.unwrap();
    let lifetimes = Lifetimes { intermediate: 20 * DAY, ..Lifetimes::default() };
    let foreign =
        Authority::create("ended-west".parse().unwrap(), SystemTime::now() - 50 * DAY, &lifetimes).unwrap().to_pem();
    std::fs::create_dir(dirs[3].path().join("tls")).unwrap();
    for (name, text) in
        [("root.pem", foreign.root), ("region.pem", foreign.intermediate), ("region-key.pem", foreign.key)]
    {
        std::fs::write(dirs[3].path().join("tls").join(name), text).unwrap();
    }
    let stranger = Settings {
        join_token: Some(made.clone()),
        join: joining(&east),
        ..settings("ended-west", "x1", dirs[3].path())
    };
    let stranger = start(&stranger).await;
    until("the refusal", async || said().text().contains("the server refuses: the region's certificate is not signed"))
        .await;
    stranger.shutdown().await;
    assert_eq!(east.reading().snapshot.join_token(kept.id).unwrap().uses_left, Some(1));

    // With a token for founding it, it has a later certificate for the key that it had, and all that it knew.
    let west = start(&Settings { join_token: Some(made), ..moved(&first) }).await;
    assert!(west.wait_for_leader(WAIT).await);
    until("both regions", async || east.regions() == ["ended-east", "ended-west"]).await;
    assert!(region_end(dirs[1].path()) > SystemTime::now() + 600 * DAY);
    assert_eq!(read("region-key.pem"), before.1);
    assert!(west.reading().snapshot.join_token(written).is_some());

    // Another of its servers takes a token from this one.
    std::fs::create_dir(dirs[2].path().join("tls")).unwrap();
    for (name, text) in [("root.pem", read("root.pem")), ("region.pem", before.0), ("region-key.pem", before.1)] {
        std::fs::write(dirs[2].path().join("tls").join(name), text).unwrap();
    }
    let plan = Settings {
        join_token: Some(token(&west, "").await.unwrap().text),
        join: joining(&west),
        bootstrap_expect: 0,
        ..settings("ended-west", "w2", dirs[2].path())
    };
    let second = start(&plan).await;
    until("the certificate", async || region_end(dirs[2].path()) == region_end(dirs[1].path())).await;
    for server in [second, west, east] {
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tokens_for_one_new_region_make_one_authority() {
    let dirs: Vec<tempfile::TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let east = start(&settings("twice-east", "e1", dirs[0].path())).await;
    assert!(east.wait_for_leader(WAIT).await);
    let tokens = [token(&east, "twice-west").await.unwrap(), token(&east, "twice-west").await.unwrap()];
    let plan = |number: usize, made: &JoinTokenMade| Settings {
        join_token: Some(made.text.clone()),
        join: joining(&east),
        ..settings("twice-west", &format!("w{number}"), dirs[number].path())
    };
    let first = start(&plan(1, &tokens[0])).await;
    until("the first one's keys", async || dirs[1].path().join("tls/region-key.pem").exists()).await;
    // Nobody sees it any more, so that the list of members says nothing.
    first.shutdown().await;
    east.force_leave("w1.twice-west", true).await.unwrap();
    until("nobody", async || east.regions() == ["twice-east"]).await;

    let second = start(&plan(2, &tokens[1])).await;
    let refused = || {
        let text = said().text();
        text.lines().any(|line| {
            line.contains("enrolment refused") && line.contains("twice-west was founded with another token")
        })
    };
    until("the refusal", async || refused()).await;
    assert!(!dirs[2].path().join("tls").exists());
    let snapshot = east.reading().snapshot;
    let kept = snapshot.join_tokens().find(|token| token.id == tokens[1].token.id).unwrap();
    assert_eq!(kept.uses_left, Some(1), "it was not spent");
    second.shutdown().await;

    // One that is made now, because the region is gone, founds it anew.
    let third = start(&plan(2, &token(&east, "twice-west").await.unwrap())).await;
    until("keys", async || dirs[2].path().join("tls/region-key.pem").exists()).await;
    third.shutdown().await;
    east.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_do_not_count_are_refused_with_the_reason_once() {
    let dirs: Vec<tempfile::TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let server = start(&settings("spent", "s1", dirs[0].path())).await;
    assert!(server.wait_for_leader(WAIT).await);
    let short =
        JoinTokenRequest { is_for_server: true, ttl: Some(Duration::from_nanos(1)), ..JoinTokenRequest::default() };
    let ended = server.create_join_token(short).await.unwrap().text;
    let unknown = format!("{}.{}", ended.rsplit_once('.').unwrap().0, "ab".repeat(32));
    let cases = [(ended, "this join token ended at "), (unknown, "this join token is not known here")];
    for ((text, expected), dir) in cases.into_iter().zip(&dirs[1..]) {
        let settings = Settings {
            join_token: Some(text),
            join: joining(&server),
            bootstrap_expect: 0,
            ..settings("spent", "s2", dir.path())
        };
        let waiting = start(&settings).await;
        let line =
            || said().text().lines().filter(|line| line.contains("were not got") && line.contains(expected)).count();
        until("the reason", async || line() > 0).await;
        // It is asked again every second, and said once.
        let asked = || {
            said().text().lines().filter(|line| line.contains("enrolment refused") && line.contains(expected)).count()
        };
        until("a second attempt", async || asked() >= 2).await;
        assert_eq!(line(), 1);
        let log = said().text();
        let line = log.lines().find(|line| line.contains("were not got") && line.contains(expected)).unwrap();
        assert!(
            line.contains("WARN") && line.contains("make another with `drover server join-token create`"),
            "{line}"
        );
        waiting.shutdown().await;
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_for_trying_things_out_takes_no_other_in() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let dev = start(&Settings { stays_alone: true, ..settings("alone", "dev", dirs[0].path()) }).await;
    assert!(dev.wait_for_leader(WAIT).await);
    // A fellow on the same host could read its file; it names it, so that it counts as one.
    let other = Settings { join: joining(&dev), bootstrap_expect: 0, ..settings("alone", "s2", dirs[1].path()) };
    let other = start(&other).await;
    until("the refusal", async || said().text().contains("it takes no other server in")).await;
    assert!(!dirs[1].path().join("tls/region-key.pem").exists());
    assert_eq!(dev.raft_peers().len(), 1);
    other.shutdown().await;
    dev.shutdown().await;
}

/// Files as `drover tls` writes them, for a server of that region.
fn files(authority: &OwnAuthority, dir: &Path, name: &str) -> OwnTls {
    let order = OwnCertificateOrder {
        common_name: name.to_owned(),
        names: vec![name.to_owned(), "localhost".to_owned()],
        addresses: Vec::new(),
        lifetime: DAY,
    };
    let pair = authority.issue(&order, SystemTime::now()).unwrap();
    let write = |name: &str, text: &str| -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    OwnTls {
        ca: write("ca.pem", &authority.to_pem().certificate),
        cert: write(&format!("{name}.pem"), &pair.certificate),
        key: write(&format!("{name}-key.pem"), &pair.key),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_with_certificates_of_their_own_form_a_region_and_a_federation() {
    let dirs: Vec<tempfile::TempDir> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let order = OwnAuthorityOrder { lifetime: 10 * DAY, ..OwnAuthorityOrder::default() };
    let authority = OwnAuthority::create(&order, SystemTime::now()).unwrap();
    // Both have the same certificate, and are two servers all the same.
    let of_west = files(&authority, dirs[3].path(), "server.own-west.nomad");
    let mut plans: Vec<Settings> = (0..2)
        .map(|number| Settings {
            own_tls: Some(of_west.clone()),
            bootstrap_expect: 2,
            ..settings("own-west", &format!("w{number}"), dirs[number].path())
        })
        .collect();
    let names: Vec<String> = plans.iter().map(|plan| plan.gossip_bind.to_string()).collect();
    for plan in &mut plans {
        plan.join = JoinSettings { retry: names.clone(), ..JoinSettings::default() };
    }
    let servers = [start(&plans[0]).await, start(&plans[1]).await];
    for server in &servers {
        assert!(server.wait_for_leader(WAIT).await);
    }
    until("two voters", async || servers[0].raft_peers().iter().filter(|peer| peer.is_voter).count() == 2).await;
    assert_ne!(servers[0].info().id, servers[1].info().id);
    assert!(!dirs[0].path().join("tls").exists(), "no authority was made");
    assert!(invalid(token(&servers[0], "").await).contains("nobody needs a token"));

    // Another region of the same authority.
    let of_east = files(&authority, dirs[3].path(), "server.own-east.drover");
    let plan = Settings {
        own_tls: Some(of_east.clone()),
        join: joining(&servers[0]),
        ..settings("own-east", "e1", dirs[2].path())
    };
    let east = start(&plan).await;
    until("both regions", async || servers[1].regions() == ["own-east", "own-west"]).await;

    // A new certificate in the place of the old one is taken up; one that is for another region is not.
    files(&authority, dirs[3].path(), "server.own-east.drover");
    east.reload_certificates().unwrap();
    std::fs::copy(&of_west.cert, &of_east.cert).unwrap();
    std::fs::copy(&of_west.key, &of_east.key).unwrap();
    let refused = east.reload_certificates().unwrap_err();
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(why.contains("is a certificate for server.own-west, this is server.own-east"), "{why}");
    assert!(why.contains("drover tls cert create -server -region own-east"), "{why}");
    let plan = Settings { own_tls: Some(of_east.clone()), ..settings("own-east", "e2", dirs[3].path()) };
    assert!(Server::start(plan, |_| ()).await.is_err(), "nothing is started with it either");
    // One that names a node is for that node alone.
    let issuer = Authority::create("own-east".parse().unwrap(), SystemTime::now(), &Lifetimes::default()).unwrap();
    let issued = |id: &str| {
        issuer
            .issue_own(&Identity::new(issuer.region().clone(), Role::Server, id).unwrap(), SystemTime::now(), DAY)
            .unwrap()
    };
    let place = |id: &str| {
        let credentials = issued(id);
        std::fs::write(&of_east.cert, credentials.leaf().to_pem()).unwrap();
        std::fs::write(&of_east.key, credentials.key().to_pem()).unwrap();
        std::fs::write(&of_east.ca, issuer.to_pem().root).unwrap();
    };
    place("00000000-1111-4222-8333-444444444444");
    let refused = east.reload_certificates().unwrap_err();
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(why.contains("is the certificate of drover://own-east/server/00000000-1111"), "{why}");
    assert!(why.contains(&format!("this is server {}", east.info().id)), "{why}");
    place(&east.info().id);
    east.reload_certificates().unwrap();
    for server in servers.into_iter().chain([east]) {
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_with_certificates_of_its_own_does_not_start_beside_the_other() {
    let dirs: Vec<tempfile::TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let order = OwnAuthorityOrder { lifetime: 10 * DAY, ..OwnAuthorityOrder::default() };
    let authority = OwnAuthority::create(&order, SystemTime::now()).unwrap();
    let own_tls = Some(files(&authority, dirs[2].path(), "server.own-copy.nomad"));
    let plan = |dir: usize| Settings { own_tls: own_tls.clone(), ..settings("own-copy", "s1", dirs[dir].path()) };
    let first = plan(0);
    let server = start(&first).await;
    for file in std::fs::read_dir(dirs[0].path()).unwrap().map(Result::unwrap) {
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), dirs[1].path().join(file.file_name())).unwrap();
        }
    }
    match Server::start(plan(1), |_| ()).await.map(|server| server.info().id.clone()) {
        Err(StartError::Copied { address, .. }) => assert_eq!(address, first.rpc_bind),
        other => panic!("a refusal was expected, not {other:?}"),
    }
    server.shutdown().await;
    // With the other gone it is a server that has moved.
    let moved = start(&plan(1)).await;
    assert_eq!(moved.info().id, server.info().id);
    moved.shutdown().await;
}

/// Copies a directory and all in it.
fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &to),
            false => std::fs::copy(entry.path(), to).map(drop).unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_original_that_joins_its_copy_is_told() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let plan = settings("beside", "s1", dirs[0].path());
    let original = start(&plan).await;
    assert!(original.wait_for_leader(WAIT).await);
    original.shutdown().await;
    drop(original);
    copy_all(dirs[0].path(), dirs[1].path());
    // The original is off: the copy is a server that has moved.
    let copy = start(&settings("beside", "s1", dirs[1].path())).await;
    assert!(copy.wait_for_leader(WAIT).await);
    // At its own address the original asks nobody. (That is another one by now: this process still has the first.)
    let plan = Settings { join: joining(&copy), ..settings("beside", "s1", dirs[0].path()) };
    std::fs::write(dirs[0].path().join("rpc-address"), plan.rpc_bind.to_string()).unwrap();
    let original = start(&plan).await;
    assert_eq!(original.info().id, copy.info().id);
    let at = copy.info().gossip_advertise.to_string();
    let is_told = || {
        let is_it = |line: &str| line.contains(&at) && line.contains("or one that runs on a copy of its data");
        said().text().lines().any(is_it)
    };
    until("a word on the copy", async || is_told()).await;
    assert_eq!(copy.membership().members().len(), 1, "neither takes the other for a member");
    original.shutdown().await;
    copy.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_with_and_without_certificates_of_their_own_do_not_meet() {
    let dirs: Vec<tempfile::TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let order = OwnAuthorityOrder { lifetime: 10 * DAY, ..OwnAuthorityOrder::default() };
    let authority = OwnAuthority::create(&order, SystemTime::now()).unwrap();
    let own_tls = Some(files(&authority, dirs[2].path(), "server.mixed.nomad"));
    let own = start(&Settings { own_tls, ..settings("mixed", "s1", dirs[0].path()) }).await;
    // On the same host it sees by the other's file what it would need.
    let plan = Settings { join: joining(&own), bootstrap_expect: 0, ..settings("mixed", "s2", dirs[1].path()) };
    let automatic = start(&plan).await;
    let help = "the servers of this region use certificates of an own authority: set tls { rpc = true";
    until("the remedy", async || said().text().contains(help)).await;
    automatic.shutdown().await;
    // With keys of its own authority it is told by the handshake.
    // At another address, as one that was moved.
    let plan = Settings { bootstrap_expect: 1, rpc_bind: free_address(), gossip_bind: free_address(), ..plan };
    let automatic = start(&plan).await;
    until("the remedy", async || said().times("the other side uses certificates of an own authority: set tls") > 0)
        .await;
    assert_eq!(own.membership().members().len(), 1);
    automatic.shutdown().await;
    own.shutdown().await;
}
