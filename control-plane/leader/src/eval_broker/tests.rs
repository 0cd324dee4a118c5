//! Tables for the eval broker.

use drover_model::job::Job;

use super::*;
use crate::region::{Region, at, eval, eval_id, job};

fn numbers(evals: &[Arc<Eval>]) -> Vec<u8> {
    evals.iter().map(|eval| eval.id.as_bytes()[0]).collect()
}

#[test]
fn order_is_by_priority_then_age_with_one_eval_per_job() {
    let mut region = Region::new();
    let priority = |number, job, priority| Eval { priority, ..eval(number, job, EvalStatus::Pending) };
    region.evals(vec![priority(5, "a", 50)]);
    region.evals(vec![priority(1, "b", 50), priority(2, "a", 50), priority(3, "c", 90)]);
    region.evals(vec![eval(4, "d", EvalStatus::Complete), eval(6, "d", EvalStatus::Blocked)]);
    let mut broker = EvalBroker::rebuild(&region.snapshot(), at(0));
    assert_eq!(numbers(&broker.take(2)), [3, 5]);
    assert_eq!(numbers(&broker.take(9)), [1]);
    assert_eq!(numbers(&broker.take(9)), [] as [u8; 0]);
    broker.done(eval_id(5));
    assert_eq!(numbers(&broker.take(9)), [2]);
}

#[test]
fn events_bring_and_take_away() {
    let mut region = Region::new();
    let mut broker = EvalBroker::default();
    let event = region.evals(vec![eval(1, "a", EvalStatus::Pending), eval(2, "b", EvalStatus::Pending)]);
    broker.on_events(&region.snapshot(), &event, at(0));
    broker.on_events(&region.snapshot(), &event, at(0));
    let event = region.evals(vec![eval(2, "b", EvalStatus::Canceled)]);
    broker.on_events(&region.snapshot(), &event, at(0));
    assert_eq!(numbers(&broker.take(9)), [1]);
    // What is taken is not given out again, whatever is heard of it meanwhile.
    let event = region.evals(vec![eval(1, "a", EvalStatus::Pending)]);
    broker.on_events(&region.snapshot(), &event, at(0));
    let event = region.evals(vec![eval(1, "a", EvalStatus::Complete)]);
    broker.done(eval_id(1));
    broker.on_events(&region.snapshot(), &event, at(0));
    assert!(broker.take(9).is_empty() && broker.next_deadline().is_none());
}

#[test]
fn evals_wait_for_their_time() {
    let mut region = Region::new();
    let waiting = |number, seconds| Eval { wait_until: at(seconds), ..eval(number, "a", EvalStatus::Pending) };
    region.evals(vec![waiting(1, 30), waiting(2, 20), waiting(3, 5)]);
    let mut broker = EvalBroker::rebuild(&region.snapshot(), at(10));
    assert_eq!(numbers(&broker.take(9)), [3]);
    broker.done(eval_id(3));
    assert_eq!(broker.next_deadline(), Some(at(20)));
    broker.tick(at(19));
    assert!(broker.take(9).is_empty());
    broker.tick(at(20));
    assert_eq!(numbers(&broker.take(9)), [2]);
    assert_eq!(broker.next_deadline(), Some(at(30)));
    // A stop cancels the last one.
    region.register(Job { priority: 1, ..job("a", 1) });
    let events = region.stop("a");
    broker.on_events(&region.snapshot(), &events, at(21));
    assert_eq!(broker.next_deadline(), None);
}

#[test]
fn an_eval_without_attempts_left_is_tried_again_after_a_rest() {
    let mut region = Region { seconds: 100, ..Region::new() };
    let triggered_by = EvalTrigger::MaxPlanAttempts;
    region.evals(vec![Eval { triggered_by, ..eval(1, "a", EvalStatus::Blocked) }]);
    let mut broker = EvalBroker::rebuild(&region.snapshot(), at(100));
    assert_eq!(broker.next_deadline(), Some(at(160)));
    broker.tick(at(160));
    assert_eq!(numbers(&broker.take(9)), [1]);
}

#[test]
fn a_clock_that_is_set_changes_no_wait() {
    let now = |wall, steady| Moment { wall: at(wall), steady: at(steady) };
    let mut region = Region { seconds: 1000, ..Region::new() };
    let waiting = |number, seconds| Eval { wait_until: at(seconds), ..eval(number, "a", EvalStatus::Pending) };
    let events = region.evals(vec![waiting(1, 1030)]);
    let mut broker = EvalBroker::default();
    broker.on_events(&region.snapshot(), &events, now(1000, 5));
    assert_eq!(broker.next_deadline(), Some(at(35)));
    // A day ahead, and back to long before.
    for wall in [1000 + 86_400, 10] {
        broker.tick(now(wall, 34));
        assert!(broker.take(9).is_empty());
    }
    broker.tick(now(10, 35));
    assert_eq!(numbers(&broker.take(9)), [1]);
    // Whoever leads next, or has started again, waits no longer than was meant, and not at all for what has passed.
    assert_eq!(EvalBroker::rebuild(&region.snapshot(), now(10, 7)).next_deadline(), Some(at(37)));
    assert_eq!(EvalBroker::rebuild(&region.snapshot(), now(86_400, 7)).next_deadline(), None);
}
