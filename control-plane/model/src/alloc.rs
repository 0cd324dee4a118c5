//! An alloc: one placement of a group on a node.
//!
//! What shall be (desired, written by the scheduler) and what is (client, written by the edge) are kept apart:
//!
//! ```text
//! desired:  run ----------------------> stop | evict
//! client:   pending -> running -> complete | failed        lost, unknown: written by servers when the node is gone
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{self, AllocId, DeploymentId, EvalId, JobId, JobKey, Namespace, NodeId};
use crate::metric::AllocMetric;
use crate::resources::AllocatedResources;
use crate::small_map::SmallMap;
use crate::task_state::TaskState;
use crate::text::Text;
use crate::time::{Timestamp, nanos, rfc3339};
use crate::wire::{is_default, nullable};

/// What shall become of an alloc.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DesiredStatus {
    /// It shall run.
    #[default]
    Run,
    /// It shall end.
    Stop,
    /// It shall end to make room for another.
    Evict,
}

impl DesiredStatus {
    /// The word the API and the tables use.
    pub fn as_str(self) -> &'static str {
        match self {
            DesiredStatus::Run => "run",
            DesiredStatus::Stop => "stop",
            DesiredStatus::Evict => "evict",
        }
    }
}

/// What is with an alloc.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientStatus {
    /// Nothing runs yet.
    #[default]
    Pending,
    /// At least one task runs.
    Running,
    /// All tasks ended well.
    Complete,
    /// A task failed.
    Failed,
    /// Its node is gone.
    Lost,
    /// Its node is cut off.
    Unknown,
}

impl ClientStatus {
    /// The word the API and the tables use.
    pub fn as_str(self) -> &'static str {
        match self {
            ClientStatus::Pending => "pending",
            ClientStatus::Running => "running",
            ClientStatus::Complete => "complete",
            ClientStatus::Failed => "failed",
            ClientStatus::Lost => "lost",
            ClientStatus::Unknown => "unknown",
        }
    }

    /// Nothing of it runs any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, ClientStatus::Complete | ClientStatus::Failed | ClientStatus::Lost)
    }
}

/// One placement of a group on a node. It names its job by namespace, id and version and never carries a copy.
/// Every field is left out of the JSON when zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Alloc {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: AllocId,
    /// The job's namespace.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Namespace,
    /// The eval that placed it.
    #[serde(rename = "EvalID", with = "id::optional", skip_serializing_if = "is_default")]
    pub eval_id: Option<EvalId>,
    /// `<job>.<group>[<index>]`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The node.
    #[serde(rename = "NodeID", skip_serializing_if = "is_default")]
    pub node_id: NodeId,
    /// The node's name when it was placed.
    #[serde(skip_serializing_if = "is_default")]
    pub node_name: Text,
    /// The job.
    #[serde(rename = "JobID", skip_serializing_if = "is_default")]
    pub job_id: JobId,
    /// The version of the job it runs. Not part of the API's alloc (it embeds the job), left out when 0.
    #[serde(skip_serializing_if = "is_default")]
    pub job_version: u64,
    /// Tells the job from a later one of the same name. Not part of the API's alloc.
    #[serde(skip_serializing_if = "is_default")]
    pub job_create_index: u64,
    /// The group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub task_group: String,
    /// What it was given. Allocs of one group that were given the same share it.
    #[serde(skip_serializing_if = "is_default")]
    pub allocated_resources: Arc<AllocatedResources>,
    /// Why it is where it is.
    #[serde(skip_serializing_if = "is_default")]
    pub metrics: AllocMetric,
    /// What shall be.
    pub desired_status: DesiredStatus,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub desired_description: String,
    /// What an operator or a duty asks the scheduler to do with it.
    #[serde(skip_serializing_if = "is_default")]
    pub desired_transition: DesiredTransition,
    /// What is.
    pub client_status: ClientStatus,
    /// In words.
    #[serde(skip_serializing_if = "is_default")]
    pub client_description: Text,
    /// Per task.
    #[serde(with = "nullable", skip_serializing_if = "is_default")]
    pub task_states: SmallMap<String, TaskState>,
    /// The deployment it counts in.
    #[serde(rename = "DeploymentID", with = "id::optional", skip_serializing_if = "is_default")]
    pub deployment_id: Option<DeploymentId>,
    /// Its health in that deployment.
    #[serde(skip_serializing_if = "is_default")]
    pub deployment_status: Option<AllocHealth>,
    /// The eval that will look at it later.
    #[serde(rename = "FollowupEvalID", with = "id::optional", skip_serializing_if = "is_default")]
    pub followup_eval_id: Option<EvalId>,
    /// The alloc whose place it took.
    #[serde(with = "id::optional", skip_serializing_if = "is_default")]
    pub previous_allocation: Option<AllocId>,
    /// The alloc that took its place.
    #[serde(with = "id::optional", skip_serializing_if = "is_default")]
    pub next_allocation: Option<AllocId>,
    /// The replacements that led to it.
    #[serde(skip_serializing_if = "is_default")]
    pub reschedule_tracker: Option<RescheduleTracker>,
    /// Its network, as the edge made it.
    #[serde(skip_serializing_if = "is_default")]
    pub network_status: Option<Box<NetworkStatus>>,
    /// Allocs that had to go for it.
    #[serde(with = "nullable", skip_serializing_if = "is_default")]
    pub preempted_allocations: Vec<AllocId>,
    /// The alloc it had to go for.
    #[serde(with = "id::optional", skip_serializing_if = "is_default")]
    pub preempted_by_allocation: Option<AllocId>,
    /// Raft index at which it was made.
    #[serde(skip_serializing_if = "is_default")]
    pub create_index: u64,
    /// Raft index of its last change.
    #[serde(skip_serializing_if = "is_default")]
    pub modify_index: u64,
    /// Raft index of the last change made by servers.
    #[serde(skip_serializing_if = "is_default")]
    pub alloc_modify_index: u64,
    /// When it was made.
    #[serde(skip_serializing_if = "is_default")]
    pub create_time: Timestamp,
    /// When it last changed.
    #[serde(skip_serializing_if = "is_default")]
    pub modify_time: Timestamp,
}

