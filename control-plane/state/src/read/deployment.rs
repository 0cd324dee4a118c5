//! Readers of deployments.

use std::sync::Arc;

use drover_model::deployment::Deployment;
use drover_model::{DeploymentId, JobKey};

use crate::state::State;

impl State {
    /// A deployment.
    pub fn deployment(&self, id: DeploymentId) -> Option<&Arc<Deployment>> {
        self.deployments.get(&id)
    }

    /// All deployments by id.
    pub fn deployments(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        self.deployments.values()
    }

    /// The deployments that have not ended, by id.
    pub fn active_deployments(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        self.active_deployments.iter().filter_map(|id| self.deployments.get(id))
    }

    /// The deployments of a job by id, also those of an earlier job of the same name.
    pub fn deployments_of_job<'a>(&'a self, key: &JobKey) -> impl Iterator<Item = &'a Arc<Deployment>> + use<'a> {
        let ids = self.of_job.get(key).into_iter().flat_map(|of_job| of_job.deployments.iter());
        ids.filter_map(|id| self.deployments.get(id))
    }

    /// The deployments of a job that have not ended, by id.
    pub fn active_deployments_of_job<'a>(
        &'a self,
        key: &JobKey,
    ) -> impl Iterator<Item = &'a Arc<Deployment>> + use<'a> {
        let of_job = self.of_job.get(key).filter(|of_job| of_job.active_deployments > 0);
        let ids = of_job.into_iter().flat_map(|of_job| of_job.deployments.iter());
        ids.filter_map(|id| self.deployments.get(id)).filter(|deployment| deployment.status.is_active())
    }

    /// The youngest deployment of a job.
    pub fn latest_deployment(&self, key: &JobKey) -> Option<&Arc<Deployment>> {
        self.deployments_of_job(key).max_by_key(|deployment| (deployment.create_index, deployment.id))
    }
}
