//! Compare-and-set registers of a region that suffers: recorded histories are linearizable, and stale reads never go back.
//!
//! Longer: `DROVER_HISTORIES=20 cargo test -p drover-cluster --test region_history`. `DROVER_SEED` has the faults again.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::time::{Duration, Instant};

use drover_cluster::dice::{Dice, size};
use drover_cluster::history::History;
use drover_cluster::region::Region;

const REGISTERS: usize = 4;
const CLIENTS_PER_SERVER: usize = 2;
/// How long a fault lasts when nothing can be done meanwhile.
const FAULT_MAX: Duration = Duration::from_secs(2);
/// Operations during a fault, and between two.
const STEADY: usize = 60;

#[test]
fn histories_under_faults_are_linearizable() {
    let histories = size("DROVER_HISTORIES", 2);
    let operations = size("DROVER_OPERATIONS", 2000);
    let mut dice = Dice::of_environment("histories");
    let mut region = Region::wired("history", 3);
    for number in 0..histories {
        let begin = Instant::now();
        let history = History::new(&format!("h{number}"), REGISTERS, operations, &region);
        let (mut seed, mut faults) = (Dice::new(dice.roll(usize::MAX) as u64), 0);
        let found = history.run(&mut region, CLIENTS_PER_SERVER, &mut dice, |region| {
            while !history.is_full() {
                history.wait_for_more(STEADY, FAULT_MAX);
                suffer(region, &history, &mut seed);
                faults += 1;
            }
        });
        println!("history {number}: {found:?}, {faults} faults, {:?}", begin.elapsed());
        assert!(found.operations >= operations);
        assert!(found.unknown * 4 < found.operations, "too little is known: {found:?}");
        region.wait_until_whole();
    }
}

/// One fault, and its end.
fn suffer(region: &mut Region, history: &History, seed: &mut Dice) {
    let all = [0, 1, 2];
    let any = seed.roll(3);
    let leader = region.leader().unwrap_or(any);
    let victim = if seed.roll(2) == 0 { leader } else { any };
    let kind = seed.roll(8);
    match kind {
        0 | 1 => {
            let victims = if kind == 0 { vec![victim] } else { all.to_vec() };
            region.kill_9(&victims);
            if victims.len() == 1 {
                history.wait_for_more(STEADY, FAULT_MAX);
            }
            victims.iter().for_each(|number| region.start_again(*number));
            // Whoever was gone for some seconds was taken out by autopilot: until it votes again, two are all there are.
            region.wait_until_whole();
        }
        2 | 3 => {
            region.pause(victim);
            history.wait_for_more(STEADY, FAULT_MAX);
            region.go_on(victim);
        }
        _ => {
            let Some(wires) = region.wires() else { return };
            let other = (victim + 1 + seed.roll(2)) % 3;
            match kind {
                4 => wires.part(victim, &all),
                5 => wires.part(victim, &[other]),
                6 => all.iter().filter(|one| **one != victim).for_each(|one| wires.cut(victim, *one)),
                _ => wires.cut(other, victim),
            }
            history.wait_for_more(STEADY, FAULT_MAX);
            region.wires().unwrap().heal();
        }
    }
}
