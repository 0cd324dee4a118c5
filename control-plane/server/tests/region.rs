//! Three servers in one process, over real QUIC on loopback: they form a region, any of them answers, and it outlives its leader.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

#[path = "../../../tests/harness/src/ports.rs"]
mod ports;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use drover_model::job::Job;
use drover_model::{JobKey, Namespace};
use drover_server::jobs::RegisterRequest;
use drover_server::join_tokens::JoinTokenRequest;
use drover_server::{AutopilotConfig, JoinSettings, Server, Settings};
use tokio::time::{Instant, sleep};

const WAIT: Duration = Duration::from_secs(120);

/// Addresses that nobody else takes while this process lives.
fn own_addresses(count: usize) -> Vec<SocketAddr> {
    let taken = (0..count).map(|_| std::mem::ManuallyDrop::new(ports::Ports::<1>::take()).numbers());
    taken.map(|[port]| SocketAddr::from(([127, 0, 0, 1], port))).collect()
}

struct Place {
    dir: tempfile::TempDir,
    settings: Settings,
}

/// Settings of servers that know each other, of a region of its own so that tests do not meet.
fn places(region: &str, count: usize) -> Vec<Place> {
    let addresses = own_addresses(count * 2);
    let (rpc, gossip) = addresses.split_at(count);
    (0..count)
        .map(|number| {
            let dir = tempfile::tempdir().unwrap();
            let settings = Settings {
                region: region.to_owned(),
                bootstrap_expect: u32::try_from(count).unwrap(),
                rpc_bind: rpc[number],
                gossip_bind: gossip[number],
                join: JoinSettings {
                    retry: gossip.iter().map(ToString::to_string).collect(),
                    ..JoinSettings::default()
                },
                autopilot: AutopilotConfig {
                    server_stabilization_time: Duration::from_millis(500),
                    ..AutopilotConfig::default()
                },
                ..Settings::alone(&format!("s{number}"), dir.path().to_path_buf())
            };
            Place { dir, settings }
        })
        .collect()
}

