//! Deployments: their status, their counts as allocs come and turn healthy, promotion and rollback.

use std::sync::Arc;

use drover_model::alloc::{Alloc, AllocHealth};
use drover_model::deployment::{Deployment, DeploymentState, DeploymentStatus};
use drover_model::plan::DeploymentUpdate;
use drover_model::{AllocId, DeploymentId, Timestamp};

use super::{Applying, not_found};
use crate::command::{ChangeDeployment, Refusal, SetAllocHealth};
use crate::event::Change;
use crate::state::Table;

impl Applying<'_> {
    pub(super) fn change_deployment(&mut self, change: ChangeDeployment) -> Result<(), Refusal> {
        let ChangeDeployment { update, mark_stable, rollback, eval, at } = change;
        let deployment = self.set_deployment_status(&update, at)?;
        let key = deployment.job_key();
        let Some(job) = self.state.jobs.get(&key).cloned() else {
            return Ok(());
        };
        let is_same_job = job.create_index == deployment.job_create_index;
        if mark_stable && is_same_job {
            // The version may have been forgotten; then nobody can go back to it anyway.
            let _forgotten = self.set_job_stability(&key, deployment.job_version, true);
        }
        let mut job_modify_index = job.job_modify_index;
        if let Some(rollback) = rollback
            && is_same_job
            && !job.stop
            && rollback.key() == key
        {
            let current = self.state.jobs.get(&key).cloned();
            let text = self.state.submission(&key, rollback.version).cloned();
            let version;
            (job_modify_index, version) = self.put_registered((*rollback).clone(), current.as_deref(), at);
            if let Some(text) = text {
                self.state.set_submission(key.clone(), version, text);
            }
        }
        self.put_job_eval(eval, job_modify_index, at);
        Ok(())
    }

    /// Takes over what an operator says of allocs; refused as a whole when one is not the deployment's.
    pub(super) fn set_alloc_health(&mut self, health: SetAllocHealth) -> Result<(), Refusal> {
        let SetAllocHealth { deployment_id, healthy, unhealthy, eval, failure, at } = health;
        let deployment = self.active_deployment(deployment_id)?;
        let said = healthy.into_iter().map(|id| (id, true)).chain(unhealthy.into_iter().map(|id| (id, false)));
        let said: Vec<(AllocId, bool)> = said.collect();
        for (id, _) in &said {
            let found = self.state.allocs.get(id);
            let alloc = found.ok_or_else(|| Refusal::Conflict { reason: format!("unknown alloc \"{id}\"") })?;
            if alloc.deployment_id != Some(deployment_id) {
                let reason = format!("alloc \"{id}\" is not part of deployment \"{deployment_id}\"");
                return Err(Refusal::Conflict { reason });
            }
        }
        for (id, is_healthy) in said {
            let Some(old) = self.state.allocs.get(&id).cloned() else { continue };
            let canary = old.is_canary();
            let status = AllocHealth { healthy: Some(is_healthy), timestamp: at, canary, modify_index: self.index };
            let alloc = Alloc { deployment_status: Some(status), ..Alloc::clone(&old) };
            self.count_in_deployment(Some(&old), &alloc, at);
            self.put_alloc(alloc, true, at);
        }
        let job_modify_index = self.state.jobs.get(&deployment.job_key()).map(|job| job.job_modify_index);
        match failure {
            Some(failure) => {
                let update = DeploymentUpdate { deployment_id, ..failure.update };
                self.change_deployment(ChangeDeployment { update, eval, at, ..failure })?;
            }
            None => self.put_job_eval(eval, job_modify_index.unwrap_or_default(), at),
        }
        Ok(())
    }

    /// Changes where an active deployment stands.
    pub(super) fn set_deployment_status(
        &mut self,
        update: &DeploymentUpdate,
        at: Timestamp,
    ) -> Result<Deployment, Refusal> {
        let mut deployment = self.active_deployment(update.deployment_id)?;
        let is_resumed = deployment.status == DeploymentStatus::Paused && update.status == DeploymentStatus::Running;
        deployment.status = update.status;
        deployment.status_description.clone_from(&update.status_description);
        if is_resumed {
            for group in deployment.task_groups.values_mut().filter(|group| !group.progress_deadline.is_zero()) {
                group.require_progress_by = at.plus(group.progress_deadline);
            }
        }
        self.put_deployment(deployment.clone(), at);
        Ok(deployment)
    }

    /// Takes over what a duty or an operator decided about the groups; what is counted stays as it is counted here.
    pub(super) fn upsert_deployment(&mut self, wanted: Deployment, at: Timestamp) -> Result<(), Refusal> {
        let mut deployment = self.active_deployment(wanted.id)?;
        let mut promoted: Vec<AllocId> = Vec::new();
        for (name, group) in &mut deployment.task_groups {
            let Some(wanted) = wanted.task_groups.get(name) else {
                continue;
            };
            if wanted.promoted && !group.promoted {
                promoted.extend(&group.placed_canaries);
            }
            *group = DeploymentState {
                placed_canaries: std::mem::take(&mut group.placed_canaries),
                placed_allocs: group.placed_allocs,
                healthy_allocs: group.healthy_allocs,
                unhealthy_allocs: group.unhealthy_allocs,
                require_progress_by: wanted.require_progress_by.max(group.require_progress_by),
                ..wanted.clone()
            };
        }
        deployment.status = wanted.status;
        deployment.status_description = wanted.status_description;
        self.put_deployment(deployment, at);
        for id in promoted {
            let Some(alloc) = self.state.allocs.get(&id).filter(|alloc| alloc.is_canary()) else {
                continue;
            };
            let mut alloc = Alloc::clone(alloc);
            if let Some(health) = &mut alloc.deployment_status {
                *health = AllocHealth { canary: false, modify_index: self.index, ..*health };
            }
            self.put_alloc(alloc, true, at);
        }
        Ok(())
    }

    fn active_deployment(&self, id: DeploymentId) -> Result<Deployment, Refusal> {
        let deployment = self.state.deployments.get(&id).ok_or_else(|| not_found("deployment"))?;
        if !deployment.status.is_active() {
            let reason = format!("deployment has terminal status \"{}\"", deployment.status.as_str());
            return Err(Refusal::Conflict { reason });
        }
        Ok(Deployment::clone(deployment))
    }

    /// The deployment is known and is one of the alloc's job.
    pub(super) fn is_deployment_of(&self, id: DeploymentId, alloc: &Alloc) -> bool {
        self.state.deployments.get(&id).is_some_and(|deployment| {
            deployment.job_create_index == alloc.job_create_index && deployment.job_key() == alloc.job_key()
        })
    }

    /// Counts a new alloc, one that joined, or a change of health in the alloc's deployment.
    pub(super) fn count_in_deployment(&mut self, old: Option<&Alloc>, new: &Alloc, at: Timestamp) {
        let Some(id) = new.deployment_id else { return };
        let deployment = self.state.deployments.get(&id);
        let Some(before) = deployment.and_then(|deployment| deployment.task_groups.get(&new.task_group)) else {
            return;
        };
        let mut counted = before.clone();
        let group = &mut counted;

        let stayed = old.filter(|old| old.deployment_id == Some(id));
        if stayed.is_none() {
            group.placed_allocs += 1;
            if new.is_canary() && !group.placed_canaries.contains(&new.id) {
                group.placed_canaries.push(new.id);
            }
        }
        let (old_health, new_health) = (stayed.and_then(Alloc::health), new.health());
        if old_health != new_health {
            if let Some(count) = count_of(group, old_health) {
                *count -= 1;
            }
            if let Some(count) = count_of(group, new_health) {
                *count += 1;
            }
        }
        if !group.progress_deadline.is_zero() {
            let progress_at = match (stayed, new_health) {
                (_, Some(true)) if old_health != new_health => {
                    Some(new.deployment_status.map_or(at, |health| health.timestamp))
                }
                (None, _) if group.require_progress_by.is_never() => Some(at),
                _ => None,
            };
            if let Some(progress_at) = progress_at {
                group.require_progress_by = group.require_progress_by.max(progress_at.plus(group.progress_deadline));
            }
        }
        if counted != *before {
            self.change_group(id, &new.task_group, counted, at);
        }
    }

    /// Gives a group of a deployment its new counts, in its place: there may be thousands of groups, and as many allocs of
    /// them change in one entry.
    fn change_group(&mut self, id: DeploymentId, name: &str, group: DeploymentState, at: Timestamp) {
        let Some(deployment) = self.state.deployments.get_mut(&id).map(Arc::make_mut) else {
            return;
        };
        if let Some(known) = deployment.task_groups.get_mut(name) {
            *known = group;
        }
        deployment.modify_index = self.index;
        deployment.modify_time = at;
        let job = deployment.job_key();
        self.jobs.insert(job.clone());
        self.changed(Table::Deployments, Change::Deployment { id, job });
    }
}

/// The count that a health belongs to; none while it is not known.
fn count_of(group: &mut DeploymentState, health: Option<bool>) -> Option<&mut i64> {
    match health {
        Some(true) => Some(&mut group.healthy_allocs),
        Some(false) => Some(&mut group.unhealthy_allocs),
        None => None,
    }
}
