//! Tables for the waking of blocked evals.

use std::collections::BTreeMap;

use drover_model::alloc::ClientStatus;
use drover_model::node::NodeStatus;

use super::*;
use crate::region::{Region, alloc, at, eval, evals_of, job, node_id, report};

fn woken(commands: &[Command]) -> Vec<u8> {
    let evals = commands.iter().flat_map(evals_of);
    let numbers = evals.map(|eval| {
        assert_eq!((eval.status, eval.status_description.as_str()), (EvalStatus::Pending, ""));
        eval.id.as_bytes()[0]
    });
    numbers.collect()
}

/// Blocked evals that saw the whole region of [`Region::new`] without room.
fn blocked() -> Vec<Eval> {
    let blocked = |number: u8, job: &str| Eval {
        snapshot_index: 100,
        status_description: "created to place remaining allocations".to_owned(),
        ..eval(number, job, EvalStatus::Blocked)
    };
    let classes = |a: bool| BTreeMap::from([("a".to_owned(), a)]);
    vec![
        Eval { class_eligibility: classes(true), ..blocked(1, "may") },
        Eval { class_eligibility: classes(false), ..blocked(2, "may-not") },
        Eval { class_eligibility: classes(false), escaped_computed_class: true, ..blocked(3, "escaped") },
        Eval { node_id: Some(node_id(2)), ..blocked(4, "on-2") },
        Eval { ..blocked(5, "anywhere") },
        eval(6, "done", EvalStatus::Complete),
    ]
}

#[test]
fn a_node_wakes_what_may_run_on_its_class() {
    let check = |number: u8, status: NodeStatus, class: &str, expected: &[u8]| {
        let mut region = Region::new();
        region.evals(blocked());
        let events = region.node(number, status, class);
        let commands = step(&region.snapshot(), &events, at(1));
        assert_eq!(woken(&commands), expected, "node {number} {class}");
        // Once they are awake the same event finds nobody.
        for command in commands {
            region.run(command);
        }
        assert_eq!(woken(&step(&region.snapshot(), &events, at(1))), [] as [u8; 0]);
    };
    check(3, NodeStatus::Ready, "a", &[1, 3, 5]);
    check(3, NodeStatus::Ready, "b", &[1, 2, 3, 5]);
    check(2, NodeStatus::Ready, "b", &[1, 2, 3, 4, 5]);
    check(1, NodeStatus::Down, "a", &[]);
    check(3, NodeStatus::Initializing, "a", &[]);
}

#[test]
fn an_alloc_that_ends_wakes_as_its_node_does() {
    let check = |status: ClientStatus, expected: &[u8]| {
        let mut region = Region::new();
        region.register(job("web", 1));
        region.place(vec![alloc(1, "web")]);
        region.evals(blocked());
        let events = region.report(vec![report(1, status)]);
        assert_eq!(woken(&step(&region.snapshot(), &events, at(1))), expected);
    };
    check(ClientStatus::Running, &[]);
    check(ClientStatus::Complete, &[1, 3, 5]);
    check(ClientStatus::Failed, &[1, 3, 5]);
}

#[test]
fn room_that_came_before_the_eval_was_blocked_is_not_missed() {
    let check = |snapshot_index: u64, expected: &[u8]| {
        let mut region = Region::new();
        region.register(job("web", 1));
        region.place(vec![alloc(1, "web")]);
        region.report(vec![report(1, ClientStatus::Complete)]);
        let late = Eval { snapshot_index, ..eval(1, "late", EvalStatus::Blocked) };
        let events = region.evals(vec![late]);
        assert_eq!(woken(&step(&region.snapshot(), &events, at(1))), expected);
        assert_eq!(woken(&missed(&region.snapshot(), at(1))), expected);
    };
    check(3, &[1]);
    check(4, &[]);
}
