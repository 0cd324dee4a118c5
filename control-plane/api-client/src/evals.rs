//! Evals.
#![allow(missing_docs, reason = "fields are named as the API names them")]

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::allocs::AllocStub;
use crate::client::{Answer, Client};
use crate::error::Error;
use crate::plan::{AllocMetric, PlanAnnotations};
use crate::query::{QueryOptions, escape};

/// The order to look at a job again.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Eval {
    #[serde(rename = "ID")]
    pub id: String,
    pub namespace: String,
    pub priority: i64,
    #[serde(rename = "Type")]
    pub kind: String,
    pub triggered_by: String,
    #[serde(rename = "JobID")]
    pub job_id: String,
    #[serde(rename = "NodeID")]
    pub node_id: String,
    #[serde(rename = "DeploymentID")]
    pub deployment_id: String,
    pub status: String,
    pub status_description: String,
    pub wait_until: String,
    pub next_eval: String,
    pub previous_eval: String,
    pub blocked_eval: String,
    pub related_evals: Vec<EvalStub>,
    #[serde(rename = "FailedTGAllocs")]
    pub failed_group_allocs: BTreeMap<String, AllocMetric>,
    pub plan_annotations: Option<PlanAnnotations>,
    pub queued_allocations: BTreeMap<String, i64>,
    pub create_index: u64,
    pub modify_index: u64,
    pub create_time: i64,
    pub modify_time: i64,
}

/// An eval beside another one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EvalStub {
    #[serde(rename = "ID")]
    pub id: String,
    pub priority: i64,
    pub triggered_by: String,
    #[serde(rename = "NodeID")]
    pub node_id: String,
    pub status: String,
    pub status_description: String,
    pub create_index: u64,
}

impl Eval {
    /// Nothing more will happen to it.
    pub fn is_terminal(&self) -> bool {
        matches!(self.status.as_str(), "complete" | "failed" | "canceled" | "cancelled")
    }
}

impl Client {
    /// GET /v1/evaluations
    pub fn evals(&self, options: &QueryOptions) -> Result<Answer<Vec<Eval>>, Error> {
        self.read("/v1/evaluations", options)
    }

    /// GET /v1/evaluation/:id
    pub fn eval(&self, id: &str, options: &QueryOptions) -> Result<Answer<Eval>, Error> {
        self.read(&format!("/v1/evaluation/{}", escape(id)), options)
    }

    /// GET /v1/evaluation/:id/allocations
    pub fn eval_allocs(&self, id: &str, options: &QueryOptions) -> Result<Answer<Vec<AllocStub>>, Error> {
        self.read(&format!("/v1/evaluation/{}/allocations", escape(id)), options)
    }
}
