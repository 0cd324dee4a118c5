//! Tables for the evals of reports.

use std::time::Duration;

use drover_model::alloc::{RescheduleEvent, RescheduleTracker};
use drover_model::job::Job;
use drover_model::plan::{Plan, PlanStop};
use drover_model::policy::ReschedulePolicy;

use super::*;
use crate::region::{Region, alloc, alloc_id, at, job, node_id, report};

fn triggers(region: &Region, updates: &[AllocUpdate]) -> Vec<(String, EvalTrigger)> {
    let evals = evals(&region.snapshot(), node_id(1), updates, at(1000), 7);
    evals.iter().map(|eval| (eval.job_id.to_string(), eval.triggered_by)).collect()
}

#[test]
fn a_failure_makes_one_eval_per_job() {
    let mut region = Region::new();
    region.register(job("web", 2));
    region.register(job("db", 1));
    region.place(vec![alloc(1, "web"), alloc(2, "web"), alloc(3, "db")]);
    let check = |updates: &[AllocUpdate], expected: &[&str]| {
        let found = triggers(&region, updates);
        assert!(found.iter().all(|(_, trigger)| *trigger == EvalTrigger::AllocFailure));
        assert_eq!(found.iter().map(|(job, _)| job.as_str()).collect::<Vec<_>>(), expected);
    };
    let failed = |number| report(number, ClientStatus::Failed);
    check(&[failed(1), failed(2), failed(3)], &["db", "web"]);
    check(&[failed(9)], &[]);
    check(&[report(1, ClientStatus::Running), report(2, ClientStatus::Complete)], &[]);
    let other_node = evals(&region.snapshot(), node_id(2), &[failed(1)], at(1000), 7);
    assert!(other_node.is_empty());
}

#[test]
fn nothing_is_looked_at_that_can_not_be_replaced() {
    let check = |change: &dyn Fn(&mut Region), policy: Option<ReschedulePolicy>, expected: bool| {
        let mut region = Region::new();
        let mut job: Job = job("web", 1);
        job.task_groups[0].reschedule_policy = policy;
        region.register(job);
        let event = RescheduleEvent { reschedule_time: at(900), ..RescheduleEvent::default() };
        let tracker = RescheduleTracker { events: vec![event], ..RescheduleTracker::default() };
        region.place(vec![Alloc { reschedule_tracker: Some(tracker), ..alloc(1, "web") }]);
        change(&mut region);
        let found = triggers(&region, &[report(1, ClientStatus::Failed)]);
        assert_eq!(!found.is_empty(), expected);
    };
    let limited = |attempts: i64, interval: u64| {
        Some(ReschedulePolicy { attempts, interval: Duration::from_secs(interval), ..ReschedulePolicy::default() })
    };
    let unlimited = || Some(crate::region::unlimited());
    check(&|_| {}, unlimited(), true);
    check(&|_| {}, None, false);
    check(&|_| {}, limited(0, 600), false);
    check(&|_| {}, limited(1, 600), false);
    check(&|_| {}, limited(2, 600), true);
    check(&|_| {}, limited(1, 50), true);
    check(&|region| drop(region.stop("web")), unlimited(), false);
    check(&|region| drop(region.report(vec![report(1, ClientStatus::Failed)])), unlimited(), false);
    let stop = |region: &mut Region| {
        let stops = vec![PlanStop { alloc_id: alloc_id(1), ..PlanStop::default() }];
        region.plan(Plan { stops, ..Plan::default() });
    };
    check(&stop, unlimited(), false);
}

#[test]
fn an_alloc_that_was_cut_off_is_back() {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.place(vec![alloc(1, "web")]);
    region.report(vec![report(1, ClientStatus::Unknown)]);
    let check = |status: ClientStatus, expected: Option<EvalTrigger>| {
        assert_eq!(triggers(&region, &[report(1, status)]).first().map(|found| found.1), expected);
    };
    check(ClientStatus::Running, Some(EvalTrigger::Reconnect));
    check(ClientStatus::Unknown, None);
    check(ClientStatus::Failed, Some(EvalTrigger::AllocFailure));
}
