//! The gossip of whole federations in virtual time. Each scenario runs with several seeds; a failure names its own.

#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

mod world;

use std::time::Duration;

use drover_gossip::{Core, Member, MemberChange, MemberStatus, Output, Refusal, Sender, Settings};
use world::{BEGINNING_MS, World, address, member};

const SEEDS: std::ops::Range<u64> = 1..5;
const SIZES: [u16; 3] = [3, 9, 20];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Every size of federation with every seed, on a network that loses so much.
fn each(loss_percent: u64, scenario: impl Fn(World, u16)) {
    for size in SIZES {
        for seed in SEEDS {
            let mut world = World::with_servers(seed, size);
            if loss_percent > 0 {
                // The way in is retried by whoever wants in; here it must come through at once.
                world.run_until(seconds(2), "all see all", World::all_see_all);
            }
            world.loss_percent = loss_percent;
            scenario(world, size);
        }
    }
}

#[test]
fn all_see_all_soon_after_they_joined_one() {
    each(0, |mut world, _| {
        world.run_until(seconds(2), "all see all", World::all_see_all);
        assert!(world.nodes.values().all(|node| node.refusals.is_empty()));
    });
}

#[test]
fn a_crash_is_seen_by_all_and_nobody_else_is_suspected_of_it() {
    each(0, |mut world, size| {
        world.run_until(seconds(2), "all see all", World::all_see_all);
        world.run_for(seconds(5));
        world.kill(size - 1);
        let dead = format!("s{}", size - 1);
        world.run_until(seconds(12), "the crash is seen", |world| world.all_see("west", &dead, MemberStatus::Failed));
        world.run_for(seconds(30));
        for node in world.nodes.values() {
            let ended: Vec<_> = node.events.iter().filter(|(_, change, _)| *change == MemberChange::Failed).collect();
            assert_eq!(ended.len(), 1, "seed {}", world.seed);
            assert!(node.events.iter().all(|(_, change, _)| *change != MemberChange::Left));
        }
    });
}

#[test]
fn lost_packets_alone_let_nobody_fail_for_long() {
    each(10, |mut world, _| {
        world.run_for(seconds(60));
        world.run_until(seconds(30), "all see all, in spite of the loss", World::all_see_all);
    });
}

#[test]
fn a_crash_is_seen_on_a_lossy_network_too() {
    each(10, |mut world, size| {
        world.kill(0);
        world.run_until(seconds(15), "the crash is seen", |world| world.all_see("west", "s0", MemberStatus::Failed));
        let _ = size;
    });
}

#[test]
fn a_goodbye_is_no_failure() {
    for loss in [0, 10] {
        each(loss, |mut world, size| {
            world.run_until(seconds(2), "all see all", World::all_see_all);
            world.act(size - 1, |core, now| core.leave(now));
            world.run_until(seconds(3), "the goodbye is said", |world| world.core(size - 1).is_finished());
            world.kill(size - 1);
            let gone = format!("s{}", size - 1);
            world.run_until(seconds(3), "all see it left", |world| world.all_see("west", &gone, MemberStatus::Left));
            world.run_for(seconds(20));
            assert!(world.all_see("west", &gone, MemberStatus::Left), "seed {}\n{}", world.seed, world.picture());
        });
    }
}

#[test]
fn a_restart_under_the_same_name_at_another_address_is_the_same_member() {
    each(0, |mut world, size| {
        world.run_until(seconds(2), "all see all", World::all_see_all);
        let old = world.core(1).own();
        world.kill(1);
        // Once before anybody has noticed, once after everybody has.
        if world.seed % 2 == 0 {
            world
                .run_until(seconds(12), "the crash is seen", |world| world.all_see("west", "s1", MemberStatus::Failed));
        } else {
            world.run_for(Duration::from_millis(300));
        }
        let nth = size + 5;
        let incarnation = BEGINNING_MS + u64::try_from(world.now.as_millis()).unwrap();
        world.start_member(Member { id: old.id, ..member("s1", "west", nth, incarnation) });
        world.join(nth, 0);
        world.run_until(seconds(4), "all see it at its new address", World::all_see_all);
        world.run_for(seconds(20));
        assert!(world.all_see_all(), "seed {}\n{}", world.seed, world.picture());
    });
}

