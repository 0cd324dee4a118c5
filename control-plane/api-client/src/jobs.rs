//! Jobs.
#![allow(missing_docs, reason = "fields are named as the API names them")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::allocs::AllocStub;
use crate::client::{Answer, Client};
use crate::deployments::Deployment;
use crate::error::Error;
use crate::evals::Eval;
use crate::plan::{JobDiff, JobPlan};
use crate::query::{QueryOptions, escape};

/// A job in a list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JobStub {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "ParentID")]
    pub parent_id: String,
    pub namespace: String,
    #[serde(rename = "Type")]
    pub kind: String,
    pub priority: i64,
    pub periodic: bool,
    pub parameterized_job: bool,
    pub stop: bool,
    pub status: String,
    pub submit_time: i64,
}

/// A job: what the tables show of it. The whole of it is in the raw answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Job {
    pub region: String,
    pub namespace: String,
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    #[serde(rename = "Type")]
    pub kind: String,
    pub priority: i64,
    pub datacenters: Vec<String>,
    pub node_pool: String,
    pub task_groups: Vec<Group>,
    pub periodic: Option<Value>,
    pub parameterized_job: Option<Parameterized>,
    pub meta: BTreeMap<String, String>,
    pub stop: bool,
    #[serde(rename = "ParentID")]
    pub parent_id: String,
    pub dispatched: bool,
    pub dispatch_idempotency_token: String,
    pub status: String,
    pub stable: bool,
    pub version: u64,
    pub submit_time: i64,
    pub create_index: u64,
    pub job_modify_index: u64,
    pub version_tag: Option<VersionTag>,
}

/// A group: what the tables show of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Group {
    pub name: String,
    pub count: i64,
    pub tasks: Vec<Task>,
    pub reschedule_policy: Option<ReschedulePolicy>,
}

/// A task: what the tables show of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Task {
    pub name: String,
    pub driver: String,
}

/// How often an alloc is placed again.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ReschedulePolicy {
    pub attempts: i64,
    pub interval: i64,
    pub unlimited: bool,
}

/// What a dispatch must and may bring.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Parameterized {
    pub payload: String,
    pub meta_required: Vec<String>,
    pub meta_optional: Vec<String>,
}

/// The name of a version.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VersionTag {
    pub name: String,
    pub description: String,
}

/// How many allocs of each group are where.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JobSummary {
    pub summary: BTreeMap<String, GroupSummary>,
    pub children: Option<ChildrenSummary>,
}

/// How many allocs of a group are where.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GroupSummary {
    pub queued: u64,
    pub complete: u64,
    pub failed: u64,
    pub running: u64,
    pub starting: u64,
    pub lost: u64,
    pub unknown: u64,
}

/// How many jobs a periodic or parameterized job has launched.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ChildrenSummary {
    pub pending: u64,
    pub running: u64,
    pub dead: u64,
}

/// The versions that are kept, newest first, and how each differs from the one before it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JobVersions {
    pub versions: Vec<Job>,
    pub diffs: Vec<JobDiff>,
}

/// The text a job was registered from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Submission {
    pub source: String,
    /// `hcl2` or `json`.
    pub format: String,
    pub variable_flags: BTreeMap<String, String>,
    pub variables: String,
}

/// The order to run a job.
#[derive(Clone, Debug, Default)]
pub struct Register {
    /// The job as the API writes it.
    pub job: Value,
    /// Only if the job's modify index is this one; 0 means it must not exist.
    pub enforce_index: Option<u64>,
    pub preserve_counts: bool,
    pub preserve_resources: bool,
    pub policy_override: bool,
    pub eval_priority: Option<i64>,
    pub submission: Option<Submission>,
}

/// The answer to a registration or a stop.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JobWritten {
    #[serde(rename = "EvalID")]
    pub eval_id: String,
    pub eval_create_index: u64,
    pub job_modify_index: u64,
    pub warnings: String,
}

/// The answer to a check.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JobChecked {
    pub driver_config_validated: bool,
    pub validation_errors: Vec<String>,
    pub error: String,
    pub warnings: String,
}

/// What a dry run is to tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlanOptions {
    /// How the job differs from the one that runs.
    pub diff: bool,
    pub policy_override: bool,
}

/// How to stop a job.
#[derive(Clone, Debug, Default)]
pub struct StopOptions {
    pub purge: bool,
    pub global: bool,
    pub no_shutdown_delay: bool,
    pub eval_priority: Option<i64>,
}

