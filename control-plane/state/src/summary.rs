//! The summary of a job: how many of its allocs are where, per group.
//!
//! It is counted as allocs change, not by looking at all of them; allocs that were collected stay counted.

use std::collections::BTreeMap;

use drover_model::alloc::{Alloc, ClientStatus, DesiredStatus};
use serde::{Deserialize, Serialize};

/// The summary of one job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobSummary {
    /// Per group; groups that the job no longer has stay.
    pub groups: BTreeMap<String, GroupSummary>,
    /// Raft index at which the job was made.
    pub create_index: u64,
    /// Raft index of the last change of this summary.
    pub modify_index: u64,
}

/// The counts of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupSummary {
    /// Still to be placed.
    pub queued: u64,
    /// Ended well.
    pub complete: u64,
    /// Failed.
    pub failed: u64,
    /// Running.
    pub running: u64,
    /// Placed, and its edge has not started it yet.
    pub starting: u64,
    /// On a node that is gone.
    pub lost: u64,
    /// On a node that is cut off.
    pub unknown: u64,
}

impl GroupSummary {
    /// The count that an alloc belongs to; none for one that was stopped before it started.
    pub(crate) fn count_of(&mut self, alloc: &Alloc) -> Option<&mut u64> {
        match alloc.client_status {
            ClientStatus::Pending if alloc.desired_status == DesiredStatus::Run => Some(&mut self.starting),
            ClientStatus::Pending => None,
            ClientStatus::Running => Some(&mut self.running),
            ClientStatus::Complete => Some(&mut self.complete),
            ClientStatus::Failed => Some(&mut self.failed),
            ClientStatus::Lost => Some(&mut self.lost),
            ClientStatus::Unknown => Some(&mut self.unknown),
        }
    }
}
