//! A federation in one thread: real cores, a virtual clock, a network that loses and delays, all from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use drover_gossip::{Contact, Core, Member, MemberChange, MemberStatus, Output, Refusal, Sender, Settings};

/// The wall clock at the beginning, in milliseconds: where incarnations begin.
pub const BEGINNING_MS: u64 = 1_800_000_000_000;

pub struct World {
    pub now: Duration,
    pub nodes: BTreeMap<SocketAddr, Node>,
    /// Packets on their way, by the time of their arrival.
    flying: BTreeMap<(Duration, u64), Flying>,
    /// Pairs of sides between which nothing comes through: each node is on the side of its name's entry here, 0 without.
    pub sides: BTreeMap<SocketAddr, u8>,
    /// Those that are stopped, with what has come for them.
    paused: BTreeMap<SocketAddr, Vec<Flying>>,
    pub loss_percent: u64,
    pub delay_max: Duration,
    /// How long the failed are remembered, where it is not the usual time.
    pub failed_max: Option<Duration>,
    pub seed: u64,
    dice: u64,
    number: u64,
    pub sent: u64,
}

pub struct Node {
    pub core: Core,
    pub events: Vec<(Duration, MemberChange, Member)>,
    pub welcomes: usize,
    pub refusals: Vec<Refusal>,
}

struct Flying {
    from: Sender,
    from_address: SocketAddr,
    to: Contact,
    packet: Bytes,
}

pub fn address(nth: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 1000 + nth))
}

pub fn member(name: &str, region: &str, nth: u16, incarnation: u64) -> Member {
    Member {
        name: name.into(),
        region: region.into(),
        datacenter: "dc1".into(),
        id: format!("0b51f0a2-6f4e-4c8c-9a54-{name:0>12}"),
        gossip: address(nth),
        rpc: address(nth),
        http: format!("http://10.0.0.1:{nth}"),
        version: "0.1.0".into(),
        bootstrap_expect: 3,
        is_bootstrapped: false,
        is_leader: false,
        incarnation,
        status: MemberStatus::Alive,
    }
}

impl World {
    pub fn new(seed: u64) -> World {
        World {
            now: Duration::ZERO,
            nodes: BTreeMap::new(),
            flying: BTreeMap::new(),
            sides: BTreeMap::new(),
            paused: BTreeMap::new(),
            loss_percent: 0,
            delay_max: Duration::from_millis(20),
            failed_max: None,
            seed,
            dice: seed,
            number: 0,
            sent: 0,
        }
    }

    /// So many servers of one region, named s0, s1 and so on, each of which joins the first.
    pub fn with_servers(seed: u64, count: u16) -> World {
        let mut world = World::new(seed);
        for nth in 0..count {
            world.start(&format!("s{nth}"), "west", nth);
        }
        for nth in 1..count {
            world.join(nth, 0);
        }
        world
    }

    pub fn start(&mut self, name: &str, region: &str, nth: u16) {
        let incarnation = BEGINNING_MS + u64::try_from(self.now.as_millis()).unwrap();
        self.start_member(member(name, region, nth, incarnation));
    }

    pub fn start_member(&mut self, own: Member) {
        let settings = Settings::new(self.random());
        let failed_max = self.failed_max.unwrap_or(settings.failed_max);
        let settings = Settings { failed_max, ..settings };
        let address = own.gossip;
        let core = Core::new(own, settings, self.now).unwrap();
        self.nodes.insert(address, Node { core, events: Vec::new(), welcomes: 0, refusals: Vec::new() });
    }

    /// One attempt; it may get lost.
    pub fn join(&mut self, who: u16, whom: u16) {
        let own = self.core(whom).own();
        let to = Contact { region: own.region, id: own.id, address: own.gossip };
        self.act(who, |core, _| core.join(to));
    }

    pub fn kill(&mut self, nth: u16) {
        self.nodes.remove(&address(nth)).expect("it runs");
    }

    pub fn pause(&mut self, nth: u16) {
        self.paused.insert(address(nth), Vec::new());
    }

    /// Goes on: first with what is overdue, then with what has come meanwhile.
    pub fn resume(&mut self, nth: u16) {
        let held = self.paused.remove(&address(nth)).expect("it was stopped");
        self.act(nth, Core::on_timer);
        held.into_iter().for_each(|flying| self.arrive(flying));
    }

    pub fn core(&self, nth: u16) -> &Core {
        &self.nodes[&address(nth)].core
    }

    pub fn node(&self, nth: u16) -> &Node {
        &self.nodes[&address(nth)]
    }

    pub fn act(&mut self, nth: u16, act: impl FnOnce(&mut Core, Duration) -> Vec<Output>) {
        let now = self.now;
        let node = self.nodes.get_mut(&address(nth)).expect("it runs");
        let out = act(&mut node.core, now);
        self.carry_out(address(nth), out);
    }

