//! Evals that belong to a report of an edge: a failed alloc may be replaced, one that was cut off may be back.
//!
//! Freed room is [`unblock`](crate::unblock)'s, health is [`deployments`](crate::deployments)'.

use std::collections::BTreeMap;

use drover_model::alloc::{Alloc, AllocUpdate, ClientStatus, DesiredStatus};
use drover_model::eval::{Eval, EvalTrigger};
use drover_model::{JobKey, NodeId, Timestamp};
use drover_state::Snapshot;

use crate::new_eval::Ids;
use crate::replacement;

/// The evals to be sent along with these reports, at most one per job.
pub fn evals(snapshot: &Snapshot, node_id: NodeId, updates: &[AllocUpdate], now: Timestamp, seed: u64) -> Vec<Eval> {
    let mut triggers: BTreeMap<JobKey, EvalTrigger> = BTreeMap::new();
    for update in updates {
        let Some(alloc) = snapshot.alloc(update.alloc_id).filter(|alloc| alloc.node_id == node_id) else {
            continue;
        };
        if let Some(trigger) = trigger_of(snapshot, alloc, update, now) {
            triggers.insert(alloc.job_key(), trigger);
        }
    }
    let mut ids = Ids::new(seed);
    let evals = triggers.into_iter().filter_map(|(key, trigger)| Some(ids.eval(snapshot.job(&key)?, trigger)));
    evals.collect()
}

fn trigger_of(snapshot: &Snapshot, alloc: &Alloc, update: &AllocUpdate, now: Timestamp) -> Option<EvalTrigger> {
    let job = snapshot.job(&alloc.job_key()).filter(|job| !job.stop && job.create_index == alloc.job_create_index)?;
    if alloc.desired_status != DesiredStatus::Run {
        return None;
    }
    let has_failed = update.client_status == ClientStatus::Failed && !alloc.is_client_terminal();
    if has_failed {
        let policy = job.group(&alloc.task_group).and_then(|group| group.reschedule_policy.as_ref());
        return replacement::is_possible(alloc, policy, now).then_some(EvalTrigger::AllocFailure);
    }
    let is_back = alloc.client_status == ClientStatus::Unknown && update.client_status != ClientStatus::Unknown;
    is_back.then_some(EvalTrigger::Reconnect)
}

#[cfg(test)]
mod tests;
