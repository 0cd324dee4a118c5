//! Why an alloc went where it did, or why it could not be placed.

use serde::{Deserialize, Serialize};

use crate::resources::Resources;
use crate::score::Scores;
use crate::small_map::SmallMap;
use crate::text::Text;
use crate::wire::nullable;

/// The counts and scores of one placement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AllocMetric {
    /// Nodes that were looked at.
    pub nodes_evaluated: i64,
    /// Nodes that a constraint or a missing driver ruled out.
    pub nodes_filtered: i64,
    /// Nodes of the job's pool.
    pub nodes_in_pool: i64,
    /// The job's pool.
    pub node_pool: Text,
    /// Ready nodes per datacenter.
    #[serde(with = "nullable")]
    pub nodes_available: SmallMap<String, i64>,
    /// Filtered nodes per class.
    #[serde(with = "nullable")]
    pub class_filtered: SmallMap<String, i64>,
    /// Filtered nodes per constraint.
    #[serde(with = "nullable")]
    pub constraint_filtered: SmallMap<String, i64>,
    /// Nodes without room.
    pub nodes_exhausted: i64,
    /// Exhausted nodes per class.
    #[serde(with = "nullable")]
    pub class_exhausted: SmallMap<String, i64>,
    /// Exhausted nodes per dimension.
    #[serde(with = "nullable")]
    pub dimension_exhausted: SmallMap<String, i64>,
    /// Quota dimensions, carried only.
    #[serde(with = "nullable")]
    pub quota_exhausted: Vec<String>,
    /// What the missing allocs ask for, per task.
    #[serde(with = "nullable")]
    pub resources_exhausted: SmallMap<String, Resources>,
    /// Obsolete.
    #[serde(with = "nullable")]
    pub scores: SmallMap<String, f64>,
    /// Nanoseconds the placement took; filled by the server, the scheduler has no clock.
    pub allocation_time: i64,
    /// Further failures of the same group.
    pub coalesced_failures: i64,
    /// The five best nodes.
    #[serde(with = "nullable")]
    pub score_meta_data: Vec<NodeScore>,
}

/// The score of one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeScore {
    /// The node.
    #[serde(rename = "NodeID")]
    pub node_id: crate::id::NodeId,
    /// Its parts by name.
    #[serde(rename = "Scores")]
    pub scores: Scores,
    /// Their mean.
    #[serde(rename = "NormScore")]
    pub norm_score: f64,
}