fn path(id: &str, tail: &str) -> String {
    format!("/v1/job/{}{tail}", escape(id))
}

impl Client {
    /// GET /v1/jobs
    pub fn jobs(&self, options: &QueryOptions) -> Result<Answer<Vec<JobStub>>, Error> {
        self.read("/v1/jobs", options)
    }

    /// GET /v1/job/:id
    pub fn job(&self, id: &str, options: &QueryOptions) -> Result<Answer<Job>, Error> {
        self.read(&path(id, ""), options)
    }

    /// GET /v1/job/:id/summary
    pub fn job_summary(&self, id: &str, options: &QueryOptions) -> Result<Answer<JobSummary>, Error> {
        self.read(&path(id, "/summary"), options)
    }

    /// GET /v1/job/:id/allocations; `all` takes those of an earlier job of this name along.
    pub fn job_allocs(&self, id: &str, all: bool, options: &QueryOptions) -> Result<Answer<Vec<AllocStub>>, Error> {
        let options = options.clone();
        let options = if all { options.with("all", "true") } else { options };
        self.read(&path(id, "/allocations"), &options)
    }

    /// GET /v1/job/:id/evaluations
    pub fn job_evals(&self, id: &str, options: &QueryOptions) -> Result<Answer<Vec<Eval>>, Error> {
        self.read(&path(id, "/evaluations"), options)
    }

    /// GET /v1/job/:id/deployment: the newest one.
    pub fn job_deployment(&self, id: &str, options: &QueryOptions) -> Result<Answer<Option<Deployment>>, Error> {
        self.read(&path(id, "/deployment"), options)
    }

    /// GET /v1/job/:id/versions
    pub fn job_versions(&self, id: &str, options: &QueryOptions) -> Result<Answer<JobVersions>, Error> {
        self.read(&path(id, "/versions"), options)
    }

    /// GET /v1/job/:id/submission
    pub fn job_submission(&self, id: &str, version: u64, options: &QueryOptions) -> Result<Answer<Submission>, Error> {
        self.read(&path(id, "/submission"), &options.clone().with("version", version.to_string()))
    }

    /// PUT /v1/jobs
    pub fn register_job(&self, register: &Register, options: &QueryOptions) -> Result<Answer<JobWritten>, Error> {
        let mut body = json!({ "Job": register.job });
        if let Some(index) = register.enforce_index {
            body["EnforceIndex"] = true.into();
            body["JobModifyIndex"] = index.into();
        }
        if let Some(priority) = register.eval_priority {
            body["EvalPriority"] = priority.into();
        }
        for (name, is_set) in [
            ("PreserveCounts", register.preserve_counts),
            ("PreserveResources", register.preserve_resources),
            ("PolicyOverride", register.policy_override),
        ] {
            if is_set {
                body[name] = true.into();
            }
        }
        if let Some(submission) = &register.submission {
            body["Submission"] = json!(submission);
        }
        self.write("/v1/jobs", &body, options)
    }

    /// PUT /v1/job/:id/plan: what registering it would do.
    pub fn plan_job(
        &self,
        id: &str,
        job: &Value,
        plan: &PlanOptions,
        options: &QueryOptions,
    ) -> Result<Answer<JobPlan>, Error> {
        let mut body = json!({ "Job": job, "Diff": plan.diff });
        if plan.policy_override {
            body["PolicyOverride"] = true.into();
        }
        self.write(&path(id, "/plan"), &body, options)
    }

    /// PUT /v1/validate/job
    pub fn check_job(&self, job: &Value, options: &QueryOptions) -> Result<Answer<JobChecked>, Error> {
        self.write("/v1/validate/job", &json!({ "Job": job }), options)
    }

    /// DELETE /v1/job/:id
    pub fn stop_job(&self, id: &str, stop: &StopOptions, options: &QueryOptions) -> Result<Answer<JobWritten>, Error> {
        let mut options = options.clone();
        for (name, is_set) in
            [("purge", stop.purge), ("global", stop.global), ("no_shutdown_delay", stop.no_shutdown_delay)]
        {
            if is_set {
                options = options.with(name, "true");
            }
        }
        if let Some(priority) = stop.eval_priority {
            options = options.with("eval_priority", priority.to_string());
        }
        self.delete(&path(id, ""), &options)
    }
}
