//! Deployments: the next step when allocs turn healthy, promotion, success, failure and rollback.
//!
//! Everything follows from the state: the counts of a deployment, its deadlines, and which eval last looked at its job. So only
//! those are looked at of which something has changed or whose time has come: a region may roll out a thousand jobs at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use drover_model::alloc::{Alloc, DesiredTransition};
use drover_model::deployment::{Deployment, DeploymentState, DeploymentStatus};
use drover_model::eval::{Eval, EvalStatus, EvalTrigger};
use drover_model::job::Job;
use drover_model::plan::DeploymentUpdate;
use drover_model::{AllocId, DeploymentId, JobKey, Timestamp};
use drover_state::{Change, ChangeDeployment, Command, Events, Snapshot};

use crate::moment::{Dated, Deadlines, Moment};
use crate::new_eval::Ids;
use crate::{replacement, rollback};

const RUNNING: &str = "Deployment is running";
const SUCCESSFUL: &str = "Deployment completed successfully";
const UNHEALTHY: &str = "Failed due to unhealthy allocations";
const NO_PROGRESS: &str = "Failed due to progress deadline";
const NEWER_VERSION: &str = "Cancelled due to newer version of job";
const STOPPED: &str = "Cancelled because job is stopped";

/// The deployments that have not ended: which of them are to be looked at, and when they fail unless they make progress.
/// A new one looks at all of them.
#[derive(Debug, Default)]
pub struct Deployments {
    has_begun: bool,
    /// Something of them has changed.
    changed: BTreeSet<DeploymentId>,
    deadlines: BTreeMap<DeploymentId, Deadlines>,
    // Invariant: when the next of its deadlines comes, for each of `deadlines` that has one.
    by_time: BTreeSet<(Timestamp, DeploymentId)>,
}

impl Deployments {
    /// Takes over what changed; `snapshot` is of the events' index or later. A deployment follows from itself, its job, and the
    /// job's allocs and evals.
    pub fn on_events(&mut self, snapshot: &Snapshot, events: &Events) {
        let mut jobs: BTreeSet<&JobKey> = BTreeSet::new();
        for change in &events.changes {
            match change {
                Change::Deployment { id, job } => {
                    self.changed.insert(*id);
                    jobs.insert(job);
                }
                Change::Job(job) | Change::Alloc { job, .. } | Change::Eval { job, .. } => {
                    jobs.insert(job);
                }
                Change::Node(_) | Change::JoinTokens | Change::Namespace(_) | Change::SchedulerConfig => {}
            }
        }
        let active = jobs.into_iter().flat_map(|job| snapshot.active_deployments_of_job(job));
        self.changed.extend(active.map(|deployment| deployment.id));
    }

    /// What is to be done, at most one command for each.
    pub fn step(&mut self, snapshot: &Snapshot, now: Moment, seed: u64) -> Vec<Command> {
        let mut looked_at = std::mem::take(&mut self.changed);
        if !std::mem::replace(&mut self.has_begun, true) {
            looked_at.extend(snapshot.active_deployments().map(|deployment| deployment.id));
        }
        let due = self.by_time.iter().take_while(|(due, _)| *due <= now.steady);
        looked_at.extend(due.map(|(_, id)| *id));
        let mut ids = Ids::new(seed);
        looked_at.into_iter().filter_map(|id| self.look(snapshot, id, now, &mut ids)).collect()
    }

    /// When the next of them fails, on the steady clock, as of the last step.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(due, _)| *due)
    }

    fn look(&mut self, snapshot: &Snapshot, id: DeploymentId, moment: Moment, ids: &mut Ids) -> Option<Command> {
        let mut deadlines = self.deadlines.remove(&id).unwrap_or_default();
        if let Some(next) = deadlines.next() {
            self.by_time.remove(&(next, id));
        }
        let deployment = snapshot.deployment(id).filter(|deployment| deployment.status.is_active())?;
        deadlines.look(moment, open_deadlines(snapshot, deployment));
        let watch = Watch { snapshot, deployment, deadlines: &deadlines, moment, now: moment.wall };
        let command = watch.step(ids);
        if command.is_some() {
            // Whether it is done or refused, there may be more to do.
            self.changed.insert(id);
        }
        if let Some(next) = deadlines.next() {
            self.by_time.insert((next, id));
            self.deadlines.insert(id, deadlines);
        }
        command
    }
}

