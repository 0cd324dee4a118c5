//! Heartbeats: which nodes were heard, and which have been silent for too long.
//!
//! `now` is here a time on a clock that never jumps: a wall clock that is set would make all nodes miss their heartbeats at
//! once, or none for hours.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use drover_model::eval::EvalTrigger;
use drover_model::node::NodeStatus;
use drover_model::{NodeId, Timestamp};
use drover_state::{Change, Command, Events, Snapshot};

use crate::new_eval::Ids;
use crate::node_evals;

/// The shortest time between two heartbeats of a node.
pub const TTL_MIN: Duration = Duration::from_secs(10);
/// Heartbeats that a region takes per second; more nodes than that times [`TTL_MIN`] are given more time.
pub const HEARTBEATS_PER_SECOND: u32 = 50;
/// How much later than due a heartbeat may come.
pub const GRACE: Duration = Duration::from_secs(10);
/// How long a new leader waits for nodes that it has not heard yet.
pub const FAILOVER_TTL: Duration = Duration::from_secs(300);

/// The nodes that a leader expects to hear of.
#[derive(Debug, Default)]
pub struct Heartbeats {
    /// When a node counts as missing.
    due: BTreeMap<NodeId, Timestamp>,
    // Invariant: the same as `due`, by time.
    by_time: BTreeSet<(Timestamp, NodeId)>,
}

impl Heartbeats {
    /// The heartbeats of a leader that has just begun: every node that is not down gets [`FAILOVER_TTL`].
    pub fn new(snapshot: &Snapshot, now: Timestamp) -> Self {
        let mut heartbeats = Self::default();
        heartbeats.compare(snapshot, now);
        heartbeats
    }

    /// A node was heard; gives the time until its next heartbeat is due.
    pub fn heard(&mut self, node: NodeId, now: Timestamp) -> Duration {
        let ttl = self.ttl_min();
        // Up to twice the time, so that nodes that began together do not stay together.
        let spread = Ids::at(now, node.as_bytes()).number() % 1000;
        let ttl = ttl + ttl * u32::try_from(spread).unwrap_or(0) / 1000;
        self.expect(node, now.plus(ttl).plus(GRACE));
        ttl
    }

    /// The shortest time that a node is given now.
    fn ttl_min(&self) -> Duration {
        let nodes = u32::try_from(self.due.len()).unwrap_or(u32::MAX);
        TTL_MIN.max(Duration::from_secs(1) * nodes / HEARTBEATS_PER_SECOND)
    }

    /// Takes over what changed; `snapshot` is of the events' index or later.
    pub fn on_events(&mut self, snapshot: &Snapshot, events: &Events, now: Timestamp) {
        for change in &events.changes {
            let Change::Node(id) = change else { continue };
            if snapshot.node(*id).is_none_or(|node| !is_expected(node.status)) {
                self.forget(*id);
            } else if !self.due.contains_key(id) {
                // Only who speaks comes or comes back: it was heard just now, also when that was said before its going was. It may
                // have been given the longest time then.
                self.expect(*id, now.plus(self.ttl_min() * 2).plus(GRACE));
            }
        }
    }

    /// The nodes that are missing from now on; `at` is the date that their commands carry.
    pub fn step(&mut self, snapshot: &Snapshot, now: Timestamp, at: Timestamp) -> Vec<Command> {
        let mut commands = Vec::new();
        while let Some((_, id)) = self.by_time.first().copied().filter(|(due, _)| *due <= now) {
            self.forget(id);
            if snapshot.node(id).is_some_and(|node| is_expected(node.status)) {
                commands.push(Command::UpdateNodeStatus {
                    node_id: id,
                    status: NodeStatus::Down,
                    event: "Node heartbeat missed".to_owned(),
                    evals: node_evals::make(snapshot, id, EvalTrigger::NodeUpdate, &mut Ids::at(at, id.as_bytes())),
                    at,
                });
            }
        }
        commands
    }

    /// The whole server stood still for so long: whoever wanted to be heard meanwhile gets the time back.
    pub fn put_off(&mut self, by: Duration) {
        self.due.values_mut().for_each(|due| *due = due.plus(by));
        self.by_time = self.due.iter().map(|(id, due)| (*due, *id)).collect();
    }

    /// How many nodes are expected.
    pub fn count(&self) -> usize {
        self.due.len()
    }

    /// When the next node counts as missing.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// Forgets nodes that are gone or down and expects those that are new: all of them are looked at.
    pub fn compare(&mut self, snapshot: &Snapshot, now: Timestamp) {
        self.due.retain(|id, _| snapshot.node(*id).is_some_and(|node| is_expected(node.status)));
        for node in snapshot.nodes().filter(|node| is_expected(node.status)) {
            self.due.entry(node.id).or_insert_with(|| now.plus(FAILOVER_TTL));
        }
        self.by_time = self.due.iter().map(|(id, due)| (*due, *id)).collect();
    }

    fn expect(&mut self, node: NodeId, due: Timestamp) {
        if let Some(before) = self.due.insert(node, due) {
            self.by_time.remove(&(before, node));
        }
        self.by_time.insert((due, node));
    }

    fn forget(&mut self, node: NodeId) {
        if let Some(due) = self.due.remove(&node) {
            self.by_time.remove(&(due, node));
        }
    }
}

fn is_expected(status: NodeStatus) -> bool {
    matches!(status, NodeStatus::Initializing | NodeStatus::Ready)
}

#[cfg(test)]
mod tests;
