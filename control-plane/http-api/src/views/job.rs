//! Jobs in lists, their summaries, and what the jobs page of a UI shows.

use std::collections::BTreeMap;

use drover_model::alloc::{Alloc, ClientStatus};
use drover_model::deployment::Deployment;
use drover_model::job::{Job, JobStatus, JobType};
use drover_model::{AllocId, DeploymentId, EvalId, JobId, Namespace, NodeId, Timestamp};
use drover_state::{ChildCounts, GroupSummary, JobSummary};
use serde::Serialize;
use serde_json::Value;

/// A job in a list.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct JobListStub<'a> {
    create_index: u64,
    #[serde(serialize_with = "nullable_list")]
    datacenters: &'a [String],
    #[serde(rename = "ID")]
    id: &'a JobId,
    job_modify_index: u64,
    job_summary: Summary<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a BTreeMap<String, String>>,
    modify_index: u64,
    multiregion: &'a Option<Value>,
    name: &'a str,
    #[serde(skip_serializing_if = "is_empty")]
    namespace: &'a Namespace,
    node_pool: &'a str,
    parameterized_job: bool,
    #[serde(rename = "ParentID")]
    parent_id: &'a str,
    periodic: bool,
    priority: i64,
    status: JobStatus,
    status_description: &'a str,
    stop: bool,
    submit_time: Timestamp,
    #[serde(rename = "Type")]
    kind: JobType,
}

fn is_empty(namespace: &&Namespace) -> bool {
    namespace.as_str().is_empty()
}

fn nullable_list<S: serde::Serializer>(list: &[String], s: S) -> Result<S::Ok, S::Error> {
    if list.is_empty() { s.serialize_none() } else { list.serialize(s) }
}

impl<'a> JobListStub<'a> {
    /// The job in a list, with its metadata if asked for.
    pub fn new(job: &'a Job, summary: JobSummary, children: Children, with_meta: bool) -> Self {
        Self {
            create_index: job.create_index,
            datacenters: &job.datacenters,
            id: &job.id,
            job_modify_index: job.job_modify_index,
            job_summary: Summary::new(job, summary, children),
            meta: Some(&job.meta).filter(|meta| with_meta && !meta.is_empty()),
            modify_index: job.modify_index,
            multiregion: &job.multiregion,
            name: &job.name,
            namespace: &job.namespace,
            node_pool: &job.node_pool,
            parameterized_job: job.parameterized_job.is_some() && !job.dispatched,
            parent_id: &job.parent_id,
            periodic: job.periodic.is_some(),
            priority: job.priority,
            status: job.status,
            status_description: &job.status_description,
            stop: job.stop,
            submit_time: job.submit_time,
            kind: job.kind,
        }
    }
}

/// How many allocs of a job are where.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary<'a> {
    children: Children,
    create_index: u64,
    #[serde(rename = "JobID")]
    job_id: &'a JobId,
    modify_index: u64,
    namespace: &'a Namespace,
    summary: BTreeMap<String, GroupCounts>,
}

/// Jobs that this one launched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Children {
    dead: u64,
    pending: u64,
    running: u64,
}

impl From<ChildCounts> for Children {
    fn from(counts: ChildCounts) -> Self {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let ChildCounts { pending, running, dead } = counts;
        Self { dead: count(dead), pending: count(pending), running: count(running) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GroupCounts {
    complete: u64,
    failed: u64,
    lost: u64,
    queued: u64,
    running: u64,
    starting: u64,
    unknown: u64,
}

impl From<GroupSummary> for GroupCounts {
    fn from(group: GroupSummary) -> Self {
        let GroupSummary { queued, complete, failed, running, starting, lost, unknown } = group;
        Self { complete, failed, lost, queued, running, starting, unknown }
    }
}

impl<'a> Summary<'a> {
    /// The summary of that job.
    pub fn new(job: &'a Job, summary: JobSummary, children: Children) -> Self {
        Self {
            children,
            create_index: summary.create_index,
            job_id: &job.id,
            modify_index: summary.modify_index,
            namespace: &job.namespace,
            summary: summary.groups.into_iter().map(|(name, group)| (name, group.into())).collect(),
        }
    }
}

/// A job with its allocs and its rollout in short.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct JobStatusView<'a> {
    allocs: Vec<AllocStatus<'a>>,
    child_statuses: Option<Vec<String>>,
    #[serde(serialize_with = "nullable_list")]
    datacenters: &'a [String],
    group_count_sum: i64,
    #[serde(rename = "ID")]
    id: &'a JobId,
    is_pack: bool,
    latest_deployment: Option<DeploymentStatusView<'a>>,
    modify_index: u64,
    name: &'a str,
    namespace: &'a Namespace,
    node_pool: &'a str,
    #[serde(rename = "ParentID")]
    parent_id: &'a str,
    priority: i64,
    status: JobStatus,
    stop: bool,
    submit_time: Timestamp,
    #[serde(rename = "Type")]
    kind: JobType,
    version: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AllocStatus<'a> {
    client_status: ClientStatus,
    deployment_status: AllocHealthView,
    #[serde(rename = "FollowupEvalID", with = "drover_model::id::optional")]
    followup_eval_id: Option<EvalId>,
    group: &'a str,
    has_paused_task: bool,
    #[serde(rename = "ID")]
    id: AllocId,
    job_version: u64,
    #[serde(rename = "NodeID")]
    node_id: NodeId,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AllocHealthView {
    canary: bool,
    healthy: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DeploymentStatusView<'a> {
    all_auto_promote: bool,
    #[serde(rename = "ID")]
    id: DeploymentId,
    is_active: bool,
    job_version: u64,
    requires_promotion: bool,
    status: &'static str,
    status_description: &'a str,
}

impl<'a> JobStatusView<'a> {
    /// The job with its allocs and its newest deployment, as of `index`.
    pub fn new(job: &'a Job, allocs: &[&'a Alloc], deployment: Option<&'a Deployment>, index: u64) -> Self {
        let alloc = |alloc: &&'a Alloc| AllocStatus {
            client_status: alloc.client_status,
            deployment_status: AllocHealthView { canary: alloc.is_canary(), healthy: alloc.health() },
            followup_eval_id: alloc.followup_eval_id,
            group: &alloc.task_group,
            has_paused_task: alloc.task_states.values().any(|state| !state.paused.is_empty()),
            id: alloc.id,
            job_version: alloc.job_version,
            node_id: alloc.node_id,
        };
        let rollout = |deployment: &'a Deployment| DeploymentStatusView {
            all_auto_promote: deployment.task_groups.values().all(|group| group.auto_promote),
            id: deployment.id,
            is_active: deployment.status.is_active(),
            job_version: deployment.job_version,
            requires_promotion: deployment.requires_promotion(),
            status: deployment.status.as_str(),
            status_description: &deployment.status_description,
        };
        Self {
            allocs: allocs.iter().map(alloc).collect(),
            child_statuses: None,
            datacenters: &job.datacenters,
            group_count_sum: job.task_groups.iter().map(|group| group.count).sum(),
            id: &job.id,
            is_pack: job.meta.contains_key("pack.name"),
            latest_deployment: deployment.map(rollout),
            modify_index: index,
            name: &job.name,
            namespace: &job.namespace,
            node_pool: &job.node_pool,
            parent_id: &job.parent_id,
            priority: job.priority,
            status: job.status,
            stop: job.stop,
            submit_time: job.submit_time,
            kind: job.kind,
            version: job.version,
        }
    }
}