/// The dates at which a running deployment fails, and the time that was given until then.
fn open_deadlines(snapshot: &Snapshot, deployment: &Deployment) -> impl Iterator<Item = (Dated, Duration)> {
    // One whose job has moved on is ended by the scheduler and has no deadline of its own.
    let is_open = deployment.status == DeploymentStatus::Running && current_job(snapshot, deployment).is_ok();
    let groups = deployment.task_groups.values().filter(move |group| is_open && !group.progress_deadline.is_zero());
    groups.filter_map(|group| Some((deadline_of(group)?, group.progress_deadline)))
}

/// When this group fails its deployment; none while nothing is owed. Each alloc that turns healthy sets it anew.
fn deadline_of(group: &DeploymentState) -> Option<Dated> {
    let owed = if group.desired_canaries > 0 && !group.promoted { group.desired_canaries } else { group.desired_total };
    let is_open = group.healthy_allocs < owed && !group.require_progress_by.is_never();
    is_open.then_some((group.require_progress_by, group.healthy_allocs))
}

/// The job whose current version the deployment rolls out, or why there is none.
fn current_job<'a>(snapshot: &'a Snapshot, deployment: &Deployment) -> Result<&'a Job, &'static str> {
    match snapshot.job(&deployment.job_key()) {
        Some(job) if job.create_index != deployment.job_create_index => Err(NEWER_VERSION),
        Some(job) if !job.stop && job.version != deployment.job_version => Err(NEWER_VERSION),
        Some(job) if !job.stop => Ok(job),
        Some(_) | None => Err(STOPPED),
    }
}

/// One deployment being looked at.
struct Watch<'a> {
    snapshot: &'a Snapshot,
    deployment: &'a Deployment,
    deadlines: &'a Deadlines,
    moment: Moment,
    now: Timestamp,
}

