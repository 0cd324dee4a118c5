//! Deployments: promoting, failing and pausing one by hand, and saying which of its allocs are healthy.

use std::sync::Arc;

use drover_leader::rollback;
use drover_model::deployment::{Deployment, DeploymentStatus};
use drover_model::eval::{Eval, EvalTrigger};
use drover_model::job::Job;
use drover_model::plan::DeploymentUpdate;
use drover_model::{AllocId, DeploymentId, EvalId, Timestamp};
use drover_state::{ChangeDeployment, Command, SetAllocHealth, Snapshot};

use crate::clock;
use crate::error::Error;
use crate::jobs::eval_of;
use crate::server::Server;

/// What became of a write to a deployment.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeploymentWritten {
    /// The eval that was made.
    pub eval_id: Option<EvalId>,
    /// The version that was registered again, by an automatic rollback.
    pub reverted_version: Option<u64>,
    /// Raft index of the write.
    pub index: u64,
}

/// Which groups of a deployment are promoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promote {
    /// Every one.
    All,
    /// These; a name that it does not have is passed over.
    Groups(Vec<String>),
}

/// A change of a deployment's status, in full.
struct Change {
    status: DeploymentStatus,
    description: String,
    rollback: Option<Arc<Job>>,
    /// Look at the job again.
    evaluate: bool,
}

impl Server {
    /// The deployment, as the newest state has it, with that state.
    async fn active_deployment(&self, id: DeploymentId, verb: &str) -> Result<(Snapshot, Arc<Deployment>), Error> {
        let snapshot = self.read(false).await?.snapshot;
        let missing = || Error::Conflict("deployment not found".to_owned());
        let deployment = snapshot.deployment(id).cloned().ok_or_else(missing)?;
        if !deployment.status.is_active() {
            return Err(Error::Conflict(format!("can't {verb} terminal deployment")));
        }
        Ok((snapshot, deployment))
    }

    /// Ends a deployment as failed, and goes back to the last stable version where the job asks for that.
    ///
    /// # Errors
    /// It is unknown or has ended.
    pub async fn fail_deployment(&self, id: DeploymentId) -> Result<DeploymentWritten, Error> {
        let (snapshot, deployment) = self.active_deployment(id, "fail").await?;
        let reverts = deployment.task_groups.values().any(|group| group.auto_revert);
        let found = snapshot.job(&deployment.job_key()).filter(|_| reverts).map(|job| rollback::find(&snapshot, job));
        let (job, suffix) = found.map_or((None, String::new()), |found| (found.job, found.suffix));
        let change = Change {
            status: DeploymentStatus::Failed,
            description: format!("Deployment marked as failed{suffix}"),
            rollback: job,
            evaluate: true,
        };
        self.change_deployment(&deployment, change).await
    }

    /// Holds a deployment, or lets it go on.
    ///
    /// # Errors
    /// It is unknown or has ended.
    pub async fn pause_deployment(&self, id: DeploymentId, pause: bool) -> Result<DeploymentWritten, Error> {
        let (_, deployment) = self.active_deployment(id, "pause").await?;
        let (status, description) = if pause {
            (DeploymentStatus::Paused, "Deployment is paused")
        } else {
            (DeploymentStatus::Running, "Deployment is running")
        };
        let change = Change { status, description: description.to_owned(), rollback: None, evaluate: !pause };
        self.change_deployment(&deployment, change).await
    }

    /// Lets the canaries of the named groups, or of all, become ordinary allocs.
    ///
    /// # Errors
    /// The deployment is unknown or has ended, or canaries are not healthy yet.
    pub async fn promote_deployment(&self, id: DeploymentId, groups: Promote) -> Result<DeploymentWritten, Error> {
        let at = clock::now();
        let (snapshot, deployment) = self.active_deployment(id, "promote").await?;
        let mut deployment = Deployment::clone(&deployment);
        let is_healthy = |id: &&AllocId| {
            snapshot.alloc(**id).is_some_and(|alloc| alloc.health() == Some(true) && !alloc.is_terminal())
        };
        let mut unhealthy = Vec::new();
        for (name, group) in &mut deployment.task_groups {
            let is_asked = match &groups {
                Promote::All => true,
                Promote::Groups(names) => names.contains(name),
            };
            if !is_asked || group.promoted || group.desired_canaries == 0 {
                continue;
            }
            let healthy = group.placed_canaries.iter().filter(is_healthy).count();
            if i64::try_from(healthy).is_ok_and(|healthy| healthy < group.desired_canaries) {
                unhealthy
                    .push(format!("Task group {name:?} has {healthy}/{} healthy allocations", group.desired_canaries));
                continue;
            }
            group.promoted = true;
            if !group.progress_deadline.is_zero() {
                group.require_progress_by = at.plus(group.progress_deadline);
            }
        }
        if !unhealthy.is_empty() {
            let (count, noun) = (unhealthy.len(), if unhealthy.len() == 1 { "error" } else { "errors" });
            let list: String = unhealthy.iter().map(|text| format!("\t* {text}\n")).collect();
            return Err(Error::Conflict(format!("{count} {noun} occurred:\n{list}\n")));
        }
        if deployment.status == DeploymentStatus::Running && !deployment.requires_promotion() {
            deployment.status_description = "Deployment is running".to_owned();
        }
        let eval = self.eval_of_deployment(&deployment, at);
        let written = DeploymentWritten { eval_id: eval.as_ref().map(|eval| eval.id), ..DeploymentWritten::default() };
        let command = Command::UpsertDeployment { deployment: Box::new(deployment), eval: eval.map(Box::new), at };
        let (index, _) = self.propose(command).await?;
        Ok(DeploymentWritten { index, ..written })
    }

