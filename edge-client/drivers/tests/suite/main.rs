//! One suite for all drivers: whatever runs the task, these are the things that hold. A further driver is one file with a
//! [`subject::Subject`] and one line in [`SUBJECTS`].
//!
//! This binary is the supervisor of its tasks too, hence its own main. Every case has a directory, a node and a
//! supervisor of its own, and leaves no process, cgroup or mount. Root runs the suite once more as a plain user.

#![allow(clippy::unwrap_used, reason = "a test, though not one that the harness knows")]

#[path = "../../../supervisor/tests/supervisor/as_user.rs"]
mod as_user;
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
    if let [word, file] = &args[..]
        && word == registry::SAVE
    {
        return registry::save_archive(file.as_ref());
    }
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let mut failed = Vec::new();
    for subject in SUBJECTS {
        let is_available = subject.available();
        if let Err(reason) = cases::undetected_without_root(*subject) {
            failed.push(format!("{} without root: {reason}", subject.driver()));
        }
        let own = if subject.driver() == "container" { container_cases::CASES } else { &[] };
        for (name, case) in cases::CASES.iter().chain(own) {
            let title = format!("{}::{name}", subject.driver());
            // A further run does not see what was built, and a machine is the same for every user.
            if as_user::is_only_for_users() || as_user::is_further_run() && subject.driver() == "qemu" {
                continue;
            }
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
                Ok(cases::Outcome::NotHere(reason)) => format!("skipped: {reason}"),
                Err(_) => {
                    failed.push(title.clone());
                    "FAILED".to_owned()
                }
            };
            println!("test {title} ... {outcome}");
        }
    }
    registry::end();
    if !args.iter().any(|arg| arg == "--list") {
        failed.extend(as_user::run_again(&args));
    }
    if !failed.is_empty() {
        eprintln!("failed: {}", failed.join(", "));
        std::process::exit(1);
    }
}