async fn start(place: &Place) -> Server {
    // Another test of this process has set it already.
    let _ = tracing_subscriber::fmt()
        .with_test_writer()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .try_init();
    Server::start(place.settings.clone(), |reason| panic!("the server died: {reason}")).await.unwrap()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + WAIT;
    while !is_so().await {
        assert!(Instant::now() < end, "{what} did not come about in {WAIT:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn job(id: &str) -> Job {
    Job { id: id.into(), namespace: Namespace::from("default"), name: id.to_owned(), ..Job::default() }
}

async fn register(server: &Server, id: &str) -> Result<(), drover_server::Error> {
    let request = RegisterRequest { job: job(id), ..RegisterRequest::default() };
    server.register_job(request).await.map(drop)
}

/// What an answered read shows: on a busy machine another leader may be elected in between, and then nobody answers for a moment.
async fn has(server: &Server, id: &str) -> bool {
    let end = Instant::now() + WAIT;
    loop {
        match server.read(false).await {
            Ok(reading) => return reading.snapshot.job(&JobKey::new("default", id)).is_some(),
            Err(error) => assert!(Instant::now() < end, "no read is answered in {WAIT:?}: {error}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Registers it, asked again as long as there is no leader.
async fn registered(server: &Server, id: &str) {
    until(&format!("{id} is registered"), async || register(server, id).await.is_ok()).await;
}

fn key_file(dir: &Path) -> std::path::PathBuf {
    dir.join("tls/region-key.pem")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_form_a_region_that_outlives_its_leader() {
    let places = places("form3", 3);
    let mut servers = Vec::new();
    for place in &places {
        servers.push(start(place).await);
    }
    for server in &servers {
        assert!(server.wait_for_leader(WAIT).await);
    }
    // One authority, made once, and its key on every disk.
    let keys: Vec<Vec<u8>> = places.iter().map(|place| std::fs::read(key_file(place.dir.path())).unwrap()).collect();
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));

    // Any server takes a write, and every other one reads it at once.
    for (number, server) in servers.iter().enumerate() {
        let id = format!("job{number}");
        registered(server, &id).await;
        for other in &servers {
            assert!(has(other, &id).await, "{id}");
        }
    }
    until("three voters", async || servers[0].raft_peers().iter().filter(|peer| peer.is_voter).count() == 3).await;
    assert!(servers[0].health().await.is_ok());

    // Leadership goes where it is told to.
    let follower = servers.iter().position(|server| !server.is_leader()).unwrap();
    let id = servers[follower].info().id.clone();
    until("the new leader", async || {
        if !servers[follower].is_leader() {
            // Refused where another was elected in between: asked again.
            let _ = servers[(follower + 1) % 3].transfer_leadership(Some(&id)).await;
        }
        servers[follower].is_leader()
    })
    .await;

    // The leader stops: another one leads, and nothing that was acknowledged is lost.
    servers[follower].shutdown().await;
    let left: Vec<&Server> = (0..3).filter(|number| *number != follower).map(|number| &servers[number]).collect();
    until("another leader", async || left.iter().any(|server| server.is_leader())).await;
    registered(left[0], "after").await;
    for server in &left {
        for id in ["job0", "job1", "job2", "after"] {
            assert!(has(server, id).await, "{id}");
        }
    }
    // It is cleaned up, and taken in again when it comes back.
    until("two servers", async || left[0].raft_peers().len() == 2).await;
    // At other addresses, as a server that was moved.
    let addresses = own_addresses(2);
    let place = &places[follower];
    let moved = Settings { rpc_bind: addresses[0], gossip_bind: addresses[1], ..place.settings.clone() };
    let back = Server::start(moved, |reason| panic!("the server died: {reason}")).await.unwrap();
    until("three voters again", async || left[0].raft_peers().iter().filter(|peer| peer.is_voter).count() == 3).await;
    assert!(has(&back, "after").await);
    for server in left.iter().copied().chain([&back]) {
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_wait_for_different_numbers_form_nothing() {
    let mut places = places("differ", 3);
    places[2].settings.bootstrap_expect = 5;
    let mut servers = Vec::new();
    for place in &places {
        servers.push(start(place).await);
    }
    until("all know each other", async || servers.iter().all(|server| server.membership().members().len() == 3)).await;
    assert!(servers.iter().all(|server| !server.is_formed()));
    for server in &servers {
        assert_eq!(register(server, "none").await, Err(drover_server::Error::NoLeader));
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_joins_a_region_of_one_and_leaves_it_again() {
    let mut places = places("grow", 2);
    places[0].settings.bootstrap_expect = 1;
    places[1].settings.bootstrap_expect = 0;
    let first = start(&places[0]).await;
    assert!(first.wait_for_leader(WAIT).await);
    registered(&first, "before").await;
    let second = start(&places[1]).await;
    until("two voters", async || first.raft_peers().iter().filter(|peer| peer.is_voter).count() == 2).await;
    assert!(has(&second, "before").await);
    second.leave().await;
    second.shutdown().await;
    until("one server", async || first.raft_peers().len() == 1).await;
    registered(&first, "alone").await;
    first.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_joins_with_a_token_that_was_asked_of_one_that_waits() {
    let mut places = places("token2", 2);
    let first = start(&places[0]).await;
    // It makes no authority by itself.
    assert!(!key_file(places[0].dir.path()).exists());
    let request = JoinTokenRequest { is_for_server: true, ..JoinTokenRequest::default() };
    let made = first.create_join_token(request).await.unwrap();
    assert!(made.text.starts_with("drover1.server.token2."), "{}", made.token.role);
    assert!(key_file(places[0].dir.path()).exists());
    // What a server keeps of it is no secret.
    let kept = std::fs::read_to_string(places[0].dir.path().join("join-tokens.json")).unwrap();
    assert!(!kept.contains(made.text.rsplit('.').next().unwrap()));

    places[1].settings.join_token = Some(made.text.clone());
    let second = start(&places[1]).await;
    assert!(first.wait_for_leader(WAIT).await && second.wait_for_leader(WAIT).await);
    registered(&second, "one").await;
    assert!(has(&first, "one").await);
    // The root's key stays where it was made.
    assert!(places[0].dir.path().join("tls/root-key.pem").exists());
    assert!(!places[1].dir.path().join("tls/root-key.pem").exists());
    // Its one use is spent, also in the state that the token has entered.
    let spent = async || first.reading().snapshot.join_tokens().all(|token| token.uses_left == Some(0));
    until("the token spent", spent).await;
    first.shutdown().await;
    second.shutdown().await;

    let other = Settings { join_token: Some(made.text.replace("server", "client")), ..places[1].settings.clone() };
    let refused = Server::start(other, |_| ()).await.err().map(|error| error.to_string());
    // The keys are there already, and yet a token of another kind is said to be wrong.
    assert_eq!(refused.as_deref(), Some("use the join token"));
}
