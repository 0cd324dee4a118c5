//! The last look at a plan before it is committed: what does not fit the newest state any more is taken out.

use std::collections::{BTreeMap, BTreeSet};

use drover_model::alloc::Alloc;
use drover_model::plan::Plan;
use drover_model::{AllocId, NodeId};
use drover_state::Snapshot;

use crate::device;
use crate::fit::{self, NodeUse};
use crate::network::PortUse;
use crate::reconcile::reason;

/// What is left of a plan.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// What still fits.
    pub plan: Plan,
    /// How many placements were taken out.
    pub rejected: usize,
}

/// Checks every node of a plan against the newest state. A node on which the placements do not all fit loses them all;
/// an alloc that was to be replaced by one of them stays.
pub fn verify(newest: &Snapshot, plan: Plan) -> Verified {
    let mut nodes: BTreeMap<NodeId, Vec<&Alloc>> = BTreeMap::new();
    for alloc in &plan.placements {
        nodes.entry(alloc.node_id).or_default().push(alloc);
    }
    let mut stopped: BTreeMap<NodeId, BTreeSet<AllocId>> = BTreeMap::new();
    for alloc in plan.stops.iter().filter_map(|stop| newest.alloc(stop.alloc_id)) {
        if fit::takes_room(alloc) {
            stopped.entry(alloc.node_id).or_default().insert(alloc.id);
        }
    }
    let none = BTreeSet::new();
    let stopped = |node: &NodeId| stopped.get(node).unwrap_or(&none);
    let is_job_wanted = newest.job(&plan.job).is_some_and(|job| !job.stop);
    let refused: BTreeSet<AllocId> = nodes
        .into_iter()
        .filter(|(node, placements)| !is_job_wanted || !fits(newest, *node, placements, stopped(node)))
        .flat_map(|(_, placements)| placements.into_iter().map(|alloc| alloc.id).collect::<Vec<_>>())
        .collect();
    if refused.is_empty() {
        return Verified { plan, rejected: 0 };
    }
    if plan.all_at_once {
        let rejected = plan.placements.len();
        let plan = Plan {
            stops: Vec::new(),
            placements: Vec::new(),
            updates: Vec::new(),
            deployment: None,
            deployment_updates: Vec::new(),
            ..plan
        };
        return Verified { plan, rejected };
    }
    Verified { rejected: refused.len(), plan: without(plan, &refused) }
}

fn without(mut plan: Plan, refused: &BTreeSet<AllocId>) -> Plan {
    plan.placements.retain(|alloc| !refused.contains(&alloc.id));
    plan.stops.retain_mut(|stop| {
        let is_refused = stop.next_alloc.is_some_and(|next| refused.contains(&next));
        if is_refused {
            stop.next_alloc = None;
        }
        let only_for_its_successor =
            matches!(stop.desired_description.as_str(), reason::UPDATING | reason::RESCHEDULED);
        !(is_refused && only_for_its_successor && stop.client_status.is_none())
    });
    plan
}

/// `stopped` are those of the node's allocs that take room and that the plan stops.
fn fits(newest: &Snapshot, node: NodeId, placements: &[&Alloc], stopped: &BTreeSet<AllocId>) -> bool {
    let Some(node) = newest.node(node).filter(|node| node.is_ready()) else {
        return false;
    };
    let is_stopped = |id: AllocId| stopped.contains(&id);
    let mut used = NodeUse::of_node(newest, node.id, is_stopped, Some(PortUse::of_node(node)));
    for alloc in stopped.iter().filter_map(|id| newest.alloc(*id)) {
        used.totals.subtract(alloc.allocated_resources.totals());
        used.allocs -= 1;
    }
    let mut is_free = true;
    for alloc in placements {
        is_free &= used.add(&alloc.allocated_resources) && device::are_there(node, &alloc.allocated_resources);
    }
    let has_places = node.node_max_allocs <= 0 || used.allocs <= node.node_max_allocs;
    is_free && has_places && fit::overrun(&fit::capacity(node), &used.totals).is_none()
}
