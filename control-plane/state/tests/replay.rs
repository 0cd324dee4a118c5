//! Replay: the same log gives the same state on every server, whatever the commands say.
//!
//! Each log in `tests/fixtures/log` was recorded once (`DROVER_RECORD_LOG=<path> cargo test -p drover-state --test replay`)
//! and is never written again: a later form of the log gets a file of its own, and all of them must go on applying.

#![allow(clippy::unwrap_used, reason = "what is not there fails the test")]

#[path = "replay/commands.rs"]
mod commands;

use std::collections::BTreeSet;

use commands::{Commands, KINDS};
use drover_state::command::{decode, encode};
use drover_state::{Answer, Command, State, apply};

/// A recorded log, and what was counted when it was recorded.
struct Golden {
    log: &'static [u8],
    /// The kinds of commands in it.
    kinds: usize,
    /// Jobs, nodes, allocs, deployments and namespaces after it.
    counts: [usize; 5],
}

const GOLDENS: [Golden; 4] = [
    Golden { log: include_bytes!("fixtures/log/v1.bin"), kinds: 18, counts: [7, 0, 11, 3, 1] },
    // With namespaces.
    Golden { log: include_bytes!("fixtures/log/v2.bin"), kinds: 25, counts: [5, 2, 10, 7, 2] },
    // With rules for autopilot, summaries that are counted anew, and tokens for new regions.
    Golden { log: include_bytes!("fixtures/log/v3.bin"), kinds: 27, counts: [6, 1, 5, 4, 2] },
    // With settings of the scheduler.
    Golden { log: include_bytes!("fixtures/log/v4.bin"), kinds: 28, counts: [3, 1, 26, 5, 3] },
];

/// Commands, each after its length as four bytes, lowest first.
fn read_log(mut bytes: &[u8]) -> Vec<Command> {
    let mut commands = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (entry, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        commands.push(decode(entry).unwrap());
        bytes = rest;
    }
    assert!(bytes.is_empty());
    commands
}

fn write_log(commands: &[Command]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for command in commands {
        let entry = encode(command);
        bytes.extend((entry.len() as u32).to_le_bytes());
        bytes.extend(entry);
    }
    bytes
}

fn replay(state: &mut State, first_index: u64, commands: &[Command]) {
    for (index, command) in (first_index..).zip(commands) {
        apply(state, index, command.clone());
    }
}

/// The name of a command's variant, as its debug form begins.
fn variant(command: &Command) -> String {
    let text = format!("{command:?}");
    text.chars().take_while(|c| c.is_alphanumeric()).collect()
}

/// What must hold after every command.
fn check_invariants(state: &State) {
    for alloc in state.allocs() {
        assert!(state.job_of_alloc(alloc).is_some(), "{} runs a job version that is not known", alloc.id);
        if let Some(id) = alloc.deployment_id {
            let deployment = state.deployment(id);
            assert!(deployment.is_none_or(|deployment| deployment.job_key() == alloc.job_key()));
        }
    }
    assert!(state.namespace(&"default".into()).is_some());
    for job in state.jobs() {
        assert_eq!(state.job_version(&job.key(), job.version), Some(job));
        assert_eq!(state.job_versions(&job.key())[0], job);
    }
    for deployment in state.deployments() {
        for group in deployment.task_groups.values() {
            assert!(group.healthy_allocs >= 0 && group.unhealthy_allocs >= 0);
            assert!(group.healthy_allocs + group.unhealthy_allocs <= group.placed_allocs);
        }
    }
}

#[test]
fn each_golden_log_gives_one_digest_on_two_states() {
    for (version, golden) in (1..).zip(GOLDENS) {
        let commands = read_log(golden.log);
        let kinds: BTreeSet<String> = commands.iter().map(variant).collect();
        assert_eq!(kinds.len(), golden.kinds, "v{version} holds every kind of command that there was: {kinds:?}");

        let mut one = State::default();
        replay(&mut one, 1, &commands);

        // The other one is restarted from an image half way.
        let (before, after) = commands.split_at(commands.len() / 2);
        let mut other = State::default();
        replay(&mut other, 1, before);
        let mut other = State::decode(&other.encode()).unwrap();
        replay(&mut other, before.len() as u64 + 1, after);

        assert_eq!(one.digest(), other.digest(), "v{version}");
        assert_eq!(one.index(), commands.len() as u64);
        check_invariants(&one);
        let counts = [one.jobs().count(), one.nodes().count(), one.allocs().count(), one.deployments().count()];
        assert_eq!(counts, golden.counts[..4], "v{version}");
        assert_eq!(one.namespaces().count(), golden.counts[4], "v{version}");
    }
}

