//! What edges report of their allocs, and what operators and duties ask for them.

use drover_model::alloc::{Alloc, AllocHealth, AllocUpdate, ClientStatus, DesiredTransition};
use drover_model::node::Node;
use drover_model::{AllocId, NodeId, Timestamp};

use super::{Applying, not_found};
use crate::command::Refusal;

impl Applying<'_> {
    pub(super) fn update_allocs(&mut self, node_id: NodeId, updates: Vec<AllocUpdate>, at: Timestamp) {
        for update in updates {
            self.update_alloc(node_id, update, at);
        }
        if let Some(node) = self.state.nodes.get(&node_id) {
            // Nobody waits for this number: no event, no modify index.
            let node = Node { last_alloc_update_index: self.index, ..Node::clone(node) };
            self.state.nodes.insert(node_id, node.into());
        }
    }

    fn update_alloc(&mut self, node_id: NodeId, update: AllocUpdate, at: Timestamp) {
        let AllocUpdate {
            alloc_id,
            client_status,
            client_description,
            task_states,
            healthy,
            health_at,
            network_status,
            at: _,
        } = update;
        let Some(old) = self.state.allocs.get(&alloc_id).filter(|alloc| alloc.node_id == node_id).cloned() else {
            return;
        };
        // What has ended does not begin again: such a report is an old one. Lost is what servers thought, it may be wrong.
        let has_ended = matches!(old.client_status, ClientStatus::Complete | ClientStatus::Failed);
        if has_ended && !client_status.is_terminal() {
            return;
        }
        let mut alloc = Alloc::clone(&old);
        alloc.client_status = client_status;
        alloc.client_description = client_description.into();
        alloc.task_states = task_states.into();
        alloc.network_status = network_status.map(Box::new).or(alloc.network_status);
        if healthy.is_some() && healthy != alloc.health() {
            let canary = alloc.is_canary();
            alloc.deployment_status =
                Some(AllocHealth { healthy, timestamp: health_at, canary, modify_index: self.index });
        }
        if alloc != *old {
            self.count_in_deployment(Some(&old), &alloc, at);
            self.put_alloc(alloc, false, at);
        }
    }

    pub(super) fn update_transitions(
        &mut self,
        transitions: Vec<(AllocId, DesiredTransition)>,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        if !transitions.is_empty() && transitions.iter().all(|(id, _)| !self.state.allocs.contains_key(id)) {
            return Err(not_found("alloc"));
        }
        for (id, wanted) in transitions {
            let Some(old) = self.state.allocs.get(&id) else {
                continue;
            };
            let merged = merge(old.desired_transition, wanted);
            if merged != old.desired_transition {
                let alloc = Alloc { desired_transition: merged, ..Alloc::clone(old) };
                self.put_alloc(alloc, true, at);
            }
        }
        Ok(())
    }
}

/// What was asked before, with what is asked now laid over it.
fn merge(old: DesiredTransition, new: DesiredTransition) -> DesiredTransition {
    let DesiredTransition { migrate, reschedule, force_reschedule, no_shutdown_delay, migrate_disable_placement } = new;
    DesiredTransition {
        migrate: migrate.or(old.migrate),
        reschedule: reschedule.or(old.reschedule),
        force_reschedule: force_reschedule.or(old.force_reschedule),
        no_shutdown_delay: no_shutdown_delay.or(old.no_shutdown_delay),
        migrate_disable_placement: migrate_disable_placement.or(old.migrate_disable_placement),
    }
}
