//! Deployments.
#![allow(missing_docs, reason = "fields are named as the API names them")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use crate::allocs::AllocStub;
use crate::client::{Answer, Client};
use crate::error::Error;
use crate::query::{QueryOptions, escape};

/// The rollout of one job version.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Deployment {
    #[serde(rename = "ID")]
    pub id: String,
    pub namespace: String,
    #[serde(rename = "JobID")]
    pub job_id: String,
    pub job_version: u64,
    pub status: String,
    pub status_description: String,
    pub task_groups: BTreeMap<String, GroupState>,
    pub create_index: u64,
    pub modify_index: u64,
}

/// The rollout of one group.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GroupState {
    pub auto_revert: bool,
    pub require_progress_by: String,
    /// Nanoseconds.
    pub progress_deadline: i64,
    pub promoted: bool,
    pub desired_canaries: u64,
    pub desired_total: u64,
    pub placed_allocs: u64,
    pub healthy_allocs: u64,
    pub unhealthy_allocs: u64,
}

/// The answer to a change of a deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeploymentWritten {
    #[serde(rename = "EvalID")]
    pub eval_id: String,
    /// The version that comes back in place of the one that failed.
    pub reverted_job_version: Option<u64>,
}

impl Deployment {
    /// Nothing more will happen to it.
    pub fn is_terminal(&self) -> bool {
        matches!(self.status.as_str(), "successful" | "failed" | "cancelled" | "canceled")
    }
}

impl Client {
    /// GET /v1/deployments
    pub fn deployments(&self, options: &QueryOptions) -> Result<Answer<Vec<Deployment>>, Error> {
        self.read("/v1/deployments", options)
    }

    /// GET /v1/deployment/:id
    pub fn deployment(&self, id: &str, options: &QueryOptions) -> Result<Answer<Deployment>, Error> {
        self.read(&format!("/v1/deployment/{}", escape(id)), options)
    }

    /// GET /v1/deployment/allocations/:id
    pub fn deployment_allocs(&self, id: &str, options: &QueryOptions) -> Result<Answer<Vec<AllocStub>>, Error> {
        self.read(&format!("/v1/deployment/allocations/{}", escape(id)), options)
    }

    /// PUT /v1/deployment/promote/:id; no groups are all groups.
    pub fn promote_deployment(
        &self,
        id: &str,
        groups: &[String],
        options: &QueryOptions,
    ) -> Result<Answer<DeploymentWritten>, Error> {
        let body = if groups.is_empty() {
            json!({ "DeploymentID": id, "All": true })
        } else {
            json!({ "DeploymentID": id, "Groups": groups })
        };
        self.write(&format!("/v1/deployment/promote/{}", escape(id)), &body, options)
    }

    /// PUT /v1/deployment/pause/:id; false goes on with it.
    pub fn pause_deployment(
        &self,
        id: &str,
        pause: bool,
        options: &QueryOptions,
    ) -> Result<Answer<DeploymentWritten>, Error> {
        let body = json!({ "DeploymentID": id, "Pause": pause });
        self.write(&format!("/v1/deployment/pause/{}", escape(id)), &body, options)
    }

    /// PUT /v1/deployment/fail/:id
    pub fn fail_deployment(&self, id: &str, options: &QueryOptions) -> Result<Answer<DeploymentWritten>, Error> {
        self.write(&format!("/v1/deployment/fail/{}", escape(id)), &json!({ "DeploymentID": id }), options)
    }

    /// PUT /v1/deployment/unblock/:id
    pub fn unblock_deployment(&self, id: &str, options: &QueryOptions) -> Result<Answer<DeploymentWritten>, Error> {
        self.write(&format!("/v1/deployment/unblock/{}", escape(id)), &json!({ "DeploymentID": id }), options)
    }
}
