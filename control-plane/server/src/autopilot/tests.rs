use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn id(number: u8) -> String {
    format!("{number:08x}-0000-4000-8000-{number:012x}")
}

fn member(number: u8, status: MemberStatus) -> Member {
    let address = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port + u16::from(number)));
    Member {
        name: format!("s{number}"),
        region: "global".to_owned(),
        datacenter: "dc1".to_owned(),
        id: id(number),
        gossip: address(2000),
        rpc: address(1000),
        http: String::new(),
        version: "0.1.0".to_owned(),
        bootstrap_expect: 3,
        is_bootstrapped: true,
        is_leader: false,
        incarnation: 0,
        status,
    }
}

fn number(of: u8) -> u64 {
    number_of_text(&id(of)).unwrap()
}

fn in_log(of: u8, is_voter: bool) -> LogMember {
    let contact = Some(Contact { ago: Duration::from_millis(20), last_index: 100 });
    LogMember { number: number(of), address: format!("127.0.0.1:{}", 1000 + u16::from(of)), is_voter, contact }
}

struct World {
    log: Vec<LogMember>,
    members: Vec<Member>,
    config: AutopilotConfig,
    now: Timestamp,
    autopilot: Autopilot,
}

impl World {
    fn of(servers: u8) -> Self {
        Self {
            log: (1..=servers).map(|of| in_log(of, true)).collect(),
            members: (1..=servers).map(|of| member(of, MemberStatus::Alive)).collect(),
            config: AutopilotConfig::default(),
            now: Timestamp(0),
            autopilot: Autopilot::default(),
        }
    }

    fn seen(&self) -> Seen<'_> {
        Seen {
            leader: number(1),
            term: 2,
            last_index: 100,
            log: &self.log,
            members: &self.members,
            config: &self.config,
            now: self.now,
        }
    }

    fn step(&mut self) -> Vec<Action> {
        let mut autopilot = std::mem::take(&mut self.autopilot);
        let actions = autopilot.step(&self.seen());
        self.autopilot = autopilot;
        actions
    }

    fn health(&mut self) -> RegionHealth {
        let mut autopilot = std::mem::take(&mut self.autopilot);
        let health = autopilot.health(&self.seen(), Timestamp(0));
        self.autopilot = autopilot;
        health
    }
}

#[test]
fn a_region_that_is_well_is_left_alone() {
    let mut world = World::of(3);
    assert_eq!(world.step(), []);
    let health = world.health();
    assert!(health.is_healthy && health.failure_tolerance == 1);
    assert!(health.servers[0].is_leader);
}

#[test]
fn a_new_server_is_taken_in_and_votes_once_it_is_steady() {
    let mut world = World::of(3);
    world.members.push(member(4, MemberStatus::Alive));
    assert_eq!(world.step(), [Action::Add { number: number(4), address: "127.0.0.1:1004".to_owned() }]);
    world.log.push(in_log(4, false));
    assert_eq!(world.step(), []);
    let due = world.autopilot.next_deadline(&world.seen());
    assert_eq!(due, Some(Timestamp(0).plus(world.config.server_stabilization_time)));
    // One slip and the time begins again.
    world.now = Timestamp(0).plus(SECOND * 9);
    world.log[3].contact = Some(Contact { ago: SECOND, last_index: 100 });
    assert_eq!(world.step(), []);
    world.log[3] = in_log(4, false);
    assert_eq!(world.step(), []);
    world.now = world.now.plus(SECOND * 9);
    assert_eq!(world.step(), []);
    world.now = world.now.plus(SECOND);
    assert_eq!(world.step(), [Action::Promote { number: number(4) }]);
}

#[test]
fn one_that_lags_is_not_well() {
    let mut world = World::of(3);
    world.config.max_trailing_logs = 10;
    world.log[2].contact = Some(Contact { ago: Duration::ZERO, last_index: 89 });
    let health = world.health();
    assert!(!health.is_healthy && health.failure_tolerance == 0, "{health:?}");
}

#[test]
fn the_dead_are_forgotten_while_a_majority_stays() {
    let mut world = World::of(5);
    for of in [1, 2, 3] {
        world.members[of].status = MemberStatus::Failed;
        world.log[of].contact = Some(Contact { ago: SECOND * 5, last_index: 100 });
    }
    assert_eq!(world.step(), [], "an ordinary restart");
    world.now = Timestamp(0).plus(SECOND * 29);
    assert_eq!(world.step(), []);
    world.now = Timestamp(0).plus(SECOND * 30);
    // Two of five: a third removal could take an entry's majority away.
    assert_eq!(world.step(), [2, 3].map(|of| Action::Remove { number: number(of) }));
    world.config.cleanup_dead_servers = false;
    assert_eq!(world.step(), []);
    world.members[1].status = MemberStatus::Left;
    assert_eq!(world.step(), [Action::Remove { number: number(2) }]);
    world.config.min_quorum = 5;
    assert_eq!(world.step(), []);
}

#[test]
fn one_that_came_back_with_an_empty_disk_replaces_what_it_was() {
    let mut world = World::of(3);
    // The name is another server's now, and gossip keeps one server per name.
    world.members[2] = Member { name: "s3".to_owned(), ..member(9, MemberStatus::Alive) };
    world.log[2].contact = None;
    assert_eq!(world.step(), [Action::Add { number: number(9), address: "127.0.0.1:1009".to_owned() }]);
    world.log.push(in_log(9, false));
    world.now = Timestamp(0).plus(SECOND * 30);
    assert_eq!(world.step(), [Action::Remove { number: number(3) }]);
    world.log.remove(2);
    world.now = Timestamp(0).plus(SECOND * 40);
    assert_eq!(world.step(), [Action::Promote { number: number(9) }]);
}

#[test]
fn one_that_gossip_has_lost_and_the_log_hears_is_not_dead() {
    let mut world = World::of(3);
    world.members[1].status = MemberStatus::Failed;
    for seconds in 0..100 {
        world.now = Timestamp(0).plus(SECOND * seconds);
        assert_eq!(world.step(), []);
    }
    world.log[1].contact = None;
    assert_eq!(world.step(), [Action::Remove { number: number(2) }]);
}

#[test]
fn a_server_that_moved_is_followed() {
    let mut world = World::of(3);
    world.members[2].rpc = "127.0.0.1:9".parse().unwrap();
    assert_eq!(world.step(), [Action::Move { number: number(3), address: "127.0.0.1:9".to_owned() }]);
}

#[test]
fn one_that_an_operator_took_out_stays_out_until_it_was_away() {
    let mut world = World::of(3);
    world.log.pop();
    world.autopilot.removed_by_operator(number(3));
    assert_eq!(world.step(), []);
    world.members[2].status = MemberStatus::Failed;
    assert_eq!(world.step(), []);
    world.members[2].status = MemberStatus::Alive;
    assert_eq!(world.step(), [Action::Add { number: number(3), address: "127.0.0.1:1003".to_owned() }]);
}
