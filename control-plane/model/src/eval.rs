//! An eval: the order to look at a job again.
//!
//! ```text
//! pending --> complete            everything was placed (or could not be, and a blocked eval was made)
//!    |  \---> failed              the attempts were used up
//!    \------> canceled            a newer eval of the job took its place
//! blocked --> pending             room appeared
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{self, DeploymentId, EvalId, JobId, JobKey, Namespace, NodeId};
use crate::job::JobType;
use crate::metric::AllocMetric;
use crate::plan::PlanAnnotations;
use crate::time::{Timestamp, nanos, rfc3339};
use crate::wire::{is_default, nullable};

/// Where an eval stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvalStatus {
    /// To be processed.
    #[default]
    Pending,
    /// Waits for room.
    Blocked,
    /// Done.
    Complete,
    /// Given up.
    Failed,
    /// Not needed any more.
    Canceled,
}

impl EvalStatus {
    /// The word the API and the tables use.
    pub fn as_str(self) -> &'static str {
        match self {
            EvalStatus::Pending => "pending",
            EvalStatus::Blocked => "blocked",
            EvalStatus::Complete => "complete",
            EvalStatus::Failed => "failed",
            EvalStatus::Canceled => "canceled",
        }
    }

    /// Nothing more will happen to it.
    pub fn is_terminal(self) -> bool {
        matches!(self, EvalStatus::Complete | EvalStatus::Failed | EvalStatus::Canceled)
    }
}

/// Why an eval was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each is named as the API names it")]
pub enum EvalTrigger {
    #[default]
    JobRegister,
    JobDeregister,
    PeriodicJob,
    NodeDrain,
    NodeUpdate,
    AllocStop,
    Scheduled,
    RollingUpdate,
    DeploymentWatcher,
    FailedFollowUp,
    MaxPlanAttempts,
    AllocFailure,
    QueuedAllocs,
    Preemption,
    JobScaling,
    MaxDisconnectTimeout,
    Reconnect,
    AllocReschedule,
}

impl EvalTrigger {
    /// The word the API and the tables use.
    pub fn as_str(self) -> &'static str {
        match self {
            EvalTrigger::JobRegister => "job-register",
            EvalTrigger::JobDeregister => "job-deregister",
            EvalTrigger::PeriodicJob => "periodic-job",
            EvalTrigger::NodeDrain => "node-drain",
            EvalTrigger::NodeUpdate => "node-update",
            EvalTrigger::AllocStop => "alloc-stop",
            EvalTrigger::Scheduled => "scheduled",
            EvalTrigger::RollingUpdate => "rolling-update",
            EvalTrigger::DeploymentWatcher => "deployment-watcher",
            EvalTrigger::FailedFollowUp => "failed-follow-up",
            EvalTrigger::MaxPlanAttempts => "max-plan-attempts",
            EvalTrigger::AllocFailure => "alloc-failure",
            EvalTrigger::QueuedAllocs => "queued-allocs",
            EvalTrigger::Preemption => "preemption",
            EvalTrigger::JobScaling => "job-scaling",
            EvalTrigger::MaxDisconnectTimeout => "max-disconnect-timeout",
            EvalTrigger::Reconnect => "reconnect",
            EvalTrigger::AllocReschedule => "alloc-reschedule",
        }
    }
}

/// The order to look at a job again. Every field is left out of the JSON when zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Eval {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: EvalId,
    /// The job's namespace.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Namespace,
    /// Higher goes first.
    #[serde(skip_serializing_if = "is_default")]
    pub priority: i64,
    /// Which scheduler.
    #[serde(rename = "Type")]
    pub kind: JobType,
    /// Why it was made.
    pub triggered_by: EvalTrigger,
    /// The job.
    #[serde(rename = "JobID", skip_serializing_if = "is_default")]
    pub job_id: JobId,
    /// The job's modify index when it was made.
    #[serde(skip_serializing_if = "is_default")]
    pub job_modify_index: u64,
    /// The node that made it necessary.
    #[serde(rename = "NodeID", with = "id::optional", skip_serializing_if = "is_default")]
    pub node_id: Option<NodeId>,
    /// The node's modify index then.
    #[serde(skip_serializing_if = "is_default")]
    pub node_modify_index: u64,
    /// The deployment it belongs to.
    #[serde(rename = "DeploymentID", with = "id::optional", skip_serializing_if = "is_default")]
    pub deployment_id: Option<DeploymentId>,
    /// Where it stands.
    pub status: EvalStatus,
    /// Why.
    #[serde(skip_serializing_if = "is_default")]
    pub status_description: String,
    /// Obsolete.
    #[serde(with = "nanos", skip_serializing_if = "is_default")]
    pub wait: Duration,
    /// Not before this time.
    #[serde(with = "rfc3339", skip_serializing_if = "is_default")]
    pub wait_until: Timestamp,
    /// The eval that follows it.
    #[serde(with = "id::optional", skip_serializing_if = "is_default")]
    pub next_eval: Option<EvalId>,
    /// The eval it follows.
    #[serde(with = "id::optional", skip_serializing_if = "is_default")]
    pub previous_eval: Option<EvalId>,
    /// The eval that waits for room for what this one could not place.
    #[serde(with = "id::optional", skip_serializing_if = "is_default")]
    pub blocked_eval: Option<EvalId>,
    /// Groups that could not be placed, and why.
    #[serde(rename = "FailedTGAllocs", with = "nullable", skip_serializing_if = "is_default")]
    pub failed_group_allocs: BTreeMap<String, AllocMetric>,
    /// Of a blocked eval: node classes and whether they are eligible.
    #[serde(with = "nullable", skip_serializing_if = "is_default")]
    pub class_eligibility: BTreeMap<String, bool>,
    /// Of a blocked eval: any change of capacity may help.
    #[serde(skip_serializing_if = "is_default")]
    pub escaped_computed_class: bool,
    /// Carried only.
    #[serde(skip_serializing_if = "is_default")]
    pub quota_limit_reached: String,
    /// The plan shall be annotated.
    #[serde(skip_serializing_if = "is_default")]
    pub annotate_plan: bool,
    /// What the plan did, per group.
    #[serde(skip_serializing_if = "is_default")]
    pub plan_annotations: Option<PlanAnnotations>,
    /// How many allocs of each group are still to be placed.
    #[serde(with = "nullable", skip_serializing_if = "is_default")]
    pub queued_allocations: BTreeMap<String, i64>,
    /// The index of the snapshot it was processed on.
    #[serde(skip_serializing_if = "is_default")]
    pub snapshot_index: u64,
    /// Raft index at which it was made.
    #[serde(skip_serializing_if = "is_default")]
    pub create_index: u64,
    /// Raft index of its last change.
    #[serde(skip_serializing_if = "is_default")]
    pub modify_index: u64,
    /// When it was made.
    #[serde(skip_serializing_if = "is_default")]
    pub create_time: Timestamp,
    /// When it last changed.
    #[serde(skip_serializing_if = "is_default")]
    pub modify_time: Timestamp,
}

impl Eval {
    /// The job it looks at.
    pub fn job_key(&self) -> JobKey {
        JobKey { namespace: self.namespace.clone(), id: self.job_id.clone() }
    }
}
