//! Blocked evals wake when there is room they may use.
//!
//! Room comes from a node that is ready and from an alloc that has ended. An eval that turns blocked after the room
//! came is found by the indexes: it was made on an older snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use drover_model::eval::{Eval, EvalStatus};
use drover_model::node::Node;
use drover_model::{EvalId, NodeId, Timestamp};
use drover_state::{Change, Command, Events, NodeLoad, Snapshot, Table};

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
    let nodes: BTreeMap<NodeId, &Arc<Node>> = nodes.map(|node| (node.id, node)).collect();
    let mut woken: BTreeMap<EvalId, &Arc<Eval>> = BTreeMap::new();
    if !nodes.is_empty() {
        // What a class may run all of its nodes may: there may be as many nodes as there are evals, but few classes.
        let classes: BTreeSet<&str> = nodes.values().map(|node| node.computed_class.as_str()).collect();
        let may_run = |eval: &&Arc<Eval>| match eval.node_id {
            Some(id) => nodes.get(&id).is_some_and(|node| may_use(eval, node)),
            None => classes.iter().any(|class| may_use_class(eval, class)),
        };
        woken.extend(snapshot.blocked_evals().filter(may_run).map(|eval| (eval.id, eval)));
    }
    let mut room = Room::new(snapshot);
    woken.extend(blocked.into_iter().filter(|eval| room.was_missed_by(eval)).map(|eval| (eval.id, eval)));
    wake(woken.into_values(), now)
}

/// The blocked evals for which room came while nobody led; a new leader wakes them.
pub fn missed(snapshot: &Snapshot, now: Timestamp) -> Vec<Command> {
    let mut room = Room::new(snapshot);
    wake(snapshot.blocked_evals().filter(|eval| room.was_missed_by(eval)), now)
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
    eval.node_id.is_none_or(|id| id == node.id) && may_use_class(eval, &node.computed_class)
}

fn may_use_class(eval: &Eval, class: &str) -> bool {
    eval.escaped_computed_class || eval.class_eligibility.get(class).is_none_or(|may| *may)
}

/// When room came where.
struct Room<'a> {
    snapshot: &'a Snapshot,
    /// The ready nodes with the raft index at which room last came there, the latest first; looked for when somebody asks.
    latest: Option<Vec<(u64, &'a Node)>>,
}

impl<'a> Room<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, latest: None }
    }

    /// Room came after the snapshot that the eval was made on.
    fn was_missed_by(&mut self, eval: &Eval) -> bool {
        let (snapshot, since) = (self.snapshot, eval.snapshot_index);
        // Nothing changed at all since: the usual case costs nothing.
        if snapshot.table_index(Table::Nodes) <= since && snapshot.table_index(Table::Allocs) <= since {
            return false;
        }
        let latest = self.latest.get_or_insert_with(|| {
            let ready = snapshot.nodes().filter(|node| node.is_ready());
            let index_of = |node: &Node| {
                let freed_index = snapshot.load_of_node(node.id).map_or(0, NodeLoad::freed_index);
                node.modify_index.max(freed_index)
            };
            let mut latest: Vec<(u64, &Node)> = ready.map(|node| (index_of(node), &**node)).collect();
            latest.sort_by_key(|(index, _)| std::cmp::Reverse(*index));
            latest
        });
        latest.iter().take_while(|(index, _)| *index > since).any(|(_, node)| may_use(eval, node))
    }
}

#[cfg(test)]
mod tests;
