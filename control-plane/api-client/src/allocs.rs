//! Allocs, and what their tasks use.
#![allow(missing_docs, reason = "fields are named as the API names them")]

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::client::{Answer, Client};
use crate::error::Error;
use crate::jobs::Job;
use crate::plan::AllocMetric;
use crate::query::{QueryOptions, escape};

/// An alloc in a list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AllocStub {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "EvalID")]
    pub eval_id: String,
    pub name: String,
    pub namespace: String,
    #[serde(rename = "NodeID")]
    pub node_id: String,
    pub node_name: String,
    #[serde(rename = "JobID")]
    pub job_id: String,
    pub job_version: u64,
    pub task_group: String,
    pub desired_status: String,
    pub desired_description: String,
    pub client_status: String,
    pub client_description: String,
    #[serde(rename = "FollowupEvalID")]
    pub followup_eval_id: String,
    pub next_allocation: String,
    pub create_index: u64,
    pub modify_index: u64,
    pub create_time: i64,
    pub modify_time: i64,
    /// Only where a list carries whole allocs.
    pub job: Option<Job>,
    /// Only where a list carries whole allocs.
    pub allocated_resources: Option<AllocatedResources>,
}

/// One placement of a group on a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Alloc {
    #[serde(rename = "ID")]
    pub id: String,
    pub namespace: String,
    #[serde(rename = "EvalID")]
    pub eval_id: String,
    pub name: String,
    #[serde(rename = "NodeID")]
    pub node_id: String,
    pub node_name: String,
    #[serde(rename = "JobID")]
    pub job_id: String,
    pub job: Job,
    pub task_group: String,
    pub allocated_resources: AllocatedResources,
    pub metrics: AllocMetric,
    pub desired_status: String,
    pub desired_description: String,
    pub client_status: String,
    pub client_description: String,
    pub task_states: BTreeMap<String, TaskState>,
    #[serde(rename = "DeploymentID")]
    pub deployment_id: String,
    pub deployment_status: Option<DeploymentHealth>,
    #[serde(rename = "FollowupEvalID")]
    pub followup_eval_id: String,
    pub previous_allocation: String,
    pub next_allocation: String,
    pub reschedule_tracker: Option<RescheduleTracker>,
    pub preempted_by_allocation: String,
    pub create_index: u64,
    pub modify_index: u64,
    pub create_time: i64,
    pub modify_time: i64,
}

/// What an alloc was given.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AllocatedResources {
    pub tasks: BTreeMap<String, TaskResources>,
    pub shared: SharedResources,
    pub task_lifecycles: BTreeMap<String, Lifecycle>,
}

/// When a task runs, beside the main ones.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Lifecycle {
    pub hook: String,
    pub sidecar: bool,
}

/// What a task was given.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskResources {
    pub cpu: CpuShares,
    pub memory: Memory,
    pub networks: Vec<Network>,
}

/// MHz.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CpuShares {
    pub cpu_shares: i64,
}

/// MiB.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Memory {
    #[serde(rename = "MemoryMB")]
    pub memory_mib: i64,
    #[serde(rename = "MemoryMaxMB")]
    pub memory_max_mib: i64,
}

/// What the tasks share.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SharedResources {
    #[serde(rename = "DiskMB")]
    pub disk_mib: i64,
    pub networks: Vec<Network>,
    pub ports: Vec<PortMapping>,
}

/// A network and its ports.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Network {
    pub mode: String,
    #[serde(rename = "IP")]
    pub ip: String,
    pub reserved_ports: Vec<Port>,
    pub dynamic_ports: Vec<Port>,
}

/// A port of a network.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Port {
    pub label: String,
    pub value: i64,
    pub to: i64,
}

/// A port of a group.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PortMapping {
    pub label: String,
    pub value: i64,
    pub to: i64,
    #[serde(rename = "HostIP")]
    pub host_ip: String,
}

/// Healthy or not, within a deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeploymentHealth {
    pub healthy: Option<bool>,
    pub canary: bool,
}

/// Earlier placements of the same.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RescheduleTracker {
    pub events: Vec<RescheduleEvent>,
}

/// One earlier placement.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RescheduleEvent {
    pub reschedule_time: i64,
}

/// How a task is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskState {
    pub state: String,
    pub failed: bool,
    pub restarts: u64,
    pub last_restart: String,
    pub started_at: String,
    pub finished_at: String,
    pub events: Vec<TaskEvent>,
}

/// What happened to a task.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskEvent {
    #[serde(rename = "Type")]
    pub kind: String,
    pub time: i64,
    pub display_message: String,
    pub message: String,
}

/// What the tasks of an alloc use.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AllocUsage {
    pub resource_usage: Usage,
    pub tasks: BTreeMap<String, TaskUsage>,
}

/// What a task uses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskUsage {
    pub resource_usage: Usage,
}

/// Memory and processor time in use.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Usage {
    pub memory_stats: MemoryUsage,
    pub cpu_stats: CpuUsage,
}

/// Bytes, and which of them were measured.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct MemoryUsage {
    #[serde(rename = "RSS")]
    pub rss: u64,
    pub cache: u64,
    pub swap: u64,
    pub usage: u64,
    pub max_usage: u64,
    pub kernel_usage: u64,
    pub kernel_max_usage: u64,
    pub measured: Vec<String>,
}

/// Percent and MHz, and which of them were measured.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CpuUsage {
    pub system_mode: f64,
    pub user_mode: f64,
    pub total_ticks: f64,
    pub throttled_periods: u64,
    pub throttled_time: u64,
    pub percent: f64,
    pub measured: Vec<String>,
}

impl Client {
    /// GET /v1/allocations
    pub fn allocs(&self, options: &QueryOptions) -> Result<Answer<Vec<AllocStub>>, Error> {
        self.read("/v1/allocations", options)
    }

    /// GET /v1/allocation/:id
    pub fn alloc(&self, id: &str, options: &QueryOptions) -> Result<Answer<Alloc>, Error> {
        self.read(&format!("/v1/allocation/{}", escape(id)), options)
    }

    /// GET /v1/client/allocation/:id/stats
    pub fn alloc_stats(&self, id: &str) -> Result<Answer<AllocUsage>, Error> {
        self.read(&format!("/v1/client/allocation/{}/stats", escape(id)), &QueryOptions::default())
    }
}
