//! Blocked evals wake when there is room they may use.
//!
//! Room comes from a node that is ready and from an alloc that has ended. An eval that turns blocked after the room
//! came is found by the indexes: it was made on an older snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use drover_model::alloc::Alloc;
use drover_model::eval::{Eval, EvalStatus};
use drover_model::node::Node;
use drover_model::{EvalId, NodeId, Timestamp};
use drover_state::{Change, Command, Events, Snapshot, Table};

/// The most evals in one command: the log takes no entry of any length.
const EVALS_PER_COMMAND_MAX: usize = 256;

/// The evals that these events wake.
pub fn step(snapshot: &Snapshot, events: &Events, now: Timestamp) -> Vec<Command> {
    let mut roomy: BTreeSet<NodeId> = BTreeSet::new();
    let mut blocked: Vec<&Arc<Eval>> = Vec::new();
    for change in &events.changes {
        match change {
            Change::Node(id) => {
                roomy.insert(*id);
            }
            Change::Alloc { id, node, .. } => {
                if snapshot.alloc(*id).is_none_or(|alloc| alloc.is_client_terminal()) {
                    roomy.insert(*node);
                }
            }
            Change::Eval { id, .. } => {
                blocked.extend(snapshot.eval(*id).filter(|eval| eval.status == EvalStatus::Blocked));
            }
            Change::Job(_)
            | Change::Deployment { .. }
            | Change::JoinTokens
            | Change::Namespace(_)
            | Change::SchedulerConfig => {}
        }
    }
    let nodes = roomy.into_iter().filter_map(|id| snapshot.node(id)).filter(|node| node.is_ready());
    let nodes: Vec<&Arc<Node>> = nodes.collect();
    let mut woken: BTreeMap<EvalId, &Arc<Eval>> = BTreeMap::new();
    if !nodes.is_empty() {
        let may_run = snapshot.blocked_evals().filter(|eval| nodes.iter().any(|node| may_use(eval, node)));
        woken.extend(may_run.map(|eval| (eval.id, eval)));
    }
    woken.extend(blocked.into_iter().filter(|eval| has_missed_room(snapshot, eval)).map(|eval| (eval.id, eval)));
    wake(woken.into_values(), now)
}

/// The blocked evals for which room came while nobody led; a new leader wakes them.
pub fn missed(snapshot: &Snapshot, now: Timestamp) -> Vec<Command> {
    wake(snapshot.blocked_evals().filter(|eval| has_missed_room(snapshot, eval)), now)
}

fn wake<'a>(evals: impl Iterator<Item = &'a Arc<Eval>>, at: Timestamp) -> Vec<Command> {
    let pending =
        |eval: &Arc<Eval>| Eval { status: EvalStatus::Pending, status_description: String::new(), ..Eval::clone(eval) };
    let evals: Vec<Eval> = evals.map(pending).collect();
    let parts = evals.chunks(EVALS_PER_COMMAND_MAX);
    parts.map(|evals| Command::UpsertEvals { evals: evals.to_vec(), at }).collect()
}

/// The eval was not kept off this node's class by constraints.
fn may_use(eval: &Eval, node: &Node) -> bool {
    let is_its_node = eval.node_id.is_none_or(|id| id == node.id);
    is_its_node
        && (eval.escaped_computed_class || eval.class_eligibility.get(&node.computed_class).is_none_or(|may| *may))
}

/// Room came after the snapshot that the eval was made on.
fn has_missed_room(snapshot: &Snapshot, eval: &Eval) -> bool {
    let since = eval.snapshot_index;
    // Nothing changed at all since: the usual case costs nothing.
    if snapshot.table_index(Table::Nodes) <= since && snapshot.table_index(Table::Allocs) <= since {
        return false;
    }
    let mut nodes = snapshot.nodes().filter(|node| node.is_ready() && may_use(eval, node));
    nodes.any(|node| {
        let has_ended = |alloc: &Alloc| alloc.is_client_terminal() && alloc.modify_index > since;
        node.modify_index > since || snapshot.allocs_of_node(node.id).any(|alloc| has_ended(alloc))
    })
}

#[cfg(test)]
mod tests;
