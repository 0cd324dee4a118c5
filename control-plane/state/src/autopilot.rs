//! The rules by which a leader looks after the region's servers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The rules. Until somebody sets them, those of the leader's own file count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutopilotConfig {
    /// Take dead servers out of the log's membership.
    pub cleanup_dead_servers: bool,
    /// A server that was not heard for longer is not well.
    pub last_contact_threshold: Duration,
    /// One that is more entries behind is not well.
    pub max_trailing_logs: u64,
    /// Never fewer voters than this by taking out dead ones.
    pub min_quorum: u64,
    /// A new server votes after it has been well for so long.
    pub server_stabilization_time: Duration,
    /// Raft index at which they were first set; 0 for never.
    pub create_index: u64,
    /// Raft index at which they were last set.
    pub modify_index: u64,
}

impl Default for AutopilotConfig {
    fn default() -> Self {
        Self {
            cleanup_dead_servers: true,
            last_contact_threshold: Duration::from_millis(200),
            max_trailing_logs: 250,
            min_quorum: 0,
            server_stabilization_time: Duration::from_secs(10),
            create_index: 0,
            modify_index: 0,
        }
    }
}
