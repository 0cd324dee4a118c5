//! What a dry run answers: the difference, what would be done per group, and why something does not fit.
#![allow(missing_docs, reason = "fields are named as the API names them")]

use std::collections::BTreeMap;

use serde::Deserialize;

/// The answer to a dry run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JobPlan {
    pub job_modify_index: u64,
    pub diff: Option<JobDiff>,
    pub annotations: Option<PlanAnnotations>,
    pub created_evals: Vec<PlannedEval>,
    #[serde(rename = "FailedTGAllocs")]
    pub failed_group_allocs: BTreeMap<String, AllocMetric>,
    pub next_periodic_launch: String,
    pub warnings: String,
}

/// An eval that would follow.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PlannedEval {
    pub triggered_by: String,
    /// Nanoseconds.
    pub wait: i64,
}

/// What a plan would do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PlanAnnotations {
    #[serde(rename = "DesiredTGUpdates")]
    pub desired_group_updates: BTreeMap<String, DesiredUpdates>,
    #[serde(rename = "PreemptedAllocs")]
    pub preempted_allocs: Vec<PreemptedAlloc>,
}

/// An alloc that would have to go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PreemptedAlloc {
    #[serde(rename = "ID")]
    pub id: String,
    pub namespace: String,
    #[serde(rename = "JobID")]
    pub job_id: String,
    pub job_type: String,
    pub task_group: String,
}

/// Counts of one group.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DesiredUpdates {
    pub ignore: u64,
    pub place: u64,
    pub migrate: u64,
    pub stop: u64,
    pub in_place_update: u64,
    pub destructive_update: u64,
    pub canary: u64,
    pub preemptions: u64,
}

/// The difference of two versions of a job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JobDiff {
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(rename = "ID")]
    pub id: String,
    pub fields: Vec<FieldDiff>,
    pub objects: Vec<ObjectDiff>,
    pub task_groups: Vec<GroupDiff>,
}

/// The difference of a group.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GroupDiff {
    #[serde(rename = "Type")]
    pub kind: String,
    pub name: String,
    pub fields: Vec<FieldDiff>,
    pub objects: Vec<ObjectDiff>,
    pub tasks: Vec<TaskDiff>,
    pub updates: BTreeMap<String, u64>,
}

/// The difference of a task.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskDiff {
    #[serde(rename = "Type")]
    pub kind: String,
    pub name: String,
    pub fields: Vec<FieldDiff>,
    pub objects: Vec<ObjectDiff>,
    pub annotations: Vec<String>,
}

/// The difference of a block.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ObjectDiff {
    #[serde(rename = "Type")]
    pub kind: String,
    pub name: String,
    pub fields: Vec<FieldDiff>,
    pub objects: Vec<ObjectDiff>,
}

/// The difference of a value. `kind` is `None`, `Added`, `Deleted` or `Edited`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct FieldDiff {
    #[serde(rename = "Type")]
    pub kind: String,
    pub name: String,
    pub old: String,
    pub new: String,
    pub annotations: Vec<String>,
}

/// The counts and scores of one placement.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AllocMetric {
    pub nodes_evaluated: i64,
    pub nodes_filtered: i64,
    pub nodes_in_pool: i64,
    pub node_pool: String,
    pub nodes_available: BTreeMap<String, i64>,
    pub class_filtered: BTreeMap<String, i64>,
    pub constraint_filtered: BTreeMap<String, i64>,
    pub nodes_exhausted: i64,
    pub class_exhausted: BTreeMap<String, i64>,
    pub dimension_exhausted: BTreeMap<String, i64>,
    pub quota_exhausted: Vec<String>,
    pub allocation_time: i64,
    pub coalesced_failures: i64,
    pub score_meta_data: Vec<NodeScore>,
}

/// The score of one node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeScore {
    #[serde(rename = "NodeID")]
    pub node_id: String,
    pub scores: BTreeMap<String, f64>,
    pub norm_score: f64,
}
