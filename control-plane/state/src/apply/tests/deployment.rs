//! What commands do to the noun of this file: deployment.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::alloc::AllocHealth;
use drover_model::deployment::{Deployment, DeploymentState, DeploymentStatus};
use drover_model::plan::{DeploymentUpdate, PlanUpdate};

use super::*;
use crate::{ChangeDeployment, Refusal};

fn deployment(desired_canaries: i64) -> Deployment {
    let JobKey { namespace, id } = key("web");
    let progress_deadline = Duration::from_secs(600);
    let group = DeploymentState { progress_deadline, desired_canaries, desired_total: 2, ..DeploymentState::default() };
    let task_groups = BTreeMap::from([("front".to_owned(), group)]);
    Deployment { id: deployment_id(1), namespace, job_id: id, task_groups, ..Deployment::default() }
}

fn member(number: u8, canary: bool) -> Alloc {
    let deployment_status = Some(AllocHealth { canary, healthy: Some(true), ..AllocHealth::default() });
    Alloc { deployment_id: Some(deployment_id(1)), deployment_status, ..alloc(number, "web") }
}

fn health(number: u8, healthy: bool, second: u64) -> AllocUpdate {
    AllocUpdate { healthy: Some(healthy), health_at: at(second), ..report(number, ClientStatus::Running) }
}

impl Region {
    /// A region with job `web` (index 2) and, from index 3, a deployment of it.
    fn deploying(canaries: i64, placements: Vec<Alloc>) -> Self {
        let mut region = Region::new();
        region.register(job("web", 2));
        region.plan(Plan { deployment: Some(deployment(canaries)), placements, ..Plan::default() });
        region
    }

    fn deployment(&self) -> &Deployment {
        self.state.deployment(deployment_id(1)).unwrap()
    }

    fn group(&self) -> &DeploymentState {
        &self.deployment().task_groups["front"]
    }

    fn change(&mut self, status: DeploymentStatus, change: ChangeDeployment) -> Answer {
        let update = DeploymentUpdate { deployment_id: deployment_id(1), status, status_description: String::new() };
        self.run(Command::UpdateDeployment(Box::new(ChangeDeployment { update, ..change }))).0
    }
}

#[test]
fn allocs_are_counted_as_they_come_and_turn_healthy() {
    let mut region = Region::deploying(0, vec![]);
    assert!(region.group().require_progress_by.is_never(), "until the first placement");
    region.place(vec![member(1, false), member(2, false)]);
    assert_eq!((region.group().placed_allocs, region.group().require_progress_by), (2, at(604)));
    assert_eq!(region.alloc(1).health(), None, "a placement does not begin healthy");

    let mut check = |update: AllocUpdate, expected: (i64, i64, u64)| {
        region.report(vec![update]);
        let group = region.group();
        assert_eq!((group.healthy_allocs, group.unhealthy_allocs), (expected.0, expected.1));
        assert_eq!(group.require_progress_by, at(expected.2));
    };
    check(report(1, ClientStatus::Running), (0, 0, 604));
    check(health(1, true, 20), (1, 0, 620));
    check(health(1, true, 30), (1, 0, 620));
    check(health(2, false, 40), (1, 1, 620));
    check(health(1, false, 50), (0, 2, 620));
    check(health(2, true, 10), (1, 1, 620));
    assert_eq!(region.deployment().job_create_index, 2);
    assert_eq!(region.alloc(2).deployment_status.unwrap().modify_index, region.index);
}

#[test]
fn an_alloc_that_joins_counts_anew() {
    let mut region = Region::new();
    region.register(job("web", 2));
    region.place(vec![alloc(1, "web")]);
    region.report(vec![health(1, true, 4)]);
    let join = PlanUpdate { alloc_id: alloc_id(1), deployment_id: Some(deployment_id(1)), ..PlanUpdate::default() };
    region.plan(Plan { deployment: Some(deployment(0)), updates: vec![join], ..Plan::default() });
    assert_eq!((region.group().placed_allocs, region.group().healthy_allocs), (1, 0));
    assert_eq!(region.alloc(1).deployment_status, None);
    region.report(vec![health(1, true, 9)]);
    assert_eq!(region.group().healthy_allocs, 1);
}

