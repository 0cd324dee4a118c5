//! What became of the counts of a job's groups: who changed them, and what was noted about them; and the policies that
//! say how far they may be changed.

use std::collections::BTreeMap;

use drover_model::job::Job;
use drover_model::{AllocId, EvalId, JobKey, Timestamp};
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

/// The scaling policy of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScalingPolicy<'a> {
    /// Whose group it is.
    pub job: &'a Job,
    /// The group.
    pub group: &'a str,
    /// As it stands in the job.
    pub stored: &'a Value,
}

impl ScalingPolicy<'_> {
    /// Its id.
    pub fn id(&self) -> String {
        policy_id(&self.job.key(), self.group)
    }

    /// Raft index at which it came to be.
    pub fn create_index(&self) -> u64 {
        self.index("CreateIndex")
    }

    /// Raft index of its last change.
    pub fn modify_index(&self) -> u64 {
        self.index("ModifyIndex")
    }

    fn index(&self, key: &str) -> u64 {
        // Jobs of before policies were looked after have none.
        let stored = self.stored.get(key).and_then(Value::as_u64);
        stored.filter(|index| *index > 0).unwrap_or(self.job.create_index)
    }
}

/// The policies of a job's groups.
pub fn policies(job: &Job) -> impl Iterator<Item = ScalingPolicy<'_>> {
    job.task_groups.iter().filter_map(move |group| {
        let stored = group.scaling.as_ref()?;
        Some(ScalingPolicy { job, group: &group.name, stored })
    })
}

/// The id of a group's policy: a UUID made of the names, so that it is the same on every server and in every version.
pub fn policy_id(key: &JobKey, group: &str) -> String {
    let mut bytes = [0; 16];
    for (half, bytes) in bytes.chunks_mut(8).enumerate() {
        // FNV-1a, with the names apart from each other, mixed by splitmix64's last step.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ half as u64;
        for text in [key.namespace.as_str(), key.id.as_str(), group] {
            for byte in text.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.copy_from_slice(&(hash ^ hash >> 31).to_be_bytes());
    }
    // Any id's type gives the form of a UUID.
    AllocId::from_random(bytes).to_string()
}
