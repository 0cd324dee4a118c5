//! Allocs: in lists, and whole with the job they run and the older forms of their resources.

use std::collections::BTreeMap;
use std::sync::Arc;

use drover_model::alloc::{Alloc, AllocHealth, ClientStatus, DesiredStatus, DesiredTransition, RescheduleTracker};
use drover_model::id::optional;
use drover_model::job::{Job, JobType};
use drover_model::resources::{AllocatedResources, AllocatedTask, Resources};
use drover_model::task_state::TaskState;
use drover_model::{AllocId, EvalId, JobId, Namespace, NodeId, SmallMap, Timestamp};
use serde::Serialize;
use serde_json::Value;

/// What a list of allocs shows beside the usual.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// What each was given.
    pub resources: bool,
    /// What became of its tasks.
    pub task_states: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Self { resources: false, task_states: true }
    }
}

/// An alloc in a list. Every key is there.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AllocListStub<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    allocated_resources: Option<&'a AllocatedResources>,
    client_description: &'a str,
    client_status: ClientStatus,
    create_index: u64,
    create_time: Timestamp,
    deployment_status: &'a Option<AllocHealth>,
    desired_description: &'a str,
    desired_status: DesiredStatus,
    desired_transition: DesiredTransition,
    #[serde(rename = "EvalID", with = "optional")]
    eval_id: Option<EvalId>,
    #[serde(rename = "FollowupEvalID", with = "optional")]
    followup_eval_id: Option<EvalId>,
    #[serde(rename = "ID")]
    id: AllocId,
    #[serde(rename = "JobID")]
    job_id: &'a JobId,
    job_type: JobType,
    job_version: u64,
    modify_index: u64,
    modify_time: Timestamp,
    name: &'a str,
    namespace: &'a Namespace,
    #[serde(with = "optional")]
    next_allocation: Option<AllocId>,
    #[serde(rename = "NodeID")]
    node_id: NodeId,
    node_name: &'a str,
    preempted_allocations: Option<&'a [AllocId]>,
    #[serde(with = "optional")]
    preempted_by_allocation: Option<AllocId>,
    reschedule_tracker: &'a Option<RescheduleTracker>,
    task_group: &'a str,
    task_states: Option<&'a SmallMap<String, TaskState>>,
}

impl<'a> AllocListStub<'a> {
    /// The alloc in a list; `job` is the version it runs.
    pub fn new(alloc: &'a Alloc, job: Option<&Arc<Job>>, shown: Shown) -> Self {
        Self {
            allocated_resources: shown.resources.then_some(&*alloc.allocated_resources),
            client_description: &alloc.client_description,
            client_status: alloc.client_status,
            create_index: alloc.create_index,
            create_time: alloc.create_time,
            deployment_status: &alloc.deployment_status,
            desired_description: &alloc.desired_description,
            desired_status: alloc.desired_status,
            desired_transition: alloc.desired_transition,
            eval_id: alloc.eval_id,
            followup_eval_id: alloc.followup_eval_id,
            id: alloc.id,
            job_id: &alloc.job_id,
            job_type: job.map(|job| job.kind).unwrap_or_default(),
            job_version: alloc.job_version,
            modify_index: alloc.modify_index,
            modify_time: alloc.modify_time,
            name: &alloc.name,
            namespace: &alloc.namespace,
            next_allocation: alloc.next_allocation,
            node_id: alloc.node_id,
            node_name: &alloc.node_name,
            preempted_allocations: Some(alloc.preempted_allocations.as_slice()).filter(|list| !list.is_empty()),
            preempted_by_allocation: alloc.preempted_by_allocation,
            reschedule_tracker: &alloc.reschedule_tracker,
            task_group: &alloc.task_group,
            task_states: Some(&alloc.task_states).filter(|states| shown.task_states && !states.is_empty()),
        }
    }
}

/// A whole alloc. Of the alloc itself what is zero is left out.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AllocView<'a> {
    #[serde(flatten)]
    alloc: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<&'a Arc<Job>>,
    resources: Resources,
    shared_resources: Resources,
    task_resources: BTreeMap<&'a str, Resources>,
}

impl<'a> AllocView<'a> {
    /// The whole alloc; `job` is the version it runs.
    ///
    /// # Errors
    /// It can't be written as JSON.
    pub fn new(alloc: &'a Alloc, job: Option<&'a Arc<Job>>) -> Result<Self, serde_json::Error> {
        let mut value = serde_json::to_value(alloc)?;
        if let Value::Object(map) = &mut value {
            // These tell the embedded job, which is here itself.
            map.remove("JobVersion");
            map.remove("JobCreateIndex");
        }
        let given = &alloc.allocated_resources;
        let shared = Resources {
            disk_mib: given.shared.disk_mib,
            networks: given.shared.networks.clone(),
            ..Resources::default()
        };
        let mut all = shared.clone();
        for task in given.tasks.values() {
            all.cpu_mhz += task.cpu.mhz;
            all.memory_mib += task.memory.mib;
            all.memory_max_mib += if task.memory.max_mib == 0 { task.memory.mib } else { task.memory.max_mib };
        }
        let task_resources = given.tasks.iter().map(|(name, task)| (name.as_str(), of_task(task))).collect();
        Ok(Self { alloc: value, job, resources: all, shared_resources: shared, task_resources })
    }
}

fn of_task(task: &AllocatedTask) -> Resources {
    Resources {
        cpu_mhz: task.cpu.mhz,
        cores: i64::try_from(task.cpu.reserved_cores.len()).unwrap_or(i64::MAX),
        memory_mib: task.memory.mib,
        memory_max_mib: task.memory.max_mib,
        networks: task.networks.clone(),
        ..Resources::default()
    }
}