#[test]
fn no_sequence_of_commands_panics_or_diverges() {
    for seed in 0..40 {
        let mut commands = Commands::new(seed);
        let mut state = State::default();
        let mut restored = State::default();
        for index in 1..=120 {
            let command = commands.next();
            let before = state.snapshot();
            let (answer, events) = apply(&mut state, index, command.clone());
            let again = apply(&mut restored, index, command);
            assert_eq!((&answer, &events), (&again.0, &again.1), "seed {seed} index {index}");
            check_invariants(&state);
            if let Answer::Refused(_) = answer {
                let mut untouched = State::clone(&before);
                apply(&mut untouched, index, Command::Noop);
                assert_eq!(untouched.digest(), state.digest(), "seed {seed} index {index}: refused, and yet a change");
                assert!(events.changes.is_empty());
            }
            if index % 40 == 0 {
                restored = State::decode(&restored.encode()).unwrap();
            }
        }
        assert_eq!(state.digest(), restored.digest(), "seed {seed}");
        check_indexes(&state);
    }
}

/// Secondary indexes that were kept in step are those that an image gives.
fn check_indexes(state: &State) {
    let rebuilt = State::decode(&state.encode()).unwrap();
    let of = |state: &State| -> Vec<String> {
        let mut lines = Vec::new();
        for job in state.jobs() {
            let key = job.key();
            let allocs: Vec<_> = state.allocs_of_job(&key).map(|alloc| alloc.id).collect();
            let evals: Vec<_> = state.evals_of_job(&key).map(|eval| eval.id).collect();
            let open: Vec<_> = state.open_evals_of_job(&key).map(|eval| eval.id).collect();
            let deployments: Vec<_> = state.deployments_of_job(&key).map(|deployment| deployment.id).collect();
            let children: Vec<_> = state.children_of(&key).map(|job| job.id.clone()).collect();
            let (launch, scaling) = (state.last_launch(&key), state.scaling_events(&key));
            lines.push(format!("{key:?} {allocs:?} {evals:?} {open:?} {deployments:?} {children:?}"));
            lines.push(format!("{launch:?} {scaling:?} {:?}", state.child_counts(&key)));
        }
        lines.extend(state.system_jobs().map(|job| format!("system {:?}", job.key())));
        for node in state.allocs().map(|alloc| alloc.node_id).collect::<BTreeSet<_>>() {
            let load = state.load_of_node(node).map(|load| (load.totals(), load.allocs(), load.holders().clone()));
            lines.push(format!("{node} {load:?} {}", state.count_on_node(node)));
        }
        for alloc in state.allocs() {
            let on_node: Vec<_> = state.allocs_of_node(alloc.node_id).map(|alloc| alloc.id).collect();
            let eval = alloc.eval_id.into_iter().flat_map(|id| state.allocs_of_eval(id));
            let deployment = alloc.deployment_id.into_iter().flat_map(|id| state.allocs_of_deployment(id));
            let (of_eval, of_deployment) = (eval.map(|alloc| alloc.id), deployment.map(|alloc| alloc.id));
            let (of_eval, of_deployment) = (of_eval.collect::<Vec<_>>(), of_deployment.collect::<Vec<_>>());
            lines.push(format!("{} {on_node:?} {of_eval:?} {of_deployment:?}", alloc.id));
        }
        lines.extend(state.open_evals().map(|eval| format!("open {}", eval.id)));
        lines.extend(state.blocked_evals().map(|eval| format!("blocked {}", eval.id)));
        lines.extend(state.active_deployments().map(|deployment| format!("active {}", deployment.id)));
        lines
    };
    assert_eq!(of(state), of(&rebuilt));
}

#[test]
fn entries_survive_their_bytes() {
    let mut commands = Commands::new(7);
    let log: Vec<Command> = (0..KINDS).map(|kind| commands.of_kind(kind)).collect();
    assert_eq!(read_log(&write_log(&log)), log);
}

#[test]
fn a_damaged_image_is_refused() {
    let mut state = State::default();
    let mut commands = Commands::new(3);
    replay(&mut state, 1, &(0..60).map(|_| commands.next()).collect::<Vec<_>>());
    let bytes = state.encode();
    let check = |bytes: &[u8], expected: &str| {
        let error = State::decode(bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(b"", "not an image");
    check(&bytes[1..], "not an image");
    check(&bytes[..bytes.len() / 2], "damaged");
    let mut later = bytes.clone();
    later[8] = 9;
    check(&later, "version 9");
    assert_eq!(State::decode(&bytes).unwrap().digest(), state.digest());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "recording a golden log is I/O; the state itself does none")]
fn recording_a_golden_log() {
    let mut commands = Commands::new(20_250_101);
    let log: Vec<Command> =
        (0..180).map(|n| if n % 5 == 4 { commands.of_kind(n / 5 % KINDS) } else { commands.next() }).collect();
    let bytes = write_log(&log);
    if let Ok(path) = std::env::var("DROVER_RECORD_LOG") {
        std::fs::write(path, &bytes).unwrap();
    }
}
