//! Collection: forgetting what has ended. Whoever proposes looked at an older state, so each thing is checked again.

use drover_model::job::JobStatus;
use drover_model::node::NodeStatus;
use drover_model::{AllocId, DeploymentId, EvalId, JobKey, NodeId};

use super::Applying;
use crate::event::Change;
use crate::state::Table;

impl Applying<'_> {
    pub(super) fn collect_evals(&mut self, ids: Vec<EvalId>) {
        for id in ids {
            if self.state.evals.get(&id).is_none_or(|eval| !eval.status.is_terminal()) {
                continue;
            }
            if let Some(eval) = self.state.remove_eval(id) {
                self.jobs.insert(eval.job_key());
                self.changed(Table::Evals, Change::Eval { id, job: eval.job_key() });
            }
        }
    }

    pub(super) fn collect_allocs(&mut self, ids: Vec<AllocId>) {
        for id in ids {
            let has_ended = |alloc: &drover_model::alloc::Alloc| {
                // Nobody will ever report what became of an alloc whose node was forgotten.
                alloc.is_client_terminal() || alloc.is_terminal() && !self.state.nodes.contains_key(&alloc.node_id)
            };
            if self.state.allocs.get(&id).is_none_or(|alloc| !has_ended(alloc)) {
                continue;
            }
            if let Some(alloc) = self.state.remove_alloc(id) {
                let job = alloc.job_key();
                self.jobs.insert(job.clone());
                self.shrunk.insert(job.clone());
                let change = Change::Alloc { id, node: alloc.node_id, job, eval: alloc.eval_id, desired: true };
                self.changed(Table::Allocs, change);
            }
        }
    }

    pub(super) fn collect_deployments(&mut self, ids: Vec<DeploymentId>) {
        for id in ids {
            if self.state.deployments.get(&id).is_none_or(|deployment| deployment.status.is_active()) {
                continue;
            }
            if let Some(deployment) = self.state.remove_deployment(id) {
                self.jobs.insert(deployment.job_key());
                self.shrunk.insert(deployment.job_key());
                self.changed(Table::Deployments, Change::Deployment { id, job: deployment.job_key() });
            }
        }
    }

    pub(super) fn collect_jobs(&mut self, keys: Vec<JobKey>) {
        for key in keys {
            let Some(job) = self.state.jobs.get(&key) else { continue };
            let is_in_use = self
                .state
                .of_job
                .get(&key)
                .is_some_and(|of_job| of_job.live_allocs + of_job.open_evals.len() + of_job.active_deployments > 0);
            let is_tagged = self.state.job_versions(&key).iter().any(|version| version.version_tag.is_some());
            if job.status == JobStatus::Dead && !is_in_use && !is_tagged {
                self.forget_job(&key);
            }
        }
    }

    pub(super) fn collect_nodes(&mut self, ids: Vec<NodeId>) {
        for id in ids {
            let is_down = self.state.nodes.get(&id).is_some_and(|node| node.status == NodeStatus::Down);
            if is_down && self.state.allocs_of_node(id).all(|alloc| alloc.is_terminal()) {
                self.state.nodes.remove(&id);
                self.changed(Table::Nodes, Change::Node(id));
            }
        }
    }
}
