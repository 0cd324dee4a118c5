//! Nodes: registration, status, eligibility.

use std::collections::BTreeMap;

use drover_model::node::{DriverInfo, Eligibility, Node, NodeEvent, NodeStatus};
use drover_model::{NodeId, Timestamp};

use super::{Applying, not_found};
use crate::command::Refusal;
use crate::event::Change;
use crate::state::Table;

/// The most events kept per node.
pub const NODE_EVENTS_MAX: usize = 10;

impl Applying<'_> {
    pub(super) fn register_node(&mut self, node: Node, at: Timestamp) {
        let Some(existing) = self.state.nodes.get(&node.id).cloned() else {
            let mut node = Node { create_index: self.index, status_updated_at: at.seconds(), ..node };
            node.events.clear();
            self.push_event(&mut node, "Node registered", at);
            return self.put_node(node);
        };
        // What operators and servers decided stays; the rest is as the node describes itself now.
        let mut node = Node {
            scheduling_eligibility: existing.scheduling_eligibility,
            drain_strategy: existing.drain_strategy.clone(),
            last_drain: existing.last_drain.clone(),
            events: existing.events.clone(),
            status_updated_at: existing.status_updated_at,
            last_alloc_update_index: existing.last_alloc_update_index,
            last_missed_heartbeat_index: existing.last_missed_heartbeat_index,
            create_index: existing.create_index,
            modify_index: existing.modify_index,
            ..node
        };
        if node == *existing {
            return;
        }
        if node.status != existing.status {
            node.status_updated_at = at.seconds();
            if existing.status == NodeStatus::Down {
                self.push_event(&mut node, "Node re-registered", at);
            }
        }
        for (name, driver) in node.drivers.clone() {
            let as_before = |before: &DriverInfo| {
                before.healthy == driver.healthy && before.health_description == driver.health_description
            };
            // One that was not known before is no change of what it is.
            if existing.drivers.get(&name).is_some_and(|before| !as_before(before))
                && !driver.health_description.is_empty()
            {
                let details = BTreeMap::from([("driver".to_owned(), name)]);
                self.push_event_of(&mut node, "Driver", &driver.health_description, details, at);
            }
        }
        self.put_node(node);
    }

    pub(super) fn update_node_status(
        &mut self,
        id: NodeId,
        status: NodeStatus,
        event: String,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let mut node = self.node(id)?;
        if node.status == status && event.is_empty() {
            return Ok(());
        }
        if node.status != status {
            node.status = status;
            node.status_updated_at = at.seconds();
            if matches!(status, NodeStatus::Down | NodeStatus::Disconnected) {
                node.last_missed_heartbeat_index = self.index;
            }
        }
        if !event.is_empty() {
            self.push_event(&mut node, &event, at);
        }
        self.put_node(node);
        Ok(())
    }

    pub(super) fn update_node_eligibility(
        &mut self,
        id: NodeId,
        eligibility: Eligibility,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let mut node = self.node(id)?;
        if eligibility == Eligibility::Eligible && node.drain_strategy.is_some() {
            let reason = "can not set node's scheduling eligibility to eligible while it is draining".to_owned();
            return Err(Refusal::Conflict { reason });
        }
        if node.scheduling_eligibility == eligibility {
            return Ok(());
        }
        node.scheduling_eligibility = eligibility;
        self.push_event(&mut node, &format!("Node marked as {} for scheduling", eligibility.as_str()), at);
        self.put_node(node);
        Ok(())
    }

    pub(super) fn deregister_node(&mut self, id: NodeId) -> Result<(), Refusal> {
        self.state.nodes.remove(&id).ok_or_else(|| not_found("node"))?;
        self.changed(Table::Nodes, Change::Node(id));
        Ok(())
    }

    fn node(&self, id: NodeId) -> Result<Node, Refusal> {
        self.state.nodes.get(&id).map(|node| Node::clone(node)).ok_or_else(|| not_found("node"))
    }

    fn push_event(&self, node: &mut Node, message: &str, at: Timestamp) {
        self.push_event_of(node, "Cluster", message, BTreeMap::new(), at);
    }

    fn push_event_of(
        &self,
        node: &mut Node,
        subsystem: &str,
        message: &str,
        details: BTreeMap<String, String>,
        at: Timestamp,
    ) {
        node.events.push(NodeEvent {
            message: message.to_owned(),
            subsystem: subsystem.to_owned(),
            details,
            timestamp: Timestamp(at.seconds().saturating_mul(1_000_000_000)),
            create_index: self.index,
        });
        let surplus = node.events.len().saturating_sub(NODE_EVENTS_MAX);
        node.events.drain(..surplus);
    }
}
