//! Deployments.
#![allow(missing_docs, reason = "fields are named as the API names them")]

use std::collections::BTreeMap;

use serde::Deserialize;

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
}
