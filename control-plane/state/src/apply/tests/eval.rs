//! What commands do to the noun of this file: eval.

use std::collections::BTreeMap;

use drover_model::job::JobType;
use drover_model::metric::AllocMetric;

use super::*;

#[test]
fn an_eval_keeps_where_it_began_and_never_comes_back() {
    let mut region = Region::new();
    region.evals(vec![eval(1, "web", EvalStatus::Pending)]);
    region.evals(vec![eval(1, "web", EvalStatus::Complete)]);
    let check = |region: &Region| {
        let eval = region.eval(1);
        assert_eq!((eval.status, eval.create_index, eval.modify_index), (EvalStatus::Complete, 2, 3));
        assert_eq!((eval.create_time, eval.modify_time), (at(2), at(3)));
    };
    check(&region);
    assert_eq!(region.evals(vec![eval(1, "web", EvalStatus::Pending)]).changes, []);
    check(&region);
}

#[test]
fn blocked_evals_end_with_a_success_or_a_newer_one() {
    let failed = || BTreeMap::from([("front".to_owned(), AllocMetric::default())]);
    let check = |kind: JobType, waiting_for: Option<NodeId>, other: Eval, expected: Option<&str>| {
        let mut region = Region::new();
        region.evals(vec![Eval { kind, node_id: waiting_for, ..eval(1, "web", EvalStatus::Blocked) }]);
        region.evals(vec![Eval { kind, ..other }]);
        let blocked = region.eval(1);
        let found = (blocked.status == EvalStatus::Canceled).then_some(blocked.status_description.as_str());
        assert_eq!(found, expected);
        assert_eq!(region.state.blocked_evals().any(|eval| eval.id == eval_id(1)), expected.is_none());
    };
    let id = eval_id(2);
    let successful = format!("evaluation \"{id}\" successful");
    let in_its_place = format!("evaluation \"{id}\" waits in its place");
    let complete = || eval(2, "web", EvalStatus::Complete);
    let on = |number| Eval { node_id: Some(node_id(number)), ..complete() };
    check(JobType::Service, None, complete(), Some(&successful));
    check(JobType::Service, None, on(2), Some(&successful));
    check(JobType::Service, None, Eval { failed_group_allocs: failed(), ..complete() }, None);
    check(JobType::Service, None, eval(2, "db", EvalStatus::Complete), None);
    check(JobType::Service, None, eval(2, "web", EvalStatus::Blocked), Some(&in_its_place));
    check(JobType::System, Some(node_id(1)), on(1), Some(&successful));
    check(JobType::System, Some(node_id(1)), on(2), None);
}

#[test]
fn what_is_left_to_place_is_counted() {
    let mut region = Region::new();
    region.register(job("web", 3));
    let queued = |count| Eval {
        queued_allocations: BTreeMap::from([("front".to_owned(), count)]),
        job_modify_index: 2,
        ..eval(1, "web", EvalStatus::Pending)
    };
    let mut check = |eval: Eval, expected: u64| {
        region.evals(vec![eval]);
        assert_eq!(region.counts("web").queued, expected);
    };
    check(queued(3), 3);
    check(Eval { id: eval_id(2), job_modify_index: 1, ..queued(9) }, 3);
    check(queued(-1), 0);
    check(queued(2), 2);
    // A placement takes one off.
    region.place(vec![alloc(1, "web")]);
    assert_eq!(region.counts("web"), GroupSummary { queued: 1, starting: 1, ..GroupSummary::default() });
}
