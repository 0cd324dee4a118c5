//! Evals of the jobs that a node's change concerns: those with allocs on it, and those that want to be on every node.

use std::collections::BTreeMap;
use std::sync::Arc;

use drover_model::eval::{Eval, EvalTrigger};
use drover_model::job::Job;
use drover_model::{JobKey, NodeId, Timestamp};
use drover_state::Snapshot;

use crate::new_eval::Ids;

/// One eval per job concerned. The node may be one that is just registering.
pub fn evals(snapshot: &Snapshot, node_id: NodeId, trigger: EvalTrigger, _now: Timestamp, seed: u64) -> Vec<Eval> {
    make(snapshot, node_id, trigger, &mut Ids::new(seed))
}

pub(crate) fn make(snapshot: &Snapshot, node_id: NodeId, trigger: EvalTrigger, ids: &mut Ids) -> Vec<Eval> {
    let mut jobs: BTreeMap<JobKey, &Arc<Job>> = BTreeMap::new();
    for alloc in snapshot.allocs_of_node(node_id).filter(|alloc| !alloc.is_client_terminal()) {
        // Also of a job that was purged: what is left of it has to be settled when the node is gone.
        let job = snapshot.job(&alloc.job_key()).or_else(|| snapshot.job_of_alloc(alloc));
        jobs.extend(job.map(|job| (job.key(), job)));
    }
    jobs.extend(snapshot.system_jobs().filter(|job| !job.stop).map(|job| (job.key(), job)));
    let node_modify_index = snapshot.node(node_id).map_or(0, |node| node.modify_index);
    let eval = |job: &Arc<Job>| Eval { node_id: Some(node_id), node_modify_index, ..ids.eval(job, trigger) };
    jobs.into_values().map(eval).collect()
}

#[cfg(test)]
mod tests;
