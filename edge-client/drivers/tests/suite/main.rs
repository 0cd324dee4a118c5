//! One suite for all drivers: whatever runs the task, these are the things that hold. A further driver is one file with a
//! [`subject::Subject`] and one line in [`SUBJECTS`].
//!
//! This binary is the supervisor of its tasks too, hence its own main. Every case has a directory, a node and a
//! supervisor of its own, and leaves no process, cgroup or mount.

#![allow(clippy::unwrap_used, reason = "a test, though not one that the harness knows")]

mod bed;
mod cases;
mod container_cases;
mod subject;

mod container;
mod exec;
mod qemu;
mod raw_exec;
mod registry;

use std::panic::catch_unwind;

use subject::Subject;

/// The drivers that are held to the suite.
const SUBJECTS: &[&dyn Subject] = &[
    &raw_exec::RawExec, //
    &exec::Exec,
    &container::Container,
    &qemu::Qemu,
];

fn main() {
    drover_drivers::main_if_supervisor();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let mut failed = Vec::new();
    for subject in SUBJECTS {
        let is_available = subject.available();
        let own = if subject.driver() == "container" { container_cases::CASES } else { &[] };
        for (name, case) in cases::CASES.iter().chain(own) {
            let title = format!("{}::{name}", subject.driver());
            if !filters.is_empty() && !filters.iter().any(|filter| title.contains(*filter)) {
                continue;
            }
            if args.iter().any(|arg| arg == "--list") {
                println!("{title}: test");
                continue;
            }
            if let Err(reason) = &is_available {
                println!("test {title} ... skipped: {reason}");
                continue;
            }
            let outcome = match catch_unwind(|| case(*subject)) {
                Ok(cases::Outcome::Passed) => "ok".to_owned(),
                Ok(cases::Outcome::DoesNotApply(reason)) => format!("does not apply: {reason}"),
                Err(_) => {
                    failed.push(title.clone());
                    "FAILED".to_owned()
                }
            };
            println!("test {title} ... {outcome}");
        }
    }
    registry::end();
    if !failed.is_empty() {
        eprintln!("failed: {}", failed.join(", "));
        std::process::exit(1);
    }
}
