//! What commands do to the noun of this file: alloc.

use drover_model::alloc::DesiredTransition;

use super::*;
use crate::Refusal;

#[test]
fn a_report_moves_the_counts() {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.place(vec![alloc(1, "web")]);
    let zero = GroupSummary::default();
    let mut check = |status: ClientStatus, expected: GroupSummary| {
        region.report(vec![report(1, status)]);
        assert_eq!(region.counts("web"), expected);
    };
    check(ClientStatus::Pending, GroupSummary { starting: 1, ..zero });
    check(ClientStatus::Running, GroupSummary { running: 1, ..zero });
    check(ClientStatus::Unknown, GroupSummary { unknown: 1, ..zero });
    check(ClientStatus::Lost, GroupSummary { lost: 1, ..zero });
    check(ClientStatus::Running, GroupSummary { running: 1, ..zero });
    check(ClientStatus::Failed, GroupSummary { failed: 1, ..zero });
    // What has ended does not begin again.
    check(ClientStatus::Running, GroupSummary { failed: 1, ..zero });
    check(ClientStatus::Complete, GroupSummary { complete: 1, ..zero });
}

#[test]
fn a_report_applied_twice_changes_nothing() {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.place(vec![alloc(1, "web")]);
    let update = AllocUpdate { client_description: "Tasks are running".to_owned(), ..report(1, ClientStatus::Running) };
    let events = region.report(vec![update.clone()]);
    assert_eq!(alloc_changes(&events), [(alloc_id(1), false)]);
    assert_eq!((region.alloc(1).modify_index, region.alloc(1).alloc_modify_index), (4, 3));
    assert_eq!(region.report(vec![update]).changes, []);
    assert_eq!(region.alloc(1).modify_index, 4);
    assert_eq!(region.state.node(node_id(1)).unwrap().last_alloc_update_index, 5);
}

#[test]
fn reports_of_other_nodes_and_unknown_allocs_are_ignored() {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.place(vec![Alloc { node_id: node_id(2), ..alloc(1, "web") }]);
    let events = region.report(vec![report(1, ClientStatus::Running), report(9, ClientStatus::Running)]);
    assert_eq!(events.changes, []);
    assert_eq!(region.alloc(1).client_status, ClientStatus::Pending);
}

#[test]
fn transitions_are_laid_over_each_other() {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.place(vec![alloc(1, "web")]);
    let mut ask = |number: u8, transition: DesiredTransition| {
        let transitions = vec![(alloc_id(number), transition)];
        let evals = vec![eval(number, "web", EvalStatus::Pending)];
        region.run(Command::UpdateAllocTransitions { transitions, evals, at: at(9) }).0
    };
    let migrate = DesiredTransition { migrate: Some(true), ..DesiredTransition::default() };
    let reschedule = DesiredTransition { reschedule: Some(true), ..DesiredTransition::default() };
    assert_eq!(ask(1, migrate), Answer::Done);
    assert_eq!(ask(1, reschedule), Answer::Done);
    assert_eq!(ask(9, migrate), Answer::Refused(Refusal::NotFound { what: "alloc".to_owned() }));
    assert_eq!(region.alloc(1).desired_transition, DesiredTransition { reschedule: Some(true), ..migrate });
    assert!(region.state.eval(eval_id(9)).is_none());
}
