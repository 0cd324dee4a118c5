//! Images, from a real registry, from hostile ones and from archives. The test binary is its own unpacker, so it has a main of its own.
//!
//! Arguments are those of the usual harness as far as they are used: a name filter, `--list`, `--exact`.

#![allow(clippy::unwrap_used)]

mod archives;
mod auth;
mod confinement;
mod crash;
mod fake;
mod hostile_layers;
mod hostile_registry;
mod layers;
mod made;
mod real_registry;
mod sharing;
mod support;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

type Case = (&'static str, fn());

/// Cases at once: most of them wait for something.
const THREADS: usize = 6;

fn main() {
    drover_images::main_if_unpacker();
    crash::main_if_victim();
    let cases: Vec<Case> = [
        layers::CASES,
        hostile_layers::CASES,
        confinement::CASES,
        auth::CASES,
        hostile_registry::CASES,
        sharing::CASES,
        crash::CASES,
        archives::CASES,
        real_registry::CASES,
    ]
    .concat();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    if args.iter().any(|arg| arg == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: images need root (all but the refusal without it)");
        crash::without_root_it_is_refused();
        return;
    }
    let is_exact = args.iter().any(|arg| arg == "--exact");
    let wanted = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|filter| if is_exact { name == *filter } else { name.contains(*filter) })
    };
    let cases: Vec<Case> = cases.into_iter().filter(|(name, _)| wanted(name)).collect();
    let (next, failed) = (AtomicUsize::new(0), Arc::new(Mutex::new(Vec::new())));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((name, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begin = std::time::Instant::now();
                    let is_ok = catch_unwind(case).is_ok();
                    println!(
                        "test {name} ... {} ({} ms)",
                        if is_ok { "ok" } else { "FAILED" },
                        begin.elapsed().as_millis()
                    );
                    if !is_ok {
                        failed.lock().unwrap().push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.lock().unwrap();
    if !failed.is_empty() {
        eprintln!("failed: {}", failed.join(", "));
        std::process::exit(1);
    }
}
