//! Tables for deployments.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_model::alloc::{Alloc, AllocHealth, AllocUpdate, ClientStatus};
use drover_model::plan::Plan;
use drover_model::policy::ReschedulePolicy;
use drover_state::RegisterJob;

use super::*;
use crate::region::{Region, alloc, alloc_id, at, deployment_id, eval, evals_of, job, key, report};

fn group(desired_total: i64) -> DeploymentState {
    DeploymentState { progress_deadline: Duration::from_secs(600), desired_total, ..DeploymentState::default() }
}

fn member(number: u8, canary: bool) -> Alloc {
    let deployment_status = Some(AllocHealth { canary, ..AllocHealth::default() });
    Alloc { deployment_id: Some(deployment_id(1)), deployment_status, ..alloc(number, "web") }
}

/// A deployment of that version of `web`.
fn deployment(job_version: u64, group: DeploymentState) -> Deployment {
    let drover_model::JobKey { namespace, id } = key("web");
    let task_groups = BTreeMap::from([("front".to_owned(), group)]);
    Deployment { id: deployment_id(1), namespace, job_id: id, job_version, task_groups, ..Deployment::default() }
}

/// Job `web` with versions 0 (stable when said so) and 1, and a deployment of version 1 with `placed` allocs at 0 s.
fn deploying(stable: bool, group: DeploymentState, placed: Vec<Alloc>) -> Region {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.run(Command::SetJobStability { key: key("web"), version: 0, stable });
    region.register(job("web", 2));
    let deployment = Some(deployment(1, group));
    region.plan(Plan { job_version: 1, deployment, placements: placed, ..Plan::default() });
    region
}

fn health(number: u8, healthy: bool) -> AllocUpdate {
    let status = if healthy { ClientStatus::Running } else { ClientStatus::Failed };
    AllocUpdate { healthy: Some(healthy), health_at: at(10), ..report(number, status) }
}

impl Region {
    /// Runs the step until it has nothing to do; at most a few rounds, or the step keeps itself going.
    fn settle(&mut self, seconds: u64) -> Vec<Command> {
        let mut all = Vec::new();
        for _ in 0..4 {
            let (snapshot, now) = (self.snapshot(), Moment::from(at(seconds)));
            let commands = Deployments::default().step(&snapshot, now, self.state.index());
            if commands.is_empty() {
                return all;
            }
            for command in commands {
                self.run(command.clone());
                all.push(command);
            }
        }
        panic!("the step keeps itself going: {all:?}");
    }

    fn deployment(&self) -> &Deployment {
        self.state.deployment(deployment_id(1)).unwrap()
    }
}

fn next_deadline(snapshot: &Snapshot) -> Option<Timestamp> {
    let dates = snapshot.active_deployments().flat_map(|deployment| open_deadlines(snapshot, deployment));
    dates.map(|((date, _), _)| date).min()
}

#[test]
fn success_marks_the_version_stable() {
    let mut region = deploying(false, group(2), vec![member(1, false), member(2, false)]);
    region.report(vec![health(1, true)]);
    assert_eq!(region.settle(20), [], "all are placed, one is awaited");
    region.report(vec![health(2, true)]);
    assert_eq!(region.settle(20).len(), 1);
    assert_eq!(region.deployment().status, DeploymentStatus::Successful);
    assert_eq!(region.deployment().status_description, "Deployment completed successfully");
    assert!(region.state.job(&key("web")).unwrap().stable);
    assert_eq!(next_deadline(&region.snapshot()), None);
}

#[test]
fn a_healthy_alloc_leads_to_the_next_step_once() {
    let mut region = deploying(false, group(3), vec![member(1, false)]);
    assert_eq!(region.settle(20), []);
    region.report(vec![health(1, true)]);
    let commands = region.settle(20);
    let evals: Vec<&Eval> = commands.iter().flat_map(evals_of).collect();
    assert_eq!(evals.len(), 1);
    assert_eq!(
        (evals[0].triggered_by, evals[0].deployment_id),
        (EvalTrigger::DeploymentWatcher, Some(deployment_id(1)))
    );
    // The eval is processed on a snapshot that knows of it.
    let done = Eval { status: EvalStatus::Complete, snapshot_index: region.state.index(), ..evals[0].clone() };
    region.evals(vec![done]);
    assert_eq!(region.settle(20), []);
    // One that looked before the report does not count, one that will look does.
    region.place(vec![member(2, false)]);
    region.report(vec![health(2, true)]);
    region.evals(vec![eval(9, "web", EvalStatus::Pending)]);
    assert_eq!(region.settle(20), []);
    region.evals(vec![eval(9, "web", EvalStatus::Complete)]);
    assert_eq!(region.settle(20).len(), 1);
}