#[test]
fn a_restart_with_a_clock_that_was_set_back_comes_in_too() {
    each(0, |mut world, _| {
        world.run_until(seconds(2), "all see all", World::all_see_all);
        let old = world.core(1).own();
        world.kill(1);
        world.start_member(Member { incarnation: 7, ..old });
        world.join(1, 0);
        world.run_until(seconds(4), "all see it", World::all_see_all);
        assert!(world.core(1).own().incarnation > BEGINNING_MS);
    });
}

#[test]
fn a_name_is_refused_while_another_server_lives_under_it() {
    each(0, |mut world, size| {
        world.run_until(seconds(2), "all see all", World::all_see_all);
        let nth = size + 5;
        let stranger = Member { id: "another-id".into(), ..member("s1", "west", nth, BEGINNING_MS * 2) };
        world.start_member(stranger.clone());
        // Asked of a third one, and of the very one whose name it wants.
        world.join(nth, 0);
        world.join(nth, 1);
        world.run_until(seconds(2), "two refusals", |world| world.node(nth).refusals.len() == 2);
        assert_eq!(world.node(nth).refusals[0], Refusal::NameTaken { at: address(1) });
        world.run_for(seconds(10));
        assert_eq!(world.node(nth).welcomes, 0);
        assert_eq!(world.core(0).directory().find("west", "s1").map(|m| m.gossip), Some(address(1)));
        // When the first is gone, the name is free: a server whose disk was wiped comes back under its name.
        world.kill(1);
        world.run_until(seconds(12), "the crash is seen", |world| {
            (0..size).filter(|nth| *nth != 1).all(|nth| world.status(nth, "west", "s1") == Some(MemberStatus::Failed))
        });
        world.join(nth, 0);
        world.run_until(seconds(4), "the new one is in", World::all_see_all);
    });
}

#[test]
fn news_of_oneself_reaches_all_and_costs_nobody_their_place() {
    for loss in [0, 10] {
        each(loss, |mut world, size| {
            world.run_until(seconds(2), "all see all", World::all_see_all);
            for _ in 0..3 {
                let own = world.core(size - 1).own();
                let own = Member { is_bootstrapped: true, is_leader: !own.is_leader, ..own };
                world.act(size - 1, |core, now| core.update_own(now, own).unwrap());
                world.run_until(seconds(6), "all have heard", World::all_see_all);
            }
            if loss == 0 {
                let failures = world.nodes.values().flat_map(|node| &node.events);
                assert_eq!(failures.filter(|(_, change, _)| *change == MemberChange::Failed).count(), 0);
            }
        });
    }
}

#[test]
fn a_partition_heals_by_itself() {
    each(0, |mut world, size| {
        world.run_until(seconds(2), "all see all", World::all_see_all);
        for nth in 0..size / 3 {
            world.sides.insert(address(nth), 1);
        }
        world.run_for(seconds(60));
        let live = |world: &World, nth| {
            world.core(nth).directory().members().iter().filter(|member| member.status.is_live()).count()
        };
        assert_eq!(live(&world, 0), usize::from(size / 3), "seed {}\n{}", world.seed, world.picture());
        assert_eq!(live(&world, size - 1), usize::from(size - size / 3), "seed {}\n{}", world.seed, world.picture());
        world.sides.clear();
        world.run_until(seconds(40), "the sides are one again", World::all_see_all);
        world.run_for(seconds(30));
        assert!(world.all_see_all(), "seed {}\n{}", world.seed, world.picture());
    });
}

#[test]
fn one_that_hears_nobody_comes_back_when_it_does() {
    each(0, |mut world, size| {
        world.run_until(seconds(2), "all see all", World::all_see_all);
        world.sides.insert(address(size - 1), 1);
        world.run_for(seconds(120));
        world.sides.clear();
        world.run_until(seconds(40), "it is back", World::all_see_all);
    });
}

#[test]
fn one_that_was_stopped_blames_nobody_and_is_taken_back() {
    each(0, |mut world, size| {
        world.run_until(seconds(2), "all see all", World::all_see_all);
        for time in [1, 3, 8, 60] {
            let before: Vec<usize> = world.nodes.values().map(|node| node.events.len()).collect();
            world.pause(size - 1);
            world.run_for(seconds(time));
            world.resume(size - 1);
            world.run_until(seconds(30), "it is taken back", World::all_see_all);
            let stopped = format!("s{}", size - 1);
            for (node, before) in world.nodes.values().zip(before) {
                let failed = node.events[before..].iter().filter(|(_, change, _)| *change == MemberChange::Failed);
                assert!(failed.clone().all(|(_, _, member)| member.name == stopped), "seed {} {time} s", world.seed);
            }
        }
    });
}