#[test]
fn canaries_are_listed_until_promotion() {
    let mut region = Region::deploying(1, vec![member(1, true)]);
    assert_eq!(region.group().placed_canaries, [alloc_id(1)]);
    region.report(vec![health(1, true, 9)]);
    let mut promoted = deployment(1);
    promoted.task_groups.values_mut().for_each(|group| group.promoted = true);
    let upsert = Command::UpsertDeployment { deployment: Box::new(promoted), eval: None, at: at(9) };
    let (answer, events) = region.run(upsert);
    assert_eq!(answer, Answer::Done);
    assert_eq!(alloc_changes(&events), [(alloc_id(1), true)]);
    assert!(!region.alloc(1).is_canary() && region.alloc(1).health() == Some(true));
    let group = region.group();
    assert_eq!((group.promoted, group.placed_allocs, group.healthy_allocs), (true, 1, 1), "counts are not overwritten");
}

#[test]
fn a_success_marks_the_version_stable() {
    let mut region = Region::deploying(0, vec![]);
    let change = ChangeDeployment { mark_stable: true, ..ChangeDeployment::default() };
    assert_eq!(region.change(DeploymentStatus::Successful, change.clone()), Answer::Done);
    assert!(region.job("web").stable);
    assert_eq!(region.state.active_deployments().count(), 0);
    let refused = Answer::Refused(Refusal::Conflict { reason: "deployment has terminal status \"successful\"".into() });
    assert_eq!(region.change(DeploymentStatus::Failed, change), refused);
}

#[test]
fn a_rollback_is_a_new_version() {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.register(job("web", 2));
    region.plan(Plan { deployment: Some(Deployment { job_version: 1, ..deployment(0) }), ..Plan::default() });
    let old = region.state.job_version(&key("web"), 0).unwrap().clone();
    let rollback = Some(Arc::new(Job { stable: true, ..Job::clone(&old) }));
    let eval = Some(eval(1, "web", EvalStatus::Pending));
    region.change(DeploymentStatus::Failed, ChangeDeployment { rollback, eval, ..ChangeDeployment::default() });
    let job = region.job("web");
    assert_eq!((job.version, job.stable, job.task_groups[0].count), (2, true, 1));
    assert_eq!(region.eval(1).job_modify_index, job.job_modify_index);
}

#[test]
fn going_on_after_a_pause_gives_new_time() {
    let mut region = Region::deploying(0, vec![]);
    region.change(DeploymentStatus::Paused, ChangeDeployment::default());
    region.change(DeploymentStatus::Running, ChangeDeployment { at: at(100), ..ChangeDeployment::default() });
    assert_eq!(region.group().require_progress_by, at(700));
}

#[test]
fn a_newer_version_cancels_through_its_plan() {
    let mut region = Region::deploying(0, vec![]);
    let update = DeploymentUpdate {
        deployment_id: deployment_id(1),
        status: DeploymentStatus::Cancelled,
        status_description: "Cancelled due to newer version of job".to_owned(),
    };
    let plan = || Plan { deployment_updates: vec![update.clone()], ..Plan::default() };
    region.plan(plan());
    assert_eq!(region.deployment().status_description, "Cancelled due to newer version of job");
    assert_eq!(region.plan(plan()).changes, []);
    let unknown = Deployment { id: deployment_id(2), ..deployment(0) };
    let upsert = Command::UpsertDeployment { deployment: Box::new(unknown), eval: None, at: at(9) };
    assert_eq!(region.run(upsert).0, Answer::Refused(Refusal::NotFound { what: "deployment".to_owned() }));
}