#[test]
fn it_fails_past_its_deadline() {
    let check = |placed: Vec<Alloc>, healthy: &[u8], seconds: u64, expected: DeploymentStatus| {
        let canaries = placed.iter().filter(|alloc| alloc.is_canary()).count() as i64;
        let state = DeploymentState { desired_canaries: canaries, ..group(2) };
        let mut region = deploying(false, state, placed);
        region.report(healthy.iter().map(|number| health(*number, true)).collect());
        let deadline = next_deadline(&region.snapshot());
        region.settle(seconds);
        assert_eq!(region.deployment().status, expected);
        if expected == DeploymentStatus::Failed {
            assert_eq!(region.deployment().status_description, "Failed due to progress deadline");
            assert!(deadline.is_some_and(|deadline| deadline <= at(seconds)));
        }
        let later = next_deadline(&region.snapshot());
        assert!(later.is_none_or(|later| later > at(seconds)), "a deadline that passed is not waited for");
    };
    use DeploymentStatus::{Failed, Running};
    check(vec![], &[], 100_000, Running);
    check(vec![member(1, false)], &[], 599, Running);
    check(vec![member(1, false)], &[], 600, Failed);
    check(vec![member(1, false)], &[1], 609, Running);
    check(vec![member(1, false)], &[1], 610, Failed);
    check(vec![member(1, true)], &[], 600, Failed);
    // All canaries are healthy: it waits for a person.
    check(vec![member(1, true)], &[1], 100_000, Running);
}

#[test]
fn a_failure_goes_back_to_the_newest_stable_version() {
    let check = |stable: bool, auto_revert: bool, same: bool, suffix: &str, version: u64| {
        let state = DeploymentState { auto_revert, ..group(2) };
        let mut region = deploying(stable, state, vec![member(1, false)]);
        if same {
            region.run(Command::SetJobStability { key: key("web"), version: 1, stable: true });
        }
        let commands = region.settle(700);
        assert_eq!(commands.iter().flat_map(evals_of).count(), 1);
        let description = &region.deployment().status_description;
        assert_eq!(*description, format!("Failed due to progress deadline{suffix}"));
        assert_eq!(region.state.job(&key("web")).unwrap().version, version);
    };
    check(true, false, false, "", 1);
    check(true, true, false, " - rolling back to job version 0", 2);
    check(false, true, false, " - no stable job version to auto revert to", 1);
    let same = " - not rolling back to stable job version 1 as current job has same specification";
    check(true, true, true, same, 1);
}

#[test]
fn the_copy_of_a_rollback_is_stable() {
    let mut region = deploying(true, DeploymentState { auto_revert: true, ..group(2) }, vec![member(1, false)]);
    region.settle(700);
    let job = region.state.job(&key("web")).unwrap();
    assert_eq!((job.version, job.stable, job.task_groups[0].count), (2, true, 1));
}

#[test]
fn an_unhealthy_alloc_is_replaced_or_fails_it() {
    let check = |policy: Option<ReschedulePolicy>, deadline: u64, expected: Option<&str>| {
        let mut region = Region::new();
        let mut job = job("web", 2);
        job.task_groups[0].reschedule_policy = policy;
        region.register(job);
        let progress_deadline = Duration::from_secs(deadline);
        let deployment = Some(deployment(0, DeploymentState { progress_deadline, ..group(2) }));
        region.plan(Plan { deployment, placements: vec![member(1, false)], ..Plan::default() });
        region.report(vec![health(1, false)]);
        let commands = region.settle(20);
        assert_eq!(commands.len(), 1);
        assert_eq!(commands.iter().flat_map(evals_of).count(), 1);
        let found = region.deployment();
        assert_eq!((found.status == DeploymentStatus::Failed).then_some(found.status_description.as_str()), expected);
        let asked = region.state.alloc(alloc_id(1)).unwrap().desired_transition.reschedule;
        assert_eq!(asked, expected.is_none().then_some(true));
    };
    let unlimited = || Some(crate::region::unlimited());
    check(unlimited(), 600, None);
    check(unlimited(), 0, Some("Failed due to unhealthy allocations"));
    check(None, 600, Some("Failed due to unhealthy allocations"));
    let none_left = ReschedulePolicy { interval: Duration::from_secs(60), ..ReschedulePolicy::default() };
    check(Some(none_left), 600, Some("Failed due to unhealthy allocations"));
}