    /// How `nth` sees the member of that name.
    pub fn status(&self, nth: u16, region: &str, name: &str) -> Option<MemberStatus> {
        self.core(nth).directory().find(region, name).map(|member| member.status)
    }

    /// Whether everybody that runs sees everybody that runs as alive, with what they say of themselves now.
    pub fn all_see_all(&self) -> bool {
        let own: Vec<Member> = self.nodes.values().map(|node| node.core.own()).collect();
        self.nodes.values().all(|node| {
            let directory = node.core.directory();
            own.iter().all(|own| directory.find(&own.region, &own.name) == Some(own))
        })
    }

    pub fn all_see(&self, region: &str, name: &str, status: MemberStatus) -> bool {
        self.nodes.values().all(|node| node.core.directory().find(region, name).is_some_and(|m| m.status == status))
    }

    /// Goes on until `done`, for at most so long; says how long it took.
    #[track_caller]
    pub fn run_until(&mut self, most: Duration, what: &str, done: impl Fn(&World) -> bool) -> Duration {
        let began = self.now;
        while !done(self) {
            assert!(self.now - began < most, "seed {}: not in {most:?}: {what}\n{}", self.seed, self.picture());
            self.step(began + most);
        }
        self.now - began
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step(end);
        }
    }

    /// To the next thing that happens, but not beyond `end`.
    fn step(&mut self, end: Duration) {
        let awake = self.nodes.iter().filter(|(address, _)| !self.paused.contains_key(address));
        let timers = awake.filter_map(|(address, node)| Some((node.core.next_timer()?, *address)));
        let timer = timers.min();
        let arrival = self.flying.first_key_value().map(|(key, _)| *key);
        match (timer, arrival) {
            (timer, Some(key)) if key.0 <= end && timer.is_none_or(|(at, _)| key.0 <= at) => {
                self.now = self.now.max(key.0);
                let flying = self.flying.remove(&key).expect("it was just seen");
                self.arrive(flying);
            }
            (Some((at, address)), _) if at <= end => {
                self.now = self.now.max(at);
                let out = self.nodes.get_mut(&address).expect("it was just seen").core.on_timer(self.now);
                self.carry_out(address, out);
            }
            _ => self.now = end,
        }
    }

    fn arrive(&mut self, flying: Flying) {
        if let Some(held) = self.paused.get_mut(&flying.to.address) {
            held.push(flying);
            return;
        }
        let Flying { from, from_address, to, packet } = flying;
        if self.side(from_address) != self.side(to.address) {
            return;
        }
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&to.address) else { return };
        let own = node.core.own();
        // A dialler finds out by the certificate that somebody else lives there now.
        if (own.region, own.id) != (to.region, to.id) {
            return;
        }
        let out = node.core.on_packet(now, &from, &packet);
        self.carry_out(to.address, out);
    }

    fn carry_out(&mut self, at: SocketAddr, out: Vec<Output>) {
        for output in out {
            let own = self.nodes[&at].core.own();
            match output {
                Output::Send { to, packet } => {
                    self.sent += 1;
                    if self.random() % 100 < self.loss_percent {
                        continue;
                    }
                    let delay_us = u64::try_from(self.delay_max.as_micros()).unwrap().max(1);
                    let delay = Duration::from_micros(self.random() % delay_us + 50);
                    self.number += 1;
                    let from = Sender { region: own.region, id: own.id };
                    let flying = Flying { from, from_address: at, to, packet };
                    self.flying.insert((self.now + delay, self.number), flying);
                }
                Output::Changed(event) => {
                    let now = self.now;
                    self.nodes.get_mut(&at).unwrap().events.push((now, event.change, event.member));
                }
                Output::Welcomed(_) => self.nodes.get_mut(&at).unwrap().welcomes += 1,
                Output::Refused { why, .. } => self.nodes.get_mut(&at).unwrap().refusals.push(why),
            }
        }
    }

    fn side(&self, address: SocketAddr) -> u8 {
        self.sides.get(&address).copied().unwrap_or(0)
    }

    pub fn random(&mut self) -> u64 {
        // xorshift64*: enough for a network.
        self.dice = self.dice.max(1);
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        self.dice.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Who sees whom how, for a failure's text.
    pub fn picture(&self) -> String {
        let names: BTreeSet<String> = self
            .nodes
            .values()
            .flat_map(|node| node.core.directory().members().to_vec())
            .map(|m| m.full_name())
            .collect();
        let mut text = format!("at {:?}\n", self.now);
        for node in self.nodes.values() {
            let directory = node.core.directory();
            text += &format!("{:>10}:", node.core.own().full_name());
            for name in &names {
                let seen = directory
                    .find_display(name)
                    .map_or("-".to_owned(), |m| format!("{}@{}", m.status, m.incarnation % 100_000));
                text += &format!(" {name}={seen}");
            }
            text += "\n";
        }
        text
    }
}
