//! The node as this edge describes itself: one place that changes it, for whoever starts tasks and for the servers.

use std::sync::{Arc, Mutex, PoisonError};

use drover_model::node::Node;
use drover_runner::Edge;
use drover_runner::task_env::EdgeFacts;
use tokio::sync::watch;

/// The node's own description.
pub struct OwnNode {
    edge: Arc<Edge>,
    /// Whoever registers it hears of changes.
    told: watch::Sender<Arc<Node>>,
    /// One change at a time: each is made on what the one before has left.
    changing: Mutex<()>,
}

impl OwnNode {
    /// Of that edge.
    pub fn new(edge: Arc<Edge>, told: watch::Sender<Arc<Node>>) -> OwnNode {
        OwnNode { edge, told, changing: Mutex::default() }
    }

    /// Changes what is known of the node; true when that made a difference for the servers, which then hear of it.
    pub fn change(&self, change: impl FnOnce(&mut EdgeFacts)) -> bool {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.edge.facts();
        let mut facts = EdgeFacts::clone(&before);
        change(&mut facts);
        let node = facts.node.clone();
        self.edge.set_facts(facts);
        self.told.send_if_modified(|known| {
            let has_changed = **known != *node;
            if has_changed {
                *known = node;
            }
            has_changed
        })
    }

    /// What is known now.
    pub fn facts(&self) -> Arc<EdgeFacts> {
        self.edge.facts()
    }
}