#[test]
fn canaries_promote_by_themselves_when_asked() {
    let check = |auto_promote: bool, healthy: &[u8], expected: bool| {
        let state = DeploymentState { desired_canaries: 2, auto_promote, ..group(4) };
        let mut region = deploying(false, state, vec![member(1, true), member(2, true)]);
        region.report(healthy.iter().map(|number| health(*number, true)).collect());
        let commands = region.settle(20);
        assert_eq!(commands.iter().any(|command| matches!(command, Command::UpsertDeployment { .. })), expected);
        let found = region.deployment();
        assert_eq!((found.task_groups["front"].promoted, found.status), (expected, DeploymentStatus::Running));
        if expected {
            assert_eq!(found.status_description, "Deployment is running");
            assert_eq!(found.task_groups["front"].require_progress_by, at(620));
        }
    };
    check(true, &[1], false);
    check(true, &[1, 2], true);
    check(false, &[1, 2], false);
}

#[test]
fn a_deployment_that_its_job_left_behind_is_cancelled() {
    let check = |change: &dyn Fn(&mut Region), expected: &str| {
        let mut region = deploying(false, group(2), vec![member(1, false)]);
        change(&mut region);
        // As long as an eval of the job is open, its plan does it.
        region.evals(vec![eval(5, "web", EvalStatus::Pending)]);
        assert_eq!(region.settle(20), []);
        region.evals(vec![eval(5, "web", EvalStatus::Complete)]);
        region.settle(20);
        assert_eq!(region.deployment().status, DeploymentStatus::Cancelled);
        assert_eq!(region.deployment().status_description, expected);
    };
    let newer = |region: &mut Region| drop(region.register(job("web", 7)));
    check(&newer, "Cancelled due to newer version of job");
    check(&|region| drop(region.stop("web")), "Cancelled because job is stopped");
    let anew = |region: &mut Region| {
        region.run(Command::DeregisterJob { key: key("web"), purge: true, eval: None, at: at(1) });
        let register = RegisterJob { job: Arc::new(job("web", 2)), ..RegisterJob::default() };
        region.run(Command::RegisterJob(Box::new(register)));
    };
    check(&anew, "Cancelled due to newer version of job");
}

#[test]
fn a_paused_deployment_rests() {
    let mut region = deploying(false, group(2), vec![member(1, false), member(2, false)]);
    let status_description = "Deployment is paused".to_owned();
    let update =
        DeploymentUpdate { deployment_id: deployment_id(1), status: DeploymentStatus::Paused, status_description };
    region.run(Command::UpdateDeployment(Box::new(ChangeDeployment { update, ..ChangeDeployment::default() })));
    region.report(vec![health(1, true), health(2, true)]);
    assert_eq!(region.settle(100_000), []);
    assert_eq!(next_deadline(&region.snapshot()), None);
}

#[test]
fn a_clock_that_is_set_ends_no_deployment_and_keeps_none() {
    let region = deploying(false, group(2), vec![member(1, false)]);
    let (snapshot, mut deployments) = (region.snapshot(), Deployments::default());
    let mut fails = |wall, steady| {
        let now = Moment { wall: at(wall), steady: at(steady) };
        !deployments.step(&snapshot, now, 1).is_empty()
    };
    assert!(!fails(100, 5));
    assert!(!fails(100 + 86_400, 504), "a day ahead");
    assert!(fails(10, 505), "set back");
    // A leader that begins while the clock is behind gives it no more time than it was given.
    let now = Moment { wall: Timestamp(-1_000_000_000_000_000), steady: at(7) };
    let mut deployments = Deployments::default();
    deployments.step(&snapshot, now, 1);
    assert_eq!(deployments.next_deadline(), Some(at(607)));
}

#[test]
fn what_changed_is_looked_at_and_nothing_else() {
    let mut region = deploying(false, group(2), vec![member(1, false), member(2, false)]);
    let now = Moment::from(at(20));
    let mut deployments = Deployments::default();
    assert_eq!(deployments.step(&region.snapshot(), now, 1), []);
    let first = region.report(vec![health(1, true)]);
    let second = region.report(vec![health(2, true)]);
    assert_eq!(deployments.step(&region.snapshot(), now, 1), [], "nobody has told");
    deployments.on_events(&region.snapshot(), &first);
    deployments.on_events(&region.snapshot(), &second);
    let done = deployments.step(&region.snapshot(), now, 1);
    assert!(matches!(&done[..], [Command::UpdateDeployment(_)]), "{done:?}");
    // Until it is done the same is asked for again.
    assert_eq!(deployments.step(&region.snapshot(), now, 1), done);
    for command in done {
        region.run(command);
    }
    assert_eq!(deployments.step(&region.snapshot(), now, 1), []);
    assert_eq!((deployments.next_deadline(), deployments.deadlines.len()), (None, 0));
}