#[test]
fn a_lost_region_costs_the_other_nothing() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        world.delay_max = Duration::from_millis(80);
        for nth in 0..6 {
            world.start(&format!("s{}", nth % 3), if nth < 3 { "west" } else { "east" }, nth);
        }
        (1..6).for_each(|nth| world.join(nth, 0));
        world.run_until(seconds(3), "all see all", World::all_see_all);
        (0..3).for_each(|nth| world.kill(nth));
        world.run_until(seconds(15), "the region is seen to be lost", |world| {
            ["s0", "s1", "s2"].iter().all(|name| world.all_see("west", name, MemberStatus::Failed))
        });
        let directory = world.core(3).directory();
        assert_eq!(directory.regions(), ["east", "west"]);
        assert!(directory.route("west", 0).is_err());
        assert_eq!(directory.route("east", 0).unwrap().len(), 3);
        // One who comes new hears of the lost region, too: it is unreachable, not unknown.
        world.start("s9", "east", 9);
        world.join(9, 4);
        world.run_until(seconds(2), "a new one is in", World::all_see_all);
        assert_eq!(world.core(9).directory().regions(), ["east", "west"]);
        let east = |member: &Member| member.region == "east";
        for node in world.nodes.values() {
            assert!(
                !node.events.iter().any(|(_, change, m)| *change == MemberChange::Failed && east(m)),
                "seed {seed}"
            );
        }
        // It comes back where it was, and nobody needs to be told.
        (0..3).for_each(|nth| world.start(&format!("s{nth}"), "west", nth));
        world.run_until(seconds(60), "the region is back", World::all_see_all);
    }
}

#[test]
fn a_failed_member_is_made_to_leave_and_one_that_lives_objects() {
    each(0, |mut world, size| {
        world.run_until(seconds(2), "all see all", World::all_see_all);
        world.kill(0);
        world.run_until(seconds(12), "the crash is seen", |world| world.all_see("west", "s0", MemberStatus::Failed));
        world.act(1, |core, now| core.force_leave(now, "s0", false).unwrap());
        world.run_until(seconds(3), "it counts as left", |world| world.all_see("west", "s0", MemberStatus::Left));
        world.act(1, |core, now| core.force_leave(now, "s0.west", true).unwrap());
        world.run_until(seconds(3), "it is forgotten", |world| {
            world.nodes.values().all(|node| node.core.directory().find("west", "s0").is_none())
        });
        let last = format!("s{}", size - 1);
        world.act(1, |core, now| core.force_leave(now, &last, false).unwrap());
        world.run_until(seconds(5), "it has objected", World::all_see_all);
        world.act(1, |core, now| {
            assert!(core.force_leave(now, "s1", false).is_err() && core.force_leave(now, "nobody", false).is_err());
            Vec::new()
        });
    });
}

#[test]
fn the_gone_are_forgotten_in_the_end() {
    let mut world = World::new(5);
    world.failed_max = Some(seconds(600));
    (0..3).for_each(|nth| world.start(&format!("s{nth}"), "west", nth));
    (1..3).for_each(|nth| world.join(nth, 0));
    world.run_until(seconds(2), "all see all", World::all_see_all);
    world.kill(2);
    world.run_for(seconds(590));
    assert!(world.all_see("west", "s2", MemberStatus::Failed));
    world.run_for(seconds(90));
    assert!(world.nodes.values().all(|node| node.core.directory().members().len() == 2));
}

/// Everything a core could say about its members, for a comparison.
fn seen(core: &Core) -> Vec<Member> {
    core.directory().members().to_vec()
}

