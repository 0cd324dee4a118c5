//! Compare-and-set registers of a region that suffers: recorded histories are linearizable, and stale reads never go back.
//!
//! Longer: `DROVER_HISTORIES=200 cargo test -p drover-cluster --test region_history`. `DROVER_SEED` has the faults again.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use drover_cluster::dice::{Dice, size};
use drover_cluster::history::History;
use drover_cluster::region::Region;
use drover_harness::weather::Weather;

/// Histories that are recorded at once: more are more clients, not more registers for each.
const AT_ONCE: usize = 20;
const REGISTERS: usize = 4;
/// How long a fault lasts when nothing can be done meanwhile.
const FAULT_MAX: Duration = Duration::from_secs(2);
/// The longest time between two faults. That so much was done, and not that so much time has passed, lets the next one come: else a
/// slow machine would suffer more of them, until nobody knew any more what became of anything.
const CALM_MAX: Duration = Duration::from_secs(60);
/// Operations of each history during a fault, and between two.
const STEADY: usize = 25;
/// A history without that many faults beside it proves little.
const FAULTS_MIN: usize = 20;

#[test]
fn histories_under_faults_are_linearizable() {
    let histories = size("DROVER_HISTORIES", AT_ONCE);
    let operations = size("DROVER_OPERATIONS", 2000);
    let mut dice = Dice::of_environment("histories");
    let sky = Dice::new(dice.roll(usize::MAX) as u64);
    let mut region = Region::relayed("history", 3, Weather::FAIR, sky, "");
    for number in 0..histories.div_ceil(AT_ONCE) {
        let begin = Instant::now();
        let count = AT_ONCE.min(histories - number * AT_ONCE);
        let history = History::new(&format!("h{number}"), count, REGISTERS, operations, &region);
        let mut seed = Dice::new(dice.roll(usize::MAX) as u64);
        let mut faults: BTreeMap<&str, usize> = BTreeMap::new();
        let found = history.run(&mut region, &mut dice, |region| {
            while !history.is_full() {
                history.wait_for_more(STEADY * count, CALM_MAX);
                *faults.entry(suffer(region, &history, STEADY * count, &mut seed)).or_default() += 1;
            }
        });
        println!("{count} histories: {found:?}, {faults:?}, {:?}", begin.elapsed());
        assert!(found.operations >= operations * count);
        let suffered: usize = faults.values().sum();
        assert!(operations < 2000 || suffered >= FAULTS_MIN, "too little was suffered: {faults:?}");
        assert!(found.unknown * 4 < found.operations, "too little is known: {found:?}");
        region.wait_until_whole();
    }
}

/// One fault, and its end; gives its name.
fn suffer(region: &mut Region, history: &History, steady: usize, seed: &mut Dice) -> &'static str {
    let all = [0, 1, 2];
    let any = seed.roll(3);
    let leader = region.leader().unwrap_or(any);
    let victim = if seed.roll(2) == 0 { leader } else { any };
    let other = (victim + 1 + seed.roll(2)) % 3;
    let others = all.into_iter().filter(|one| *one != victim);
    let name = match seed.roll(9) {
        kind @ (0 | 1) => {
            let victims = if kind == 0 { vec![victim] } else { all.to_vec() };
            region.kill_9(&victims);
            if victims.len() == 1 {
                history.wait_for_more(steady, FAULT_MAX);
            }
            victims.iter().for_each(|number| region.start_again(*number));
            // Whoever was gone for some seconds was taken out by autopilot: until it votes again, two are all there are.
            region.wait_until_whole();
            return "kill";
        }
        2 | 3 => {
            region.pause(victim);
            history.wait_for_more(steady, FAULT_MAX);
            region.go_on(victim);
            return "pause";
        }
        4 => {
            others.for_each(|one| {
                region.cut(victim, one);
                region.cut(one, victim);
            });
            "alone"
        }
        5 => {
            region.cut(victim, other);
            region.cut(other, victim);
            "pair"
        }
        6 => {
            others.for_each(|one| region.cut(victim, one));
            "not heard"
        }
        7 => {
            region.cut(other, victim);
            "one way"
        }
        _ => {
            region.relay().unwrap().set_weather(Weather::ROUGH);
            "weather"
        }
    };
    history.wait_for_more(steady, FAULT_MAX);
    region.heal();
    region.relay().unwrap().set_weather(Weather::FAIR);
    name
}
