//! Scenarios: text in, trace out. Each file holds commands, a line of dashes, and the trace that the command must give.
//!
//! `UPDATE_EXPECT=1 cargo test -p drover-scheduler --test scenarios` writes the traces anew: read them before they are kept.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it broke")]

mod job;
mod world;

use world::World;

/// Runs the commands of a scenario and gives its text with the traces as they came out.
fn run(text: &str) -> String {
    let mut world = World::new();
    let mut out = String::new();
    for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let commands: Vec<&str> = block.lines().take_while(|line| *line != "----").collect();
        if commands.iter().all(|line| line.starts_with('#')) {
            out.push_str(&format!("{block}\n\n"));
            continue;
        }
        let mut trace = Vec::new();
        for command in commands.iter().filter(|line| !line.starts_with('#')) {
            trace.extend(world.run(command));
            world.check();
        }
        out.push_str(&format!("{}\n----\n{}\n\n", commands.join("\n"), trace.join("\n")));
    }
    out.trim_end().to_owned() + "\n"
}

macro_rules! scenarios {
    ($($name:ident,)*) => {$(
        #[test]
        fn $name() {
            let actual = run(include_str!(concat!(stringify!($name), ".txt")));
            expect_test::expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios/", stringify!($name), ".txt")]
                .assert_eq(&actual);
        }
    )*};
}

scenarios! {
    service,
    rollout,
    canary,
    failures,
    batch,
    capacity,
    system,
    volumes,
    devices,
}