impl Alloc {
    /// The job it belongs to.
    pub fn job_key(&self) -> JobKey {
        JobKey { namespace: self.namespace.clone(), id: self.job_id.clone() }
    }

    /// It shall not run, or nothing of it runs any more.
    pub fn is_terminal(&self) -> bool {
        self.desired_status != DesiredStatus::Run || self.client_status.is_terminal()
    }

    /// Nothing of it runs any more: its resources are free.
    pub fn is_client_terminal(&self) -> bool {
        self.client_status.is_terminal()
    }

    /// The index in its name: 3 for `web.front[3]`.
    pub fn name_index(&self) -> Option<u32> {
        let open = self.name.rfind('[')?;
        self.name[open + 1..].strip_suffix(']')?.parse().ok()
    }

    /// It is a canary of its deployment.
    pub fn is_canary(&self) -> bool {
        self.deployment_status.as_ref().is_some_and(|status| status.canary)
    }

    /// Healthy (`Some(true)`), unhealthy (`Some(false)`) or not known yet.
    pub fn health(&self) -> Option<bool> {
        self.deployment_status.as_ref().and_then(|status| status.healthy)
    }
}

/// The name of the alloc with that index.
pub fn alloc_name(job: &JobId, group: &str, index: u32) -> String {
    format!("{job}.{group}[{index}]")
}

/// What the scheduler is asked to do with an alloc.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DesiredTransition {
    /// Move it to another node.
    pub migrate: Option<bool>,
    /// Replace it although its deployment is active.
    pub reschedule: Option<bool>,
    /// Replace it whatever the policy says.
    pub force_reschedule: Option<bool>,
    /// Skip the shutdown delay.
    pub no_shutdown_delay: Option<bool>,
    /// Stop it without a replacement.
    pub migrate_disable_placement: Option<bool>,
}

/// The health of an alloc in its deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AllocHealth {
    /// Not known until decided.
    pub healthy: Option<bool>,
    /// When it was decided.
    #[serde(with = "rfc3339")]
    pub timestamp: Timestamp,
    /// It is a canary.
    pub canary: bool,
    /// Raft index of the decision.
    pub modify_index: u64,
}

/// The replacements that led to an alloc.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RescheduleTracker {
    /// Oldest first.
    #[serde(with = "nullable")]
    pub events: Vec<RescheduleEvent>,
    /// `ok` or why it was not replaced.
    pub last_reschedule: String,
}

/// One replacement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RescheduleEvent {
    /// When.
    pub reschedule_time: Timestamp,
    /// The alloc that had failed.
    #[serde(rename = "PrevAllocID")]
    pub prev_alloc_id: AllocId,
    /// Its node.
    #[serde(rename = "PrevNodeID")]
    pub prev_node_id: NodeId,
    /// How long the replacement waited.
    #[serde(with = "nanos")]
    pub delay: Duration,
}

/// The network of an alloc.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkStatus {
    /// The interface inside.
    pub interface_name: String,
    /// Its address.
    pub address: String,
    /// Its IPv6 address.
    #[serde(rename = "AddressIPv6")]
    pub address_ipv6: String,
    /// Carried only.
    #[serde(rename = "DNS")]
    pub dns: Option<serde_json::Value>,
}

/// What an edge reports of one alloc. The latest report holds everything: applying it twice changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllocUpdate {
    /// The alloc.
    pub alloc_id: AllocId,
    /// What is.
    pub client_status: ClientStatus,
    /// In words.
    pub client_description: String,
    /// Per task.
    pub task_states: BTreeMap<String, TaskState>,
    /// Healthy or not, once the edge has decided.
    pub healthy: Option<bool>,
    /// When it decided.
    pub health_at: Timestamp,
    /// Its network.
    pub network_status: Option<NetworkStatus>,
    /// When the edge made the report.
    pub at: Timestamp,
}
