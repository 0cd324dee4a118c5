//! Figures, printed; memory is held to a wide bound: cost of a start, memory per task.

use std::time::{Duration, Instant};

use crate::Case;
use crate::support::Bed;

pub const CASES: &[Case] = &[
    ("a_start_is_cheap_and_a_task_small", a_start_is_cheap_and_a_task_small),
    ("a_start_after_a_pause_is_cheap_too", a_start_after_a_pause_is_cheap_too),
    ("many_short_tasks_pass_through", many_short_tasks_pass_through),
];

fn kib(pid: i32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn a_start_is_cheap_and_a_task_small() {
    let bed = Bed::new();
    let supervisor = bed.client().supervisor_pid();
    // Idle, it has at most one child: the spare.
    let children =
        std::fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).unwrap_or_default();
    let spare: u64 = children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(|pid| kib(pid, "Pss:")).sum();
    let (before, pss) = (kib(supervisor, "Private_Dirty:"), kib(supervisor, "Pss:"));
    let mut times: Vec<Duration> = (0..60)
        .map(|n| {
            let spec = bed.script(&format!("sleeper-{n}"), "exec sleep 1000");
            let begin = Instant::now();
            bed.client().start_task(spec).unwrap();
            begin.elapsed()
        })
        .collect();
    times.sort();
    let after = kib(supervisor, "Private_Dirty:");
    println!(
        "start: min {:?}, median {:?}; supervisor: {pss} + {spare} KiB PSS, {} KiB more for 60 tasks",
        times[0],
        times[30],
        after.saturating_sub(before)
    );
    assert!(after.saturating_sub(before) < 60 * 64, "{before} KiB before, {after} KiB after");
}

fn many_short_tasks_pass_through() {
    const THREADS: usize = 4;
    const EACH: usize = 50;
    let bed = Bed::new();
    let mut events = bed.client().events().unwrap();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let bed = &bed;
            scope.spawn(move || {
                for n in 0..EACH {
                    let mut spec = bed.script(&format!("short-{thread}-{n}"), "");
                    spec.argv = vec!["/bin/true".to_owned()];
                    bed.client().start_task(spec).unwrap();
                }
            });
        }
        for _ in 0..THREADS * EACH {
            let event = events.next().unwrap();
            assert_eq!(event.exit.exit_code, 0);
            bed.client().remove(&event.task_id).unwrap();
        }
    });
    println!("{} short tasks in {:?}", THREADS * EACH, begin.elapsed());
    assert_eq!(bed.client().list().unwrap(), vec![]);
}

fn a_start_after_a_pause_is_cheap_too() {
    let bed = Bed::new();
    let mut times: Vec<Duration> = (0..20)
        .map(|n| {
            // The kernel's grace periods are over by then; this is the case of one job on an idle edge.
            std::thread::park_timeout(Duration::from_millis(40));
            let spec = bed.script(&format!("sleeper-{n}"), "exec sleep 1000");
            let begin = Instant::now();
            bed.client().start_task(spec).unwrap();
            begin.elapsed()
        })
        .collect();
    times.sort();
    println!("start after a pause: min {:?}, median {:?}", times[0], times[10]);
}
