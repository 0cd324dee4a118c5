//! Servers on loopback, with real certificates and real connections: joining, leaving, dying, coming back, and strangers.

#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

#[path = "../../../tests/harness/src/ports.rs"]
mod ports;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use drover_certs::{Authority, Identity, Lifetimes, Role, Secret};
use drover_membership::{
    Directory, ForceLeaveError, JoinError, Member, MemberStatus, Membership, Options, RetryJoin, RetryJoinError,
    gossip_key,
};
use drover_transport::{Endpoint, EndpointOptions};
use tokio::time::timeout;

/// For what takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(60);
/// For noticing a death, which takes about five seconds on an idle machine.
const LATER: Duration = Duration::from_secs(120);

/// An address that nobody else takes while this process lives, also while no server is there.
fn loopback() -> SocketAddr {
    let [port] = std::mem::ManuallyDrop::new(ports::Ports::<1>::take()).numbers();
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn authority(region: &str) -> Authority {
    Authority::create(region.parse().unwrap(), SystemTime::now(), &Lifetimes::default()).unwrap()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

struct Server {
    membership: Membership,
    address: SocketAddr,
    own: Member,
}

/// Binds, where an earlier server's port is wanted again as soon as its tasks have let go of it.
async fn bind(address: SocketAddr) -> Endpoint {
    let bound = async {
        loop {
            match Endpoint::bind(EndpointOptions::gossip(address)) {
                Ok(endpoint) => return endpoint,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    timeout(SOON, bound).await.expect("the port becomes free")
}

async fn start_at(authority: &Authority, name: &str, id: &str, address: SocketAddr, key: Option<Secret>) -> Server {
    let endpoint = bind(address).await;
    let region = authority.region().clone();
    let identity = Identity::new(region.clone(), Role::Server, id).unwrap();
    let credentials = authority.issue_own(&identity, SystemTime::now(), Duration::from_secs(3600)).unwrap();
    endpoint.set_credentials(&credentials, &authority.anchors()).unwrap();
    let address = endpoint.local_address().unwrap();
    let own = Member {
        name: name.into(),
        region: region.to_string(),
        datacenter: "dc1".into(),
        id: id.into(),
        gossip: address,
        rpc: "127.0.0.1:4647".parse().unwrap(),
        http: "http://127.0.0.1:4646".into(),
        version: "0.1.0".into(),
        bootstrap_expect: 3,
        is_bootstrapped: false,
        is_leader: false,
        incarnation: now_ms(),
        status: MemberStatus::Alive,
    };
    let membership =
        Membership::start(Options { own: own.clone(), endpoint, key, seed: now_ms(), candidates: None }).unwrap();
    Server { membership, address, own }
}

async fn start(authority: &Authority, name: &str) -> Server {
    start_at(authority, name, &format!("id-{name}"), loopback(), None).await
}

impl Server {
    async fn until(&self, most: Duration, what: &str, done: impl Fn(&Directory) -> bool) {
        let mut watch = self.membership.watch();
        let waited = timeout(most, watch.wait_for(|directory| done(directory))).await;
        if waited.is_err() {
            panic!("{} does not see in {most:?} {what}: {:#?}", self.own.name, self.membership.members());
        }
    }

    async fn until_status(&self, most: Duration, region: &str, name: &str, status: MemberStatus) {
        let is_so = |directory: &Directory| directory.find(region, name).is_some_and(|member| member.status == status);
        self.until(most, &format!("{name}.{region} as {status}"), is_so).await;
    }
}

/// So many servers that know each other.
async fn cluster(authority: &Authority, names: &[&str]) -> Vec<Server> {
    let mut servers = Vec::new();
    for name in names {
        servers.push(start(authority, name).await);
    }
    for server in &servers[1..] {
        let joined = server.membership.join(&[servers[0].address]).await.unwrap();
        assert_eq!(joined.answered, 1);
    }
    all_live(&servers).await;
    servers
}

async fn all_live(servers: &[Server]) {
    for server in servers {
        for other in servers {
            server.until_status(SOON, &other.own.region, &other.own.name, MemberStatus::Alive).await;
        }
    }
}

#[tokio::test]
async fn three_join_and_hear_what_one_says_of_itself() {
    let servers = cluster(&authority("west"), &["s1", "s2", "s3"]).await;
    servers[1].membership.update_own(|own| own.is_bootstrapped = true).await;
    for server in &servers {
        let is_told = |directory: &Directory| directory.find("west", "s2").is_some_and(|member| member.is_bootstrapped);
        server.until(SOON, "the news", is_told).await;
        assert_eq!(server.membership.members().len(), 3);
        assert_eq!(server.membership.directory().regions(), ["west"]);
    }
    // How they speak is measured; the figures are those of the whole process.
    let is_measured = |name: &str| {
        let totals = drover_metrics::process().totals();
        totals.iter().any(|(of, _, series)| *of == name && series.iter().any(|series| series.total.count > 0))
    };
    let measured = async {
        while !(is_measured("nomad.memberlist.gossip") && is_measured("nomad.memberlist.queue.broadcasts")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, measured).await.unwrap();
}

#[tokio::test]
async fn one_that_leaves_has_left() {
    let servers = cluster(&authority("west"), &["s1", "s2", "s3"]).await;
    servers[2].membership.leave().await;
    for server in &servers[..2] {
        server.until_status(SOON, "west", "s3", MemberStatus::Left).await;
    }
    // It takes part no more, in either direction.
    servers[2].membership.join(&[servers[0].address]).await.unwrap_err();
    servers[0].membership.join(&[servers[2].address]).await.unwrap_err();
    assert_eq!(servers[2].membership.force_leave("s1", false).await, Err(ForceLeaveError::Stopped));
}

#[tokio::test]
async fn one_that_dies_has_failed_and_comes_back_where_it_was_or_elsewhere() {
    let west = authority("west");
    let mut servers = cluster(&west, &["s1", "s2", "s3"]).await;
    let dead = servers.pop().unwrap();
    let address = dead.address;
    drop(dead);
    for server in &servers {
        server.until_status(LATER, "west", "s3", MemberStatus::Failed).await;
    }
    // At the same address, asked by nobody: the others look for it.
    let back = start_at(&west, "s3", "id-s3", address, None).await;
    servers.push(back);
    all_live(&servers).await;
    // Elsewhere, before anybody has noticed that it was gone.
    drop(servers.pop().unwrap());
    let back = start(&west, "s3").await;
    assert_ne!(back.address, address);
    back.membership.join(&[servers[0].address]).await.unwrap();
    let there = back.address;
    servers.push(back);
    for server in &servers {
        let is_there = |directory: &Directory| {
            directory
                .find("west", "s3")
                .is_some_and(|member| member.gossip == there && member.status == MemberStatus::Alive)
        };
        server.until(SOON, "s3 at its new address", is_there).await;
    }
}

#[tokio::test]
async fn a_dead_one_is_made_to_leave() {
    let mut servers = cluster(&authority("west"), &["s1", "s2", "s3"]).await;
    drop(servers.pop());
    servers[0].until_status(LATER, "west", "s3", MemberStatus::Failed).await;
    let membership = &servers[0].membership;
    assert_eq!(membership.force_leave("s1", false).await, Err(ForceLeaveError::Own("s1".into())));
    assert_eq!(membership.force_leave("s9", false).await, Err(ForceLeaveError::Unknown("s9".into())));
    membership.force_leave("s3.west", false).await.unwrap();
    for server in &servers {
        server.until_status(SOON, "west", "s3", MemberStatus::Left).await;
    }
    membership.force_leave("s3", true).await.unwrap();
    for server in &servers {
        server.until(SOON, "s3 forgotten", |directory| directory.find("west", "s3").is_none()).await;
    }
}

#[tokio::test]
async fn strangers_are_refused_and_never_listed() {
    let west = authority("west");
    let servers = cluster(&west, &["s1", "s2"]).await;
    // Another federation with a region of the same name.
    let stranger = start(&authority("west"), "stranger").await;
    let Err(JoinError::NobodyAnswered(why)) = stranger.membership.join(&[servers[0].address]).await else {
        panic!("a stranger got in");
    };
    assert_eq!(why[0].address, servers[0].address);
    assert!(why[0].reason.contains("handshake failed"), "{}", why[0].reason);
    // And a member does not take it in by asking for it.
    servers[0].membership.join(&[stranger.address]).await.unwrap_err();
    // One of the federation under a name that is taken.
    let double = start_at(&west, "s2", "another-id", loopback(), None).await;
    let error = double.membership.join(&[servers[0].address]).await.unwrap_err();
    let expected = format!("another server of this name and region is a member, at {}", servers[1].address);
    assert!(error.to_string().contains(&expected), "{error}");
    for server in servers.iter().chain([&stranger, &double]) {
        let names: Vec<String> = server.membership.members().into_iter().map(|member| member.id).collect();
        assert!(!names.contains(&"id-stranger".to_owned()) || server.own.name == "stranger", "{names:?}");
        assert!(!names.contains(&"another-id".to_owned()) || server.own.id == "another-id", "{names:?}");
    }
}

#[tokio::test]
async fn a_key_where_set_is_demanded() {
    let west = authority("west");
    let key = || Some(gossip_key("MDEyMzQ1Njc4OWFiY2RlZg==").unwrap());
    let other = Some(gossip_key("ZmVkY2JhOTg3NjU0MzIxMA==").unwrap());
    let first = start_at(&west, "s1", "id-s1", loopback(), key()).await;
    let second = start_at(&west, "s2", "id-s2", loopback(), key()).await;
    let keyless = start(&west, "s3").await;
    let wrong = start_at(&west, "s4", "id-s4", loopback(), other).await;
    second.membership.join(&[first.address]).await.unwrap();
    for (from, to) in [(&keyless, &first), (&wrong, &first), (&first, &keyless), (&first, &wrong)] {
        let error = from.membership.join(&[to.address]).await.unwrap_err();
        assert!(error.to_string().contains("gossip keys differ"), "{error}");
    }
    all_live(&[first, second]).await;
    assert_eq!((keyless.membership.members().len(), wrong.membership.members().len()), (1, 1));
}

#[tokio::test]
async fn two_regions_see_each_other_and_one_survives_the_other() {
    let west = authority("west");
    let east = west.create_region("east".parse().unwrap(), SystemTime::now(), &Lifetimes::default()).unwrap();
    let (a, b) = (start(&west, "s1").await, start(&west, "s2").await);
    let (c, d) = (start(&east, "s1").await, start(&east, "s2").await);
    b.membership.join(&[a.address]).await.unwrap();
    d.membership.join(&[c.address]).await.unwrap();
    // One server of each is enough to make the regions known to all.
    c.membership.join(&[b.address]).await.unwrap();
    let mut servers = vec![a, b, c, d];
    all_live(&servers).await;
    assert_eq!(servers[3].membership.directory().regions(), ["east", "west"]);
    servers.drain(..2);
    for server in &servers {
        server.until_status(LATER, "west", "s1", MemberStatus::Failed).await;
        server.until_status(LATER, "west", "s2", MemberStatus::Failed).await;
        let directory = server.membership.directory();
        assert_eq!(directory.route("west", 0).unwrap_err().to_string(), "no server of region \"west\" answers");
        assert_eq!(directory.route("north", 0).unwrap_err().to_string(), "unknown region \"north\"");
        assert_eq!(directory.route("east", 0).unwrap().len(), 2);
    }
}

#[tokio::test]
async fn joining_is_tried_until_somebody_is_there() {
    let west = authority("west");
    let first = start(&west, "s1").await;
    let place = start(&west, "gone").await;
    let address = place.address;
    drop(place);
    let options = move |attempts_max| RetryJoin {
        addresses: vec!["no such host".into(), address.to_string()],
        interval: Duration::from_millis(50),
        attempts_max,
    };
    let gave_up = first.membership.retry_join(options(Some(2))).await;
    assert!(matches!(gave_up, Err(RetryJoinError::GaveUp { attempts: 2, .. })), "{gave_up:?}");
    let trying = {
        let membership = first.membership.clone();
        tokio::spawn(async move { membership.retry_join(options(None)).await })
    };
    let second = start_at(&west, "s2", "id-s2", address, None).await;
    assert_eq!(trying.await.unwrap().unwrap().answered, 1);
    all_live(&[first, second]).await;
}

#[tokio::test]
async fn a_server_does_not_join_itself() {
    let alone = start(&authority("west"), "s1").await;
    assert_eq!(alone.membership.join(&[alone.address]).await, Err(JoinError::NoAddress));
    assert_eq!(alone.membership.join(&[]).await, Err(JoinError::NoAddress));
}
