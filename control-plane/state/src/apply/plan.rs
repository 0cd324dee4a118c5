//! Accepted plans: stops, changes and placements of allocs, with the deployment and the evals that belong to them.

use std::sync::Arc;

use drover_model::alloc::{Alloc, AllocHealth, DesiredStatus};
use drover_model::deployment::Deployment;
use drover_model::plan::{Plan, PlanStop, PlanUpdate};
use drover_model::resources::AllocatedResources;
use drover_model::{AllocId, Timestamp};

use super::Applying;
use crate::command::AcceptedPlan;

impl Applying<'_> {
    pub(super) fn accepted_plan(&mut self, accepted: AcceptedPlan, at: Timestamp) {
        let AcceptedPlan { plan, evals } = accepted;
        self.plan(plan, at);
        self.put_evals(evals, at);
    }

    fn plan(&mut self, plan: Plan, at: Timestamp) {
        let Plan {
            eval_id,
            priority: _,
            job: _,
            job_version,
            all_at_once: _,
            stops,
            placements,
            updates,
            deployment,
            deployment_updates,
            annotations: _,
            snapshot_index,
        } = plan;
        for update in deployment_updates {
            // One that ended meanwhile stays as it ended.
            let _ended = self.set_deployment_status(&update, at);
        }
        if let Some(deployment) = deployment {
            self.new_deployment(deployment, at);
        }
        for stop in stops {
            self.stop_alloc(stop, at);
        }
        for update in updates {
            self.update_placed(update, at);
        }
        let mut last: Option<Arc<AllocatedResources>> = None;
        for mut alloc in placements {
            alloc.eval_id = alloc.eval_id.or(Some(eval_id));
            self.share(&mut alloc, last.as_ref());
            last = Some(alloc.allocated_resources.clone());
            self.place_alloc(alloc, job_version, snapshot_index, at);
        }
    }

    fn new_deployment(&mut self, mut deployment: Deployment, at: Timestamp) {
        let key = deployment.job_key();
        let Some(job) = self.state.jobs.get(&key) else { return };
        let is_known_version = self.state.job_version(&key, deployment.job_version).is_some();
        if !is_known_version || self.state.deployments.contains_key(&deployment.id) {
            return;
        }
        deployment.job_create_index = job.create_index;
        for group in deployment.task_groups.values_mut() {
            // Counted here as allocs come.
            group.placed_canaries.clear();
            (group.placed_allocs, group.healthy_allocs, group.unhealthy_allocs) = (0, 0, 0);
            group.require_progress_by = Timestamp(0);
        }
        deployment.create_index = self.index;
        deployment.create_time = at;
        self.put_deployment(deployment, at);
    }

    fn stop_alloc(&mut self, stop: PlanStop, at: Timestamp) {
        let PlanStop { alloc_id, desired_status, desired_description, client_status, next_alloc, followup_eval } = stop;
        let Some(old) = self.state.allocs.get(&alloc_id).cloned() else {
            return;
        };
        let mut alloc = Alloc::clone(&old);
        alloc.desired_status = match desired_status {
            // A stop that asks to run is none; plain stop is what its sender can only have meant.
            DesiredStatus::Run => DesiredStatus::Stop,
            other => other,
        };
        alloc.desired_description = desired_description;
        if let Some(status) = client_status.filter(|_| !alloc.is_client_terminal()) {
            alloc.client_status = status;
        }
        alloc.next_allocation = next_alloc.or(alloc.next_allocation);
        alloc.followup_eval_id = followup_eval.or(alloc.followup_eval_id);
        if alloc != *old {
            self.put_alloc(alloc, true, at);
        }
    }

    fn update_placed(&mut self, update: PlanUpdate, at: Timestamp) {
        let PlanUpdate { alloc_id, job_version, eval_id, deployment_id, followup_eval } = update;
        let Some(old) = self.state.allocs.get(&alloc_id).cloned() else {
            return;
        };
        let mut alloc = Alloc::clone(&old);
        if let Some(version) = job_version {
            let versions = self.state.versions.get(&alloc.job_key());
            if versions.is_none_or(|versions| !versions.contains_key(&(alloc.job_create_index, version))) {
                return;
            }
            alloc.job_version = version;
        }
        alloc.eval_id = eval_id.or(alloc.eval_id);
        alloc.followup_eval_id = followup_eval.or(alloc.followup_eval_id);
        let joined = deployment_id.filter(|id| old.deployment_id != Some(*id));
        if let Some(id) = joined.filter(|id| self.is_deployment_of(*id, &alloc)) {
            // Its health counts anew: the edge looks again with the new version's settings.
            alloc.deployment_id = Some(id);
            alloc.deployment_status = None;
        }
        if alloc == *old {
            return;
        }
        // The edge has no part in which eval looks at the alloc later.
        let is_desired = alloc.job_version != old.job_version || alloc.deployment_id != old.deployment_id;
        self.count_in_deployment(Some(&old), &alloc, at);
        self.put_alloc(alloc, is_desired, at);
    }

    /// Lets an alloc say with the same memory what others say already: those of its job what it was given, those of its node the
    /// node's name.
    fn share(&self, alloc: &mut Alloc, last: Option<&Arc<AllocatedResources>>) {
        let of_job = || self.state.allocs_of_job(&alloc.job_key()).next().map(|other| &other.allocated_resources);
        let is_it = |other: &&Arc<AllocatedResources>| **other == alloc.allocated_resources;
        if let Some(known) = last.filter(is_it).or_else(|| of_job().filter(is_it)) {
            alloc.allocated_resources = known.clone();
        }
        if let Some(other) = self.state.allocs_of_node(alloc.node_id).next()
            && other.node_name == alloc.node_name
        {
            alloc.node_name = other.node_name.clone();
        }
    }

    fn place_alloc(&mut self, mut alloc: Alloc, plan_version: u64, snapshot_index: u64, at: Timestamp) {
        let key = alloc.job_key();
        let Some(job) = self.state.jobs.get(&key).cloned() else {
            return;
        };
        let is_of_other_job = alloc.job_create_index != 0 && alloc.job_create_index != job.create_index
            || snapshot_index != 0 && snapshot_index < job.create_index;
        if is_of_other_job || self.state.allocs.contains_key(&alloc.id) {
            return;
        }
        // A placement says its version when it replaces an alloc of an older one; otherwise the plan's counts.
        if alloc.job_create_index == 0 && alloc.job_version == 0 {
            alloc.job_version = plan_version;
        }
        alloc.job_create_index = job.create_index;
        if self.state.job_version(&key, alloc.job_version).is_none() {
            return;
        }
        if alloc.deployment_id.is_some_and(|id| !self.is_deployment_of(id, &alloc)) {
            alloc.deployment_id = None;
        }
        if let Some(health) = &mut alloc.deployment_status {
            *health = AllocHealth { canary: health.canary, ..AllocHealth::default() };
        }
        // One text for all allocs of the job.
        alloc.namespace = job.namespace.clone();
        alloc.job_id = job.id.clone();
        alloc.create_index = self.index;
        alloc.create_time = at;
        if let Some(previous) = alloc.previous_allocation {
            self.link_next(previous, &alloc, at);
        }
        self.count_in_deployment(None, &alloc, at);
        self.put_alloc(alloc, true, at);
    }

    /// Tells an alloc which one took its place.
    fn link_next(&mut self, previous: AllocId, alloc: &Alloc, at: Timestamp) {
        let Some(old) = self.state.allocs.get(&previous) else {
            return;
        };
        if old.next_allocation == Some(alloc.id) {
            return;
        }
        let old = Alloc { next_allocation: Some(alloc.id), ..Alloc::clone(old) };
        self.put_alloc(old, false, at);
    }
}