#[test]
fn garbage_and_forgeries_change_nothing() {
    let mut world = World::with_servers(3, 3);
    world.run_until(seconds(2), "all see all", World::all_see_all);
    let now = world.now;
    let before = seen(world.core(0));
    let west = |id: &str| Sender { region: "west".into(), id: id.into() };
    // What s1 would send to s0, whole and spoilt.
    let genuine: Vec<Vec<u8>> = {
        let own = world.core(0).own();
        let to = drover_gossip::Contact { region: own.region, id: own.id, address: own.gossip };
        let mut packets = Vec::new();
        for nth in [1, 2] {
            let core = &mut world.nodes.get_mut(&address(nth)).unwrap().core;
            let mut out = core.join(to.clone());
            let later = core.next_timer().unwrap();
            out.extend(core.on_timer(later + seconds(2)));
            packets.extend(out.into_iter().filter_map(|output| match output {
                Output::Send { packet, .. } => Some(packet.to_vec()),
                _ => None,
            }));
        }
        packets
    };
    assert!(genuine.len() > 2);
    let s1 = world.core(1).own().id;
    let core = &mut world.nodes.get_mut(&address(0)).unwrap().core;
    for packet in &genuine {
        // From somebody else than who it speaks for, or from another region.
        assert!(core.on_packet(now, &west("nobody"), packet).is_empty());
        assert!(core.on_packet(now, &Sender { region: "east".into(), id: s1.clone() }, packet).is_empty());
        // Cut short, and too long.
        for len in 0..packet.len() {
            let out = core.on_packet(now, &west(&s1), &packet[..len]);
            assert!(!out.iter().any(|output| matches!(output, Output::Changed(_))), "{len}");
        }
        let mut long = packet.clone();
        long.push(0);
        assert!(core.on_packet(now, &west(&s1), &long).is_empty());
    }
    assert_eq!(seen(core), before);
    // Noise, and packets with some bytes replaced: no panic, and nobody of another region or id gets in.
    for seed in 0..20_000_u64 {
        let mut noise = Noise(seed * 7919 + 1);
        let mut packet = match seed % 2 {
            0 => (0..noise.next() % 600).map(|_| noise.next() as u8).collect::<Vec<u8>>(),
            _ => genuine[seed as usize % genuine.len()].clone(),
        };
        for _ in 0..noise.next() % 4 + 1 {
            if !packet.is_empty() {
                let at = noise.next() as usize % packet.len();
                packet[at] = noise.next() as u8;
            }
        }
        core.on_packet(now, &west("nobody"), &packet);
        core.on_packet(now, &west(&s1), &packet);
    }
    let after = core.directory();
    assert!(after.members().len() < 1100);
    assert!(!after.members().iter().any(|member| member.id == "nobody"));
}

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn one_who_invents_members_fills_no_memory() {
    let mut world = World::with_servers(4, 2);
    world.run_until(seconds(2), "all see all", World::all_see_all);
    // An honest core is made to believe in many, and tells of all of them.
    for round in 0..40_u64 {
        let liar = Member { id: "liar".into(), ..member("liar", "west", 500, BEGINNING_MS + round) };
        let mut core = Core::new(liar, Settings::new(round), Duration::ZERO).unwrap();
        for nth in 0..100_u16 {
            let name = format!("n{round}-{nth}");
            let invented = member(&name, "west", 600 + nth, 5);
            let sender = Sender { region: "west".into(), id: invented.id.clone() };
            let to = drover_gossip::Contact { region: "west".into(), id: "liar".into(), address: address(500) };
            let mut other = Core::new(invented, Settings::new(1), Duration::ZERO).unwrap();
            for output in other.join(to) {
                if let Output::Send { packet, .. } = output {
                    core.on_packet(Duration::ZERO, &sender, &packet);
                }
            }
        }
        let liar = Sender { region: "west".into(), id: "liar".into() };
        let own = world.core(0).own();
        let sender = Sender { region: own.region.clone(), id: own.id.clone() };
        let now = world.now;
        let asked = {
            let core = &mut world.nodes.get_mut(&address(0)).unwrap().core;
            core.join(drover_gossip::Contact { region: "west".into(), id: "liar".into(), address: address(500) })
        };
        for output in asked {
            let Output::Send { packet, .. } = output else { continue };
            for answer in core.on_packet(Duration::ZERO, &sender, &packet) {
                let Output::Send { packet, .. } = answer else { continue };
                world.nodes.get_mut(&address(0)).unwrap().core.on_packet(now, &liar, &packet);
            }
        }
    }
    let known = world.core(0).directory().members().len();
    assert!((100..=1100).contains(&known), "{known}");
}

#[test]
fn an_idle_federation_says_little() {
    let mut world = World::with_servers(6, 9);
    world.run_until(seconds(2), "all see all", World::all_see_all);
    world.run_for(seconds(30));
    let before = world.sent;
    world.run_for(seconds(100));
    // A probe and its answer per server and second, and a comparison of notes now and then.
    let each_second = (world.sent - before) / 100 / 9;
    assert!(each_second <= 3, "{each_second}");
}
