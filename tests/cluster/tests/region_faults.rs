//! Three servers under steady writes lose processes and connections; every acknowledged write is read back from each of them.
//!
//! Longer: `DROVER_KILLS=1000 cargo test -p drover-cluster --test region_faults kills`. `DROVER_SEED` has a run again.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::time::{Duration, Instant};

use drover_cluster::dice::{Dice, size};
use drover_cluster::region::Region;
use drover_cluster::writers::{Writers, read_back};

/// Writes between two faults.
const STEADY: usize = 20;

/// Regions that lose processes at once: most of the time of each is waiting for a leader, and for servers to vote again.
const REGIONS: usize = 3;

#[test]
fn no_acknowledged_write_is_lost_to_kills() {
    let kills = size("DROVER_KILLS", 30);
    let mut dice = Dice::of_environment("kills");
    std::thread::scope(|scope| {
        for number in 0..REGIONS {
            let dice = Dice::new(dice.roll(usize::MAX) as u64);
            scope.spawn(move || kill(&format!("faults-kills{number}"), kills.div_ceil(REGIONS), dice));
        }
    });
}

fn kill(name: &str, kills: usize, mut dice: Dice) {
    let mut region = Region::start(name, 3);
    let writers = Writers::start(&region);
    let (begin, mut killed, mut round) = (Instant::now(), 0, 0);
    while killed < kills {
        writers.wait_for_more(STEADY, &region);
        // The leader every other time, all at once every fifth time.
        let victims = match round % 5 {
            4 => vec![0, 1, 2],
            0 | 2 => vec![region.wait_for_leader()],
            _ => vec![dice.roll(3)],
        };
        round += 1;
        region.kill_9(&victims);
        killed += victims.len();
        if victims.len() < 2 {
            writers.wait_for_more(STEADY, &region);
        }
        victims.iter().for_each(|number| region.start_again(*number));
        // Whoever was gone for some seconds was taken out by autopilot: until it votes again, two are all there are.
        region.wait_until_whole();
        println!("{name}: {killed} kills, {} writes, {:?}", writers.count(), begin.elapsed());
    }
    writers.wait_for_more(STEADY, &region);
    let written = writers.stop();
    println!("{name}: {killed} kills in {:?}", begin.elapsed());
    read_back(&region, &written);
}

#[test]
fn a_rolling_restart_under_load_loses_nothing() {
    let mut region = Region::start("faults-rolling", 3);
    let writers = Writers::start(&region);
    for number in [0, 1, 2] {
        writers.wait_for_more(STEADY, &region);
        region.terminate(number);
        writers.wait_for_more(STEADY, &region);
        region.start_again(number);
        region.wait_until_whole();
    }
    writers.wait_for_more(STEADY, &region);
    read_back(&region, &writers.stop());
}

#[test]
fn a_leader_that_stands_still_is_replaced_and_finds_back() {
    let region = Region::start("faults-pause", 3);
    let writers = Writers::start(&region);
    for _ in 0..3 {
        writers.wait_for_more(STEADY, &region);
        let leader = region.wait_for_leader();
        region.pause(leader);
        let begin = Instant::now();
        writers.wait_for_more(STEADY, &region);
        println!("{STEADY} writes {:?} after the leader stopped", begin.elapsed());
        region.go_on(leader);
        // What it answers now it has asked the others for.
        region.wait_for_answer(leader);
        region.wait_until_whole();
    }
    read_back(&region, &writers.stop());
}

#[test]
fn cuts_of_every_kind_lose_nothing() {
    let mut region = Region::wired("faults-cuts", 3);
    if region.wires().is_none() {
        return;
    }
    let writers = Writers::start(&region);
    let mut dice = Dice::of_environment("cuts");
    for kind in
        ["leader alone", "follower alone", "one pair", "leader is not heard", "leader hears nobody", "each alone"]
    {
        writers.wait_for_more(STEADY, &region);
        let leader = region.wait_for_leader();
        let others: Vec<usize> = (0..3).filter(|number| *number != leader).collect();
        let other = others[dice.roll(2)];
        let wires = region.wires().unwrap();
        match kind {
            "leader alone" => wires.part(leader, &others),
            "follower alone" => wires.part(other, &[0, 1, 2]),
            "one pair" => wires.part(leader, &[other]),
            "leader is not heard" => others.iter().for_each(|to| wires.cut(leader, *to)),
            "leader hears nobody" => others.iter().for_each(|from| wires.cut(*from, leader)),
            _ => (0..3).for_each(|one| wires.part(one, &[0, 1, 2])),
        }
        let begin = Instant::now();
        if kind == "each alone" {
            // Nobody can acknowledge anything, and nobody can read but what is old.
            let quiet = writers.wait_for_quiet(Duration::from_secs(2));
            println!("{kind}: quiet after {quiet:?}");
            let is_refused = |number: usize| region.get(number, "/v1/jobs?prefix=nothing-has-this").is_err();
            assert!((0..3).all(is_refused), "a server alone answers a read that must be new");
        } else {
            writers.wait_for_more(STEADY, &region);
            println!("{kind}: {STEADY} writes {:?} after the cut", begin.elapsed());
        }
        region.wires().unwrap().heal();
        region.wait_until_whole();
    }
    writers.wait_for_more(STEADY, &region);
    read_back(&region, &writers.stop());
}
