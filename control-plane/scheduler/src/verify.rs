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
    let stopped: BTreeSet<AllocId> = plan.stops.iter().map(|stop| stop.alloc_id).collect();
    let is_job_wanted = newest.job(&plan.job).is_some_and(|job| !job.stop);
    let refused: BTreeSet<AllocId> = nodes
        .into_iter()
        .filter(|(node, placements)| !is_job_wanted || !fits(newest, *node, placements, &stopped))
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

fn fits(newest: &Snapshot, node: NodeId, placements: &[&Alloc], stopped: &BTreeSet<AllocId>) -> bool {
    let Some(node) = newest.node(node).filter(|node| node.is_ready()) else {
        return false;
    };
    let mut used = NodeUse { ports: Some(PortUse::of_node(node)), ..NodeUse::default() };
    let known = newest.allocs_of_node(node.id);
    for alloc in known.filter(|alloc| fit::takes_room(alloc) && !stopped.contains(&alloc.id)) {
        used.add(&alloc.allocated_resources);
    }
    let mut is_free = true;
    for alloc in placements {
        is_free &= used.add(&alloc.allocated_resources) && device::are_there(node, &alloc.allocated_resources);
    }
    let has_places = node.node_max_allocs <= 0 || used.allocs <= node.node_max_allocs;
    is_free && has_places && fit::overrun(&fit::capacity(node), &used.totals).is_none()
}
