//! A deployment: the rollout of one version of a job.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{AllocId, DeploymentId, JobId, JobKey, Namespace};
use crate::time::{Timestamp, nanos, rfc3339};
use crate::wire::nullable;

/// Where a deployment stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeploymentStatus {
    /// It goes on.
    #[default]
    Running,
    /// An operator holds it.
    Paused,
    /// It failed.
    Failed,
    /// All groups are healthy and promoted.
    Successful,
    /// A newer version or a stop ended it.
    Cancelled,
}

impl DeploymentStatus {
    /// The word the API and the tables use.
    pub fn as_str(self) -> &'static str {
        match self {
            DeploymentStatus::Running => "running",
            DeploymentStatus::Paused => "paused",
            DeploymentStatus::Failed => "failed",
            DeploymentStatus::Successful => "successful",
            DeploymentStatus::Cancelled => "cancelled",
        }
    }

    /// It has not ended.
    pub fn is_active(self) -> bool {
        matches!(self, DeploymentStatus::Running | DeploymentStatus::Paused)
    }
}

/// The rollout of one version of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Deployment {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: DeploymentId,
    /// The job's namespace.
    pub namespace: Namespace,
    /// The job.
    #[serde(rename = "JobID")]
    pub job_id: JobId,
    /// The version it rolls out.
    pub job_version: u64,
    /// The job's modify index when it was made.
    pub job_modify_index: u64,
    /// The index of what the job asks for.
    pub job_spec_modify_index: u64,
    /// Tells a job from a later one of the same name.
    pub job_create_index: u64,
    /// Part of a rollout over several regions.
    pub is_multiregion: bool,
    /// Per group.
    pub task_groups: BTreeMap<String, DeploymentState>,
    /// Where it stands.
    pub status: DeploymentStatus,
    /// In words.
    pub status_description: String,
    /// Priority of the evals it makes.
    pub eval_priority: i64,
    /// Raft index at which it was made.
    pub create_index: u64,
    /// Raft index of its last change.
    pub modify_index: u64,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it last changed.
    pub modify_time: Timestamp,
}

impl Deployment {
    /// The job it belongs to.
    pub fn job_key(&self) -> JobKey {
        JobKey { namespace: self.namespace.clone(), id: self.job_id.clone() }
    }

    /// Some group has canaries and is not promoted.
    pub fn requires_promotion(&self) -> bool {
        self.task_groups.values().any(|group| group.desired_canaries > 0 && !group.promoted)
    }
}

/// One group of a deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeploymentState {
    /// Go back on failure.
    pub auto_revert: bool,
    /// Promote when all canaries are healthy.
    pub auto_promote: bool,
    /// The longest time without progress.
    #[serde(with = "nanos")]
    pub progress_deadline: Duration,
    /// Progress must be made before this time; never until the first placement.
    #[serde(with = "rfc3339")]
    pub require_progress_by: Timestamp,
    /// The canaries were promoted.
    pub promoted: bool,
    /// The canaries.
    #[serde(with = "nullable")]
    pub placed_canaries: Vec<AllocId>,
    /// How many canaries are wanted.
    pub desired_canaries: i64,
    /// How many allocs are wanted.
    pub desired_total: i64,
    /// How many were placed.
    pub placed_allocs: i64,
    /// How many of them are healthy.
    pub healthy_allocs: i64,
    /// How many are not.
    pub unhealthy_allocs: i64,
}
