//! Deployments as the scheduler sees them: when one is made or cancelled, and how far it lets a new version go.

use std::collections::BTreeMap;
use std::sync::Arc;

use drover_model::alloc::Alloc;
use drover_model::deployment::{Deployment, DeploymentState, DeploymentStatus};
use drover_model::group::Group;
use drover_model::job::{Job, JobType};
use drover_model::plan::DeploymentUpdate;
use drover_model::policy::UpdateStrategy;
use drover_model::{DeploymentId, JobKey};
use drover_state::Snapshot;

use crate::reconcile::Input;

/// What becomes of the job's deployments.
#[derive(Clone, Debug, Default)]
pub struct Rollout {
    /// The new one, once finished.
    pub deployment: Option<Deployment>,
    /// Changes of old ones.
    pub updates: Vec<DeploymentUpdate>,
    groups: BTreeMap<String, DeploymentState>,
}

impl Rollout {
    /// The group takes part in a new deployment, with that many allocs to become healthy.
    pub fn add_group(&mut self, group: &Group, update: &UpdateStrategy, total: usize, with_canaries: bool) {
        let state = DeploymentState {
            auto_revert: update.auto_revert,
            auto_promote: with_canaries && update.auto_promote,
            progress_deadline: update.progress_deadline,
            desired_canaries: if with_canaries { update.canary } else { 0 },
            desired_total: total as i64,
            ..DeploymentState::default()
        };
        self.groups.insert(group.name.clone(), state);
    }

    /// True when the group takes part in a new deployment.
    pub fn has_group(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// Makes the new deployment, when any group takes part in one.
    pub fn finish(&mut self, job: &Job, id: DeploymentId, input: &Input<'_>) {
        if self.groups.is_empty() {
            return;
        }
        let mut deployment = Deployment {
            id,
            namespace: job.namespace.clone(),
            job_id: job.id.clone(),
            job_version: job.version,
            job_modify_index: job.modify_index,
            job_spec_modify_index: job.job_modify_index,
            job_create_index: job.create_index,
            task_groups: std::mem::take(&mut self.groups),
            status: DeploymentStatus::Running,
            eval_priority: input.eval.priority,
            create_time: input.now,
            modify_time: input.now,
            ..Deployment::default()
        };
        let waits = |state: &&DeploymentState| state.desired_canaries > 0;
        deployment.status_description = match deployment.requires_promotion() {
            false => "Deployment is running",
            true if deployment.task_groups.values().filter(waits).all(|state| state.auto_promote) => {
                "Deployment is running pending automatic promotion"
            }
            true => "Deployment is running but requires manual promotion",
        }
        .to_owned();
        self.deployment = Some(deployment);
    }
}

/// Ends the deployments of older versions, or all when the job is stopped or gone.
pub fn cancellations(snapshot: &Snapshot, key: &JobKey, job: Option<&Job>) -> Vec<DeploymentUpdate> {
    let is_over = |deployment: &Deployment| job.is_none_or(|job| !is_of(deployment, job));
    let why = if job.is_some() { "Cancelled due to newer version of job" } else { "Cancelled because job is stopped" };
    let active = snapshot.deployments_of_job(key).filter(|deployment| deployment.status.is_active());
    active
        .filter(|deployment| is_over(deployment))
        .map(|deployment| DeploymentUpdate {
            deployment_id: deployment.id,
            status: DeploymentStatus::Cancelled,
            status_description: why.to_owned(),
        })
        .collect()
}

/// The deployment of the job's newest version, whatever became of it.
pub fn current<'a>(snapshot: &'a Snapshot, job: &Job) -> Option<&'a Deployment> {
    snapshot.latest_deployment(&job.key()).map(|deployment| &**deployment).filter(|deployment| is_of(deployment, job))
}

fn is_of(deployment: &Deployment, job: &Job) -> bool {
    deployment.job_version == job.version && deployment.job_create_index == job.create_index
}

/// How a group's new versions roll out; none when all allocs change at once.
pub fn strategy<'a>(job: &Job, group: &'a Group) -> Option<&'a UpdateStrategy> {
    let has_deployments = matches!(job.kind, JobType::Service | JobType::System);
    group.update.as_ref().filter(|update| has_deployments && update.max_parallel > 0)
}

/// Where the deployment of the newest version stands for one group.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stage {
    /// Its canaries were promoted.
    pub is_promoted: bool,
    /// It failed or is paused: nothing new starts.
    pub is_held: bool,
    waits_for_promotion: bool,
    deployment_id: Option<DeploymentId>,
}

impl Stage {
    /// Reads where the deployment stands for the group.
    pub fn of(deployment: Option<&Deployment>, group: &Group) -> Self {
        let Some(deployment) = deployment else {
            return Self::default();
        };
        let is_held = matches!(deployment.status, DeploymentStatus::Failed | DeploymentStatus::Paused);
        let state = deployment.task_groups.get(&group.name);
        let has_canaries = state.is_some_and(|state| state.desired_canaries > 0);
        let is_promoted = has_canaries && state.is_some_and(|state| state.promoted);
        Self {
            is_promoted,
            is_held,
            waits_for_promotion: has_canaries && !is_promoted && deployment.status.is_active(),
            deployment_id: Some(deployment.id),
        }
    }

    /// Canaries run beside the old allocs.
    pub fn is_canarying(&self) -> bool {
        self.waits_for_promotion
    }

    /// How many allocs may be replaced now, when `starting` others start anyway.
    pub fn limit(&self, strategy: Option<&UpdateStrategy>, live: &[Arc<Alloc>], starting: usize) -> usize {
        if self.is_held {
            return 0;
        }
        let Some(strategy) = strategy else { return usize::MAX };
        let max_parallel = usize::try_from(strategy.max_parallel).unwrap_or(0);
        let in_deployment =
            || live.iter().filter(|alloc| self.deployment_id.is_some() && alloc.deployment_id == self.deployment_id);
        if in_deployment().any(|alloc| alloc.health() == Some(false)) {
            return 0;
        }
        let undecided = in_deployment().filter(|alloc| alloc.health().is_none()).count();
        max_parallel.saturating_sub(undecided).saturating_sub(starting)
    }
}
