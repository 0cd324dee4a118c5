//! The supervisor as a real process: this test binary is its own supervisor, so it has a main of its own.
//!
//! Every case starts one (or more) supervisors in a directory of its own, ends them, and checks that no cgroup is left.
//! Root runs it once more as a plain user.
//! Arguments are those of the usual harness as far as they are used: a name filter, `--list`, `--exact`.

#![allow(clippy::unwrap_used)]

mod as_user;
mod audit;
mod bench;
mod container;
mod lifecycle;
mod logs;
mod sessions;
mod support;
mod takeover;

use std::panic::catch_unwind;

use drover_supervisor::main_if_supervisor;

type Case = (&'static str, fn());

fn main() {
    main_if_supervisor();
    // In a machine that is told which runs it does they take long, and say nothing.
    let is_told = std::env::var_os(as_user::RUNS).is_some();
    let figures = if is_told || as_user::is_further_run() { &[] } else { bench::CASES };
    let cases: Vec<Case> =
        [lifecycle::CASES, logs::CASES, container::CASES, takeover::CASES, audit::CASES, sessions::CASES, figures]
            .concat();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    if args.iter().any(|arg| arg == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    println!("cgroups: {}", support::cgroup_version());
    let is_exact = args.iter().any(|arg| arg == "--exact");
    let wanted = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|filter| if is_exact { name == *filter } else { name.contains(*filter) })
    };
    let mut failed = Vec::new();
    let mut run = Vec::new();
    let is_run = |name: &str| wanted(name) && !as_user::is_only_for_users();
    for (name, case) in cases.into_iter().filter(|(name, _)| is_run(name)) {
        run.push((name, std::thread::spawn(move || catch_unwind(case).is_ok())));
        // Two at a time: enough to find what they might share.
        if run.len() == 2 {
            finish(run.remove(0), &mut failed);
        }
    }
    run.into_iter().for_each(|case| finish(case, &mut failed));
    failed.extend(as_user::run_again(&args));
    if !failed.is_empty() {
        eprintln!("failed: {}", failed.join(", "));
        std::process::exit(1);
    }
}

fn finish((name, case): (&'static str, std::thread::JoinHandle<bool>), failed: &mut Vec<String>) {
    let is_ok = case.join().unwrap_or(false);
    println!("test {name} ... {}", if is_ok { "ok" } else { "FAILED" });
    if !is_ok {
        failed.push(name.to_owned());
    }
}
