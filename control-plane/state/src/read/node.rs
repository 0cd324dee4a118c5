//! Readers of nodes, join tokens, and the rules for servers.

use std::sync::Arc;

use drover_model::node::Node;
use drover_model::{JoinTokenId, NodeId};

use crate::autopilot::AutopilotConfig;
use crate::join_token::JoinToken;
use crate::scheduler_config::SchedulerConfig;
use crate::state::State;

impl State {
    /// A node.
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&id)
    }

    /// All nodes by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// A join token.
    pub fn join_token(&self, id: JoinTokenId) -> Option<&Arc<JoinToken>> {
        self.join_tokens.get(&id)
    }

    /// All join tokens by id.
    pub fn join_tokens(&self) -> impl Iterator<Item = &Arc<JoinToken>> {
        self.join_tokens.values()
    }
    /// The rules for looking after the servers; none until somebody has set them.
    pub fn autopilot(&self) -> Option<&Arc<AutopilotConfig>> {
        self.autopilot.as_ref()
    }

    /// The settings of the scheduler: the defaults until somebody has set them.
    pub fn scheduler_config(&self) -> &SchedulerConfig {
        const DEFAULT: &SchedulerConfig = &SchedulerConfig::DEFAULT;
        self.scheduler_config.as_deref().unwrap_or(DEFAULT)
    }
}
