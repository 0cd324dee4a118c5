//! Scaling policies.
#![allow(missing_docs, reason = "fields are named as the API names them")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::client::{Answer, Client};
use crate::error::Error;
use crate::query::{QueryOptions, escape};

/// How far the count of a group may be changed. Lists leave the bounds and what is in it out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ScalingPolicy {
    #[serde(rename = "ID")]
    pub id: String,
    pub enabled: bool,
    #[serde(rename = "Type")]
    pub kind: String,
    /// `Namespace`, `Job` and `Group`.
    pub target: BTreeMap<String, String>,
    pub min: i64,
    pub max: i64,
    /// Whatever its reader understands.
    pub policy: Value,
}

impl Client {
    /// GET /v1/scaling/policies
    pub fn scaling_policies(&self, options: &QueryOptions) -> Result<Answer<Vec<ScalingPolicy>>, Error> {
        self.read("/v1/scaling/policies", options)
    }

    /// GET /v1/scaling/policy/:id
    pub fn scaling_policy(&self, id: &str) -> Result<Answer<ScalingPolicy>, Error> {
        self.read(&format!("/v1/scaling/policy/{}", escape(id)), &QueryOptions::default())
    }
}
