//! Readers of allocs.

use std::sync::Arc;

use drover_model::alloc::Alloc;
use drover_model::{AllocId, DeploymentId, EvalId, JobKey, NodeId};
use imbl::OrdSet;

use crate::node_load::NodeLoad;
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

    /// How many allocs are on a node, ended ones too.
    pub fn count_on_node(&self, id: NodeId) -> usize {
        self.allocs_of_node.get(&id).map_or(0, OrdSet::len)
    }

    /// The allocs on a node of which servers want something else since that raft index, some of them maybe twice; none where
    /// that is so long ago that nobody remembers.
    pub fn wanted_on_node_since(&self, id: NodeId, index: u64) -> Option<impl Iterator<Item = &Arc<Alloc>>> {
        // What was changed before this state was read is not remembered.
        let known = (index > self.begun_index).then(|| self.recently_wanted.get(&id))?;
        let ids = match known {
            Some(recent) => Some(recent.since(index)?),
            None => None,
        };
        Some(ids.into_iter().flatten().filter_map(|id| self.allocs.get(&id)))
    }

    /// What the allocs on a node take of it; none where none ever was.
    pub fn load_of_node(&self, id: NodeId) -> Option<&NodeLoad> {
        self.loads.get(&id).map(|load| &**load)
    }

    /// The allocs on a node that hold ports, cores or devices, by id.
    pub fn holders_on_node(&self, id: NodeId) -> impl Iterator<Item = &Arc<Alloc>> {
        self.named(self.loads.get(&id).map(|load| load.holders()))
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
