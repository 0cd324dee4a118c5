//! Readers of allocs.

use std::sync::Arc;

use drover_model::alloc::Alloc;
use drover_model::{AllocId, DeploymentId, EvalId, JobKey, NodeId};
use imbl::OrdSet;

use crate::state::State;

impl State {
    /// An alloc.
    pub fn alloc(&self, id: AllocId) -> Option<&Arc<Alloc>> {
        self.allocs.get(&id)
    }

    /// All allocs by id.
    pub fn allocs(&self) -> impl Iterator<Item = &Arc<Alloc>> {
        self.allocs.values()
    }

    /// The allocs of a job by id, also those of an earlier job of the same name.
    pub fn allocs_of_job<'a>(&'a self, key: &JobKey) -> impl Iterator<Item = &'a Arc<Alloc>> + use<'a> {
        self.named(self.of_job.get(key).map(|of_job| &of_job.allocs))
    }

    /// The allocs on a node by id.
    pub fn allocs_of_node(&self, id: NodeId) -> impl Iterator<Item = &Arc<Alloc>> {
        self.named(self.allocs_of_node.get(&id))
    }

    /// The allocs that an eval placed or last changed, by id.
    pub fn allocs_of_eval(&self, id: EvalId) -> impl Iterator<Item = &Arc<Alloc>> {
        self.named(self.allocs_of_eval.get(&id))
    }

    /// The allocs that count in a deployment, by id.
    pub fn allocs_of_deployment(&self, id: DeploymentId) -> impl Iterator<Item = &Arc<Alloc>> {
        self.named(self.allocs_of_deployment.get(&id))
    }

    fn named<'a>(&'a self, ids: Option<&'a OrdSet<AllocId>>) -> impl Iterator<Item = &'a Arc<Alloc>> + use<'a> {
        ids.into_iter().flat_map(OrdSet::iter).filter_map(|id| self.allocs.get(id))
    }
}