impl Watch<'_> {
    fn step(&self, ids: &mut Ids) -> Option<Command> {
        let job = match current_job(self.snapshot, self.deployment) {
            Ok(job) => job,
            // The eval of the change cancels it with its plan; this is for one that is left over.
            Err(_) if self.snapshot.has_open_eval(&self.deployment.job_key()) => return None,
            Err(reason) => return Some(self.change(DeploymentStatus::Cancelled, reason.to_owned())),
        };
        if self.deployment.status != DeploymentStatus::Running {
            return None;
        }
        if let Some((reason, reverts)) = self.failure(job) {
            return Some(self.fail(job, reason, reverts, ids));
        }
        if self.is_complete() {
            return Some(self.change(DeploymentStatus::Successful, SUCCESSFUL.to_owned()));
        }
        let eval = |ids: &mut Ids| Eval {
            deployment_id: Some(self.deployment.id),
            priority: if self.deployment.eval_priority > 0 { self.deployment.eval_priority } else { job.priority },
            ..ids.eval(job, EvalTrigger::DeploymentWatcher)
        };
        if self.is_to_be_promoted() {
            return Some(self.promote(eval(ids)));
        }
        let replaceable = self.replaceable();
        if !replaceable.is_empty() {
            let ask = DesiredTransition { reschedule: Some(true), ..DesiredTransition::default() };
            let transitions = replaceable.into_iter().map(|id| (id, ask)).collect();
            return Some(Command::UpdateAllocTransitions { transitions, evals: vec![eval(ids)], at: self.now });
        }
        if self.has_next_step() {
            return Some(Command::UpsertEvals { evals: vec![eval(ids)], at: self.now });
        }
        None
    }

    /// Why it fails now, and whether the group that fails it wants to go back.
    fn failure(&self, job: &Job) -> Option<(&'static str, bool)> {
        let mut found: Option<(&'static str, bool)> = None;
        let mut add = |reason: &'static str, reverts: bool| {
            let (first, before) = found.unwrap_or((reason, false));
            found = Some((first, before || reverts));
        };
        for alloc in self.allocs_if_unhealthy() {
            let Some(group) = self.deployment.task_groups.get(&alloc.task_group) else {
                continue;
            };
            let is_left = alloc.health() == Some(false) && alloc.next_allocation.is_none();
            if !is_left {
                continue;
            }
            let policy = job.group(&alloc.task_group).and_then(|group| group.reschedule_policy.as_ref());
            if group.progress_deadline.is_zero() || !replacement::is_possible(alloc, policy, self.now) {
                add(UNHEALTHY, group.auto_revert);
            }
        }
        for group in self.deployment.task_groups.values() {
            if deadline_of(group).is_some_and(|deadline| self.deadlines.is_over(deadline, self.moment)) {
                add(NO_PROGRESS, group.auto_revert);
            }
        }
        found
    }

    /// Its allocs, if one of them is unhealthy: usually none is, and then nobody looks at all of them.
    fn allocs_if_unhealthy(&self) -> impl Iterator<Item = &Arc<Alloc>> {
        let some = self.deployment.task_groups.values().any(|group| group.unhealthy_allocs > 0);
        some.then(|| self.snapshot.allocs_of_deployment(self.deployment.id)).into_iter().flatten()
    }

    fn is_complete(&self) -> bool {
        let is_done = |group: &DeploymentState| group.healthy_allocs >= group.desired_total;
        !self.deployment.requires_promotion() && self.deployment.task_groups.values().all(is_done)
    }

    /// All groups with canaries promote by themselves, and all their canaries are healthy.
    fn is_to_be_promoted(&self) -> bool {
        let is_healthy = |id: &&AllocId| {
            self.snapshot.alloc(**id).is_some_and(|alloc| alloc.health() == Some(true) && !alloc.is_terminal())
        };
        let is_ready = |group: &DeploymentState| {
            let healthy = group.placed_canaries.iter().filter(is_healthy).count();
            group.auto_promote && i64::try_from(healthy).is_ok_and(|healthy| healthy >= group.desired_canaries)
        };
        let mut open = self.deployment.task_groups.values().filter(|group| group.desired_canaries > 0);
        self.deployment.requires_promotion() && open.all(|group| group.promoted || is_ready(group))
    }

    fn promote(&self, eval: Eval) -> Command {
        let mut deployment = self.deployment.clone();
        for group in deployment.task_groups.values_mut().filter(|group| group.desired_canaries > 0) {
            group.promoted = true;
            if !group.progress_deadline.is_zero() {
                group.require_progress_by = self.now.plus(group.progress_deadline);
            }
        }
        deployment.status_description = RUNNING.to_owned();
        Command::UpsertDeployment { deployment: Box::new(deployment), eval: Some(Box::new(eval)), at: self.now }
    }

    /// Unhealthy allocs that the scheduler has not been allowed to replace yet.
    fn replaceable(&self) -> Vec<AllocId> {
        let allocs = self.allocs_if_unhealthy().filter(|alloc| {
            alloc.health() == Some(false)
                && alloc.next_allocation.is_none()
                && alloc.desired_transition.reschedule != Some(true)
                && alloc.desired_status == drover_model::alloc::DesiredStatus::Run
        });
        allocs.map(|alloc| alloc.id).collect()
    }

    /// An alloc turned healthy after the last look at the job, and allocs are still to be placed.
    fn has_next_step(&self) -> bool {
        let is_placed = |group: &DeploymentState| group.placed_allocs - group.unhealthy_allocs >= group.desired_total;
        if self.deployment.task_groups.values().all(is_placed) {
            return false;
        }
        let allocs = self.snapshot.allocs_of_deployment(self.deployment.id);
        let health = allocs.filter_map(|alloc| alloc.deployment_status).filter(|health| health.healthy == Some(true));
        let Some(changed_index) = health.map(|health| health.modify_index).max() else {
            return false;
        };
        let mut evals = self.snapshot.evals_of_job(&self.deployment.job_key());
        !evals.any(|eval| match eval.status {
            EvalStatus::Pending => eval.wait_until.is_never(),
            EvalStatus::Blocked | EvalStatus::Complete | EvalStatus::Failed => eval.snapshot_index >= changed_index,
            EvalStatus::Canceled => false,
        })
    }

    fn fail(&self, job: &Job, reason: &str, reverts: bool, ids: &mut Ids) -> Command {
        let mut status_description = reason.to_owned();
        let mut rollback = None;
        if reverts {
            let found = rollback::find(self.snapshot, job);
            status_description.push_str(&found.suffix);
            rollback = found.job;
        }
        let eval = Eval { deployment_id: Some(self.deployment.id), ..ids.eval(job, EvalTrigger::DeploymentWatcher) };
        let update = self.update(DeploymentStatus::Failed, status_description);
        let change = ChangeDeployment { update, mark_stable: false, rollback, eval: Some(eval), at: self.now };
        Command::UpdateDeployment(Box::new(change))
    }

    fn change(&self, status: DeploymentStatus, description: String) -> Command {
        let mark_stable = status == DeploymentStatus::Successful;
        let update = self.update(status, description);
        let change = ChangeDeployment { update, mark_stable, at: self.now, ..ChangeDeployment::default() };
        Command::UpdateDeployment(Box::new(change))
    }

    fn update(&self, status: DeploymentStatus, status_description: String) -> DeploymentUpdate {
        DeploymentUpdate { deployment_id: self.deployment.id, status, status_description }
    }
}

#[cfg(test)]
mod tests;