    /// Says which allocs of a deployment are healthy and which are not. One that is not fails the deployment at once
    /// where its group wants to go back to an older version and there is one.
    ///
    /// # Errors
    /// The deployment is unknown or has ended, or an alloc is not its own.
    pub async fn set_alloc_health(
        &self,
        id: DeploymentId,
        healthy: Vec<AllocId>,
        unhealthy: Vec<AllocId>,
    ) -> Result<DeploymentWritten, Error> {
        let at = clock::now();
        let (snapshot, deployment) = self.active_deployment(id, "set health of allocations for a").await?;
        if healthy.is_empty() && unhealthy.is_empty() {
            let text = "must specify at least one healthy/unhealthy allocation ID";
            return Err(Error::Conflict(text.to_owned()));
        }
        let group_of = |id: &AllocId| deployment.task_groups.get(&snapshot.alloc(*id)?.task_group);
        let reverts = unhealthy.iter().filter_map(group_of).any(|group| group.auto_revert);
        let found = snapshot.job(&deployment.job_key()).filter(|_| reverts).map(|job| rollback::find(&snapshot, job));
        let failure = found.filter(|found| found.job.is_some()).map(|found| ChangeDeployment {
            update: DeploymentUpdate {
                deployment_id: id,
                status: DeploymentStatus::Failed,
                status_description: format!("Failed due to unhealthy allocations{}", found.suffix),
            },
            rollback: found.job,
            ..ChangeDeployment::default()
        });
        let eval = self.eval_of_deployment(&deployment, at);
        let written = DeploymentWritten {
            eval_id: eval.as_ref().map(|eval| eval.id),
            reverted_version: failure.as_ref().and_then(|failure| failure.rollback.as_ref()).map(|job| job.version),
            index: 0,
        };
        let health = SetAllocHealth { deployment_id: id, healthy, unhealthy, eval, failure, at };
        let (index, _) = self.propose(Command::SetAllocHealth(Box::new(health))).await?;
        Ok(DeploymentWritten { index, ..written })
    }

    /// Lets a deployment go on that waits for another region. One of a single region never does: nothing is done.
    ///
    /// # Errors
    /// It is unknown or has ended.
    pub async fn unblock_deployment(&self, id: DeploymentId) -> Result<DeploymentWritten, Error> {
        self.active_deployment(id, "unblock").await?;
        Ok(DeploymentWritten::default())
    }

    fn eval_of_deployment(&self, deployment: &Deployment, at: Timestamp) -> Option<Eval> {
        let snapshot = self.reading().snapshot;
        // Zero says that none was asked for.
        let priority = Some(deployment.eval_priority).filter(|priority| *priority > 0);
        let eval = |job: &Arc<Job>| Eval {
            deployment_id: Some(deployment.id),
            ..eval_of(job, EvalTrigger::DeploymentWatcher, priority, at)
        };
        snapshot.job(&deployment.job_key()).map(eval)
    }

    async fn change_deployment(&self, deployment: &Deployment, change: Change) -> Result<DeploymentWritten, Error> {
        let at = clock::now();
        let eval = if change.evaluate { self.eval_of_deployment(deployment, at) } else { None };
        let written = DeploymentWritten {
            eval_id: eval.as_ref().map(|eval| eval.id),
            reverted_version: change.rollback.as_ref().map(|job| job.version),
            index: 0,
        };
        let update = DeploymentUpdate {
            deployment_id: deployment.id,
            status: change.status,
            status_description: change.description,
        };
        let rollback = change.rollback;
        let command = ChangeDeployment { update, rollback, eval, at, ..ChangeDeployment::default() };
        let (index, _) = self.propose(Command::UpdateDeployment(Box::new(command))).await?;
        Ok(DeploymentWritten { index, ..written })
    }
}
