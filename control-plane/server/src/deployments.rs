//! Deployments: failing and pausing one by hand.

use std::sync::Arc;

use drover_leader::rollback;
use drover_model::deployment::{Deployment, DeploymentStatus};
use drover_model::eval::EvalTrigger;
use drover_model::job::Job;
use drover_model::plan::DeploymentUpdate;
use drover_model::{DeploymentId, EvalId};
use drover_state::{ChangeDeployment, Command};

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

/// A change of a deployment's status, in full.
struct Change {
    status: DeploymentStatus,
    description: String,
    rollback: Option<Arc<Job>>,
    /// Look at the job again.
    evaluate: bool,
}

impl Server {
    fn active_deployment(&self, id: DeploymentId, verb: &str) -> Result<Arc<Deployment>, Error> {
        let snapshot = self.reading().snapshot;
        let missing = || Error::Conflict("deployment not found".to_owned());
        let deployment = snapshot.deployment(id).cloned().ok_or_else(missing)?;
        if !deployment.status.is_active() {
            return Err(Error::Conflict(format!("can't {verb} terminal deployment")));
        }
        Ok(deployment)
    }

    /// Ends a deployment as failed, and goes back to the last stable version where the job asks for that.
    ///
    /// # Errors
    /// It is unknown or has ended.
    pub async fn fail_deployment(&self, id: DeploymentId) -> Result<DeploymentWritten, Error> {
        let deployment = self.active_deployment(id, "fail")?;
        let snapshot = self.reading().snapshot;
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
        let deployment = self.active_deployment(id, "pause")?;
        let (status, description) = if pause {
            (DeploymentStatus::Paused, "Deployment is paused")
        } else {
            (DeploymentStatus::Running, "Deployment is running")
        };
        let change = Change { status, description: description.to_owned(), rollback: None, evaluate: !pause };
        self.change_deployment(&deployment, change).await
    }

    async fn change_deployment(&self, deployment: &Deployment, change: Change) -> Result<DeploymentWritten, Error> {
        let at = clock::now();
        let snapshot = self.read(false).await?.snapshot;
        // Zero says that none was asked for.
        let priority = Some(deployment.eval_priority).filter(|priority| *priority > 0);
        let eval = snapshot.job(&deployment.job_key()).filter(|_| change.evaluate).map(|job| {
            let mut eval = eval_of(job, EvalTrigger::DeploymentWatcher, priority, at);
            eval.deployment_id = Some(deployment.id);
            eval
        });
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
