//! What can be done to a job beside running and stopping it: going back to a version, naming one, looking at it again,
//! scaling, launching.
#![allow(missing_docs, reason = "fields are named as the API names them")]

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::deployments::Deployment;
use crate::error::Error;
use crate::jobs::JobWritten;
use crate::query::{QueryOptions, escape};

/// The order to change the count of a group.
#[derive(Clone, Debug, Default)]
pub struct Scale {
    pub group: String,
    pub count: i64,
    /// Why, for people; kept with the scaling event.
    pub message: String,
    /// Only if the job's modify index is this one; 0 is any.
    pub job_modify_index: u64,
}

/// How a job may be scaled, and how it was.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ScaleStatus {
    pub task_groups: BTreeMap<String, GroupScale>,
}

/// How a group was scaled.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GroupScale {
    pub desired: i64,
    pub events: Vec<ScalingEvent>,
}

/// One change of a group's count, or the note that there was none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ScalingEvent {
    pub count: Option<i64>,
    pub previous_count: i64,
    pub error: bool,
    pub message: String,
    #[serde(rename = "EvalID")]
    pub eval_id: String,
    /// Nanoseconds since 1970.
    pub time: i64,
}

/// The order to launch a parameterized job.
#[derive(Clone, Debug, Default)]
pub struct Dispatch {
    pub meta: BTreeMap<String, String>,
    pub payload: Vec<u8>,
    pub id_prefix_template: String,
    /// 0 is the job's own.
    pub priority: i64,
    /// Given twice, the second order launches nothing.
    pub idempotency_token: String,
}

/// The answer to a launch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Dispatched {
    #[serde(rename = "DispatchedJobID")]
    pub dispatched_job_id: String,
    #[serde(rename = "EvalID")]
    pub eval_id: String,
}

fn path(id: &str, tail: &str) -> String {
    format!("/v1/job/{}{tail}", escape(id))
}

fn tag_path(id: &str, tag: &str) -> String {
    path(id, &format!("/versions/{}/tag", escape(tag)))
}

impl Client {
    /// PUT /v1/job/:id/revert
    pub fn revert_job(&self, id: &str, version: u64, options: &QueryOptions) -> Result<Answer<JobWritten>, Error> {
        self.write(&path(id, "/revert"), &json!({ "JobID": id, "JobVersion": version }), options)
    }

    /// PUT /v1/job/:id/evaluate
    pub fn evaluate_job(
        &self,
        id: &str,
        force_reschedule: bool,
        options: &QueryOptions,
    ) -> Result<Answer<JobWritten>, Error> {
        let body = json!({ "JobID": id, "EvalOptions": { "ForceReschedule": force_reschedule } });
        self.write(&path(id, "/evaluate"), &body, options)
    }

    /// GET /v1/job/:id/deployments; `all` takes those of an earlier job of this name along.
    pub fn job_deployments(
        &self,
        id: &str,
        all: bool,
        options: &QueryOptions,
    ) -> Result<Answer<Vec<Deployment>>, Error> {
        let options = options.clone();
        let options = if all { options.with("all", "true") } else { options };
        self.read(&path(id, "/deployments"), &options)
    }

    /// PUT /v1/job/:id/versions/:tag/tag
    pub fn tag_job(
        &self,
        id: &str,
        tag: &str,
        version: u64,
        description: &str,
        options: &QueryOptions,
    ) -> Result<Answer<Value>, Error> {
        self.write(&tag_path(id, tag), &json!({ "Version": version, "Description": description }), options)
    }

    /// DELETE /v1/job/:id/versions/:tag/tag
    pub fn untag_job(&self, id: &str, tag: &str, options: &QueryOptions) -> Result<Answer<Value>, Error> {
        self.delete(&tag_path(id, tag), options)
    }

    /// GET /v1/job/:id/scale
    pub fn job_scale(&self, id: &str, options: &QueryOptions) -> Result<Answer<ScaleStatus>, Error> {
        self.read(&path(id, "/scale"), options)
    }

    /// PUT /v1/job/:id/scale
    pub fn scale_job(&self, id: &str, scale: &Scale, options: &QueryOptions) -> Result<Answer<JobWritten>, Error> {
        let mut body = json!({
            "Count": scale.count, "Target": { "Job": id, "Group": scale.group }, "Message": scale.message,
        });
        if scale.job_modify_index > 0 {
            body["JobModifyIndex"] = scale.job_modify_index.into();
        }
        self.write(&path(id, "/scale"), &body, options)
    }

    /// PUT /v1/job/:id/dispatch
    pub fn dispatch_job(
        &self,
        id: &str,
        dispatch: &Dispatch,
        options: &QueryOptions,
    ) -> Result<Answer<Dispatched>, Error> {
        let mut body = json!({ "JobID": id, "Meta": dispatch.meta });
        if !dispatch.payload.is_empty() {
            body["Payload"] = STANDARD.encode(&dispatch.payload).into();
        }
        if !dispatch.id_prefix_template.is_empty() {
            body["IdPrefixTemplate"] = dispatch.id_prefix_template.as_str().into();
        }
        if dispatch.priority != 0 {
            body["Priority"] = dispatch.priority.into();
        }
        let mut options = options.clone();
        if !dispatch.idempotency_token.is_empty() {
            options = options.with("idempotency_token", dispatch.idempotency_token.as_str());
        }
        self.write(&path(id, "/dispatch"), &body, &options)
    }

    /// PUT /v1/job/:id/periodic/force
    pub fn force_periodic(&self, id: &str, options: &QueryOptions) -> Result<Answer<JobWritten>, Error> {
        self.write(&path(id, "/periodic/force"), &json!({}), options)
    }
}
