//! Deployments: failing and pausing one by hand.

use drover_model::deployment::{Deployment, DeploymentStatus};
use drover_model::eval::EvalTrigger;
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
    /// Raft index of the write.
    pub index: u64,
}

impl Server {
    fn active_deployment(&self, id: DeploymentId, verb: &str) -> Result<std::sync::Arc<Deployment>, Error> {
        let snapshot = self.reading().snapshot;
        let deployment = snapshot
            .deployment(id)
            .cloned()
            .ok_or_else(|| Error::Conflict("deployment not found".to_owned()))?;
        if !deployment.status.is_active() {
            return Err(Error::Conflict(format!("can't {verb} terminal deployment")));
        }
        Ok(deployment)
    }

    /// Ends a deployment as failed.
    ///
    /// # Errors
    /// It is unknown or has ended.
    pub async fn fail_deployment(&self, id: DeploymentId) -> Result<DeploymentWritten, Error> {
        let deployment = self.active_deployment(id, "fail")?;
        self.change_deployment(
            &deployment,
            DeploymentStatus::Failed,
            "Deployment marked as failed",
            true,
        )
        .await
    }

    /// Holds a deployment, or lets it go on.
    ///
    /// # Errors
    /// It is unknown or has ended.
    pub async fn pause_deployment(&self, id: DeploymentId, pause: bool) -> Result<DeploymentWritten, Error> {
        let deployment = self.active_deployment(id, "pause")?;
        if pause {
            self.change_deployment(&deployment, DeploymentStatus::Paused, "Deployment is paused", false)
                .await
        } else {
            self.change_deployment(&deployment, DeploymentStatus::Running, "Deployment is running", true)
                .await
        }
    }

    async fn change_deployment(
        &self,
        deployment: &Deployment,
        status: DeploymentStatus,
        description: &str,
        evaluate: bool,
    ) -> Result<DeploymentWritten, Error> {
        let at = clock::now();
        let snapshot = self.read(false).await?.snapshot;
        let eval = snapshot.job(&deployment.job_key()).filter(|_| evaluate).map(|job| {
            let mut eval = eval_of(job, EvalTrigger::DeploymentWatcher, Some(deployment.eval_priority), at);
            eval.deployment_id = Some(deployment.id);
            eval
        });
        let eval_id = eval.as_ref().map(|eval| eval.id);
        let update = DeploymentUpdate {
            deployment_id: deployment.id,
            status,
            status_description: description.to_owned(),
        };
        let change = ChangeDeployment {
            update,
            eval,
            at,
            ..ChangeDeployment::default()
        };
        let (index, _) = self.propose(Command::UpdateDeployment(Box::new(change))).await?;
        Ok(DeploymentWritten { eval_id, index })
    }
}
