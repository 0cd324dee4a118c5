//! A job: what an operator asks for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::constraint::{Affinity, Constraint, Spread};
use crate::group::Group;
use crate::id::{JobId, JobKey, Namespace};
use crate::policy::UpdateStrategy;
use crate::time::Timestamp;
use crate::wire::nullable;

/// What kind of work a job is; chooses the scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobType {
    /// Runs until it is stopped.
    #[default]
    Service,
    /// Runs until it is done.
    Batch,
    /// Runs on every node until it is stopped.
    System,
    /// Runs on every node until it is done.
    SysBatch,
}

impl JobType {
    /// The word of the job language.
    pub fn as_str(self) -> &'static str {
        match self {
            JobType::Service => "service",
            JobType::Batch => "batch",
            JobType::System => "system",
            JobType::SysBatch => "sysbatch",
        }
    }

    /// True when its tasks are meant to end by themselves.
    pub fn is_batch(self) -> bool {
        matches!(self, JobType::Batch | JobType::SysBatch)
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// Nothing placed yet.
    #[default]
    Pending,
    /// Something is placed and not ended.
    Running,
    /// Stopped, or everything has ended.
    Dead,
}

impl JobStatus {
    /// The word the API and the tables use.
    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::Pending => "pending",
            JobStatus::Running => "running",
            JobStatus::Dead => "dead",
        }
    }
}

/// What an operator asks for. Complete and checked: `jobspec` settles what was unset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Job {
    /// The region it runs in.
    pub region: String,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its id, unique in the namespace.
    #[serde(rename = "ID")]
    pub id: JobId,
    /// For people.
    pub name: String,
    /// What kind of work it is.
    #[serde(rename = "Type")]
    pub kind: JobType,
    /// 1 to 100; higher goes first.
    pub priority: i64,
    /// Commit a plan only as a whole.
    pub all_at_once: bool,
    /// Datacenter patterns; `*` is a wildcard.
    #[serde(with = "nullable")]
    pub datacenters: Vec<String>,
    /// The node pool.
    pub node_pool: String,
    /// What every node must meet.
    #[serde(with = "nullable")]
    pub constraints: Vec<Constraint>,
    /// What every node should meet.
    #[serde(with = "nullable")]
    pub affinities: Vec<Affinity>,
    /// How allocs spread.
    #[serde(with = "nullable")]
    pub spreads: Vec<Spread>,
    /// The groups, in the order of the job file.
    #[serde(with = "nullable")]
    pub task_groups: Vec<Group>,
    /// The update strategy groups inherit, as written.
    pub update: Option<UpdateStrategy>,
    /// Carried only.
    pub multiregion: Option<Value>,
    /// When it launches others by the clock; see [`Job::periodic_launches`].
    pub periodic: Option<Value>,
    /// It launches others when it is dispatched; see [`Job::dispatch_rules`].
    pub parameterized_job: Option<Value>,
    /// Metadata its groups and tasks inherit.
    #[serde(with = "nullable")]
    pub meta: BTreeMap<String, String>,
    /// Words and links for the web UI.
    #[serde(rename = "UI")]
    pub ui: Option<Value>,
    /// It shall not run.
    pub stop: bool,
    /// The job that launched it.
    #[serde(rename = "ParentID")]
    pub parent_id: String,
    /// It was made by a dispatch.
    pub dispatched: bool,
    /// Given with the dispatch.
    pub dispatch_idempotency_token: String,
    /// Given with the dispatch.
    pub payload: Option<String>,
    /// Carried only.
    pub consul_namespace: String,
    /// Carried only.
    pub vault_namespace: String,
    /// Carried only.
    #[serde(rename = "NomadTokenID")]
    pub nomad_token_id: String,
    /// Where it stands; kept by `state`.
    pub status: JobStatus,
    /// Why; kept by `state`.
    pub status_description: String,
    /// This version completed a deployment.
    pub stable: bool,
    /// Counts the differing registrations, from 0.
    pub version: u64,
    /// When this version was registered.
    pub submit_time: Timestamp,
    /// Raft index of the first registration.
    pub create_index: u64,
    /// Raft index of the last change of any kind.
    pub modify_index: u64,
    /// Raft index of the last change of what it asks for.
    pub job_modify_index: u64,
    /// A name for this version.
    pub version_tag: Option<Value>,
}

impl Job {
    /// Where it is found.
    pub fn key(&self) -> JobKey {
        JobKey { namespace: self.namespace.clone(), id: self.id.clone() }
    }

    /// The group of that name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.task_groups.iter().find(|group| group.name == name)
    }

    /// True when both ask for the same: everything but what drover itself keeps (status, version, indexes, times).
    pub fn same_request(&self, other: &Job) -> bool {
        let bare = |job: &Job| Job {
            status: JobStatus::default(),
            status_description: String::new(),
            stable: false,
            version: 0,
            submit_time: Timestamp(0),
            create_index: 0,
            modify_index: 0,
            job_modify_index: 0,
            version_tag: None,
            ..job.clone()
        };
        bare(self) == bare(other)
    }
}
