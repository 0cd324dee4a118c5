//! Evals as others refer to them, and how many there are.

use drover_model::eval::{Eval, EvalStatus, EvalTrigger};
use drover_model::id::optional;
use drover_model::job::JobType;
use drover_model::time::rfc3339;
use drover_model::{DeploymentId, EvalId, JobId, Namespace, NodeId, Timestamp};
use serde::Serialize;

/// An eval that belongs to another. Every key is there.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EvalStub<'a> {
    #[serde(with = "optional")]
    blocked_eval: Option<EvalId>,
    create_index: u64,
    create_time: Timestamp,
    #[serde(rename = "DeploymentID", with = "optional")]
    deployment_id: Option<DeploymentId>,
    #[serde(rename = "ID")]
    id: EvalId,
    #[serde(rename = "JobID")]
    job_id: &'a JobId,
    modify_index: u64,
    modify_time: Timestamp,
    namespace: &'a Namespace,
    #[serde(with = "optional")]
    next_eval: Option<EvalId>,
    #[serde(rename = "NodeID", with = "optional")]
    node_id: Option<NodeId>,
    #[serde(with = "optional")]
    previous_eval: Option<EvalId>,
    priority: i64,
    status: EvalStatus,
    status_description: &'a str,
    triggered_by: EvalTrigger,
    #[serde(rename = "Type")]
    kind: JobType,
    #[serde(with = "rfc3339")]
    wait_until: Timestamp,
}

impl<'a> From<&'a Eval> for EvalStub<'a> {
    fn from(eval: &'a Eval) -> Self {
        Self {
            blocked_eval: eval.blocked_eval,
            create_index: eval.create_index,
            create_time: eval.create_time,
            deployment_id: eval.deployment_id,
            id: eval.id,
            job_id: &eval.job_id,
            modify_index: eval.modify_index,
            modify_time: eval.modify_time,
            namespace: &eval.namespace,
            next_eval: eval.next_eval,
            node_id: eval.node_id,
            previous_eval: eval.previous_eval,
            priority: eval.priority,
            status: eval.status,
            status_description: &eval.status_description,
            triggered_by: eval.triggered_by,
            kind: eval.kind,
            wait_until: eval.wait_until,
        }
    }
}

/// An eval with those that belong to it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EvalView<'a> {
    /// The eval.
    #[serde(flatten)]
    pub eval: &'a Eval,
    /// Those that belong to it, when asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related_evals: Vec<EvalStub<'a>>,
}
