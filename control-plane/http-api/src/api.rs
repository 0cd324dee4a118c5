//! What the handlers work with: the server, and what its agent says of itself.

use std::sync::Arc;

use drover_model::NodeId;
use drover_server::Server;
use serde_json::Value;

use crate::control::AgentControl;

/// What the agent says of itself; fixed at its start.
#[derive(Clone, Debug)]
pub struct AgentFacts {
    /// Its settings in the shape of `/v1/agent/self`, without secrets.
    pub config: Value,
    /// The version of drover.
    pub version: String,
    /// The node of the client in the same process, when there is one.
    pub node_id: Option<NodeId>,
}

/// What the handlers work with. A clone is the same one.
#[derive(Clone)]
pub struct Api {
    /// The server.
    pub server: Server,
    /// Its agent.
    pub agent: Arc<AgentFacts>,
    /// What the agent itself is asked through.
    pub control: Option<Arc<dyn AgentControl>>,
}

impl Api {
    /// The API of that server and agent.
    pub fn new(server: Server, agent: AgentFacts) -> Self {
        Self { server, agent: Arc::new(agent), control: None }
    }

    /// With an agent that can be asked for its log and told to read its configuration.
    pub fn with_control(self, control: Arc<dyn AgentControl>) -> Self {
        Self { control: Some(control), ..self }
    }
}
