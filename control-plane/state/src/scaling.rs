//! What became of the counts of a job's groups: who changed them, and what was noted about them.

use std::collections::BTreeMap;

use drover_model::{EvalId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most events of a group that are kept.
pub const SCALING_EVENTS_MAX: usize = 10;

/// A change of a group's count, or a note about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ScalingEvent {
    /// The new count; none for a note.
    pub count: Option<i64>,
    /// The count before.
    pub previous_count: i64,
    /// It tells of a failure.
    pub error: bool,
    /// In words.
    pub message: String,
    /// Whatever else its author wants to keep.
    pub meta: Option<BTreeMap<String, Value>>,
    /// The eval that the change made.
    #[serde(rename = "EvalID")]
    pub eval_id: Option<EvalId>,
    /// When.
    pub time: Timestamp,
    /// Raft index.
    pub create_index: u64,
}

/// The events of a job's groups, newest first.
pub type JobScaling = BTreeMap<String, Vec<ScalingEvent>>;
