//! The state itself: ordered persistent maps of shared values, so that a copy costs nothing.
//!
//! The functions here keep the maps and their secondary indexes in step and know nothing of commands; only `apply` and
//! the decoding of an image call them.

use std::fmt;
use std::sync::Arc;

use drover_model::alloc::Alloc;
use drover_model::deployment::Deployment;
use drover_model::eval::{Eval, EvalStatus};
use drover_model::job::{Job, JobType};
use drover_model::node::Node;
use drover_model::{AllocId, DeploymentId, EvalId, JobKey, JoinTokenId, NodeId, Timestamp};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::autopilot::AutopilotConfig;
use crate::children::Children;
use crate::join_token::JoinToken;
use crate::namespaces::Namespaces;
use crate::node_load::NodeLoad;
use crate::recent::Recent;
use crate::scaling::JobScaling;
use crate::scheduler_config::SchedulerConfig;
use crate::submission::Submission;
use crate::summary::JobSummary;

/// The most versions of a job that are kept, beside those with a tag and those that an alloc still runs.
pub const JOB_VERSIONS_MAX: usize = 6;

/// The replicated state of a region. Cloning costs nothing.
#[derive(Clone, Default)]
pub struct State {
    pub(crate) index: u64,
    /// The index at which it was read whole; 0 for one that has grown from nothing. Not part of the image.
    pub(crate) begun_index: u64,
    pub(crate) table_indexes: TableIndexes,

    pub(crate) jobs: OrdMap<JobKey, Arc<Job>>,
    /// By (create index, version), so that a job never gets the versions of an earlier one of the same name.
    pub(crate) versions: OrdMap<JobKey, OrdMap<(u64, u64), Arc<Job>>>,
    pub(crate) submissions: OrdMap<JobKey, OrdMap<u64, Arc<Submission>>>,
    pub(crate) summaries: OrdMap<JobKey, Arc<JobSummary>>,
    pub(crate) scaling: OrdMap<JobKey, Arc<JobScaling>>,
    /// When periodic jobs were last launched, or a launch was left out.
    pub(crate) launches: OrdMap<JobKey, Timestamp>,
    pub(crate) nodes: OrdMap<NodeId, Arc<Node>>,
    pub(crate) evals: OrdMap<EvalId, Arc<Eval>>,
    pub(crate) allocs: OrdMap<AllocId, Arc<Alloc>>,
    pub(crate) deployments: OrdMap<DeploymentId, Arc<Deployment>>,
    pub(crate) join_tokens: OrdMap<JoinTokenId, Arc<JoinToken>>,
    pub(crate) autopilot: Option<Arc<AutopilotConfig>>,
    pub(crate) namespaces: Namespaces,
    /// None until somebody has set them.
    pub(crate) scheduler_config: Option<Arc<SchedulerConfig>>,

    // Secondary indexes: derived, not part of the image.
    pub(crate) of_job: OrdMap<JobKey, Arc<OfJob>>,
    /// Jobs that launch by the clock.
    pub(crate) periodic_jobs: OrdSet<JobKey>,
    /// Jobs that want to be on every node.
    pub(crate) system_jobs: OrdSet<JobKey>,
    /// Jobs by the job that launched them.
    pub(crate) children: OrdMap<JobKey, Arc<Children>>,
    /// Evals that have not ended.
    pub(crate) open_evals: OrdSet<EvalId>,
    pub(crate) blocked_evals: OrdSet<EvalId>,
    pub(crate) active_deployments: OrdSet<DeploymentId>,
    pub(crate) allocs_of_node: OrdMap<NodeId, OrdSet<AllocId>>,
    pub(crate) loads: OrdMap<NodeId, Arc<NodeLoad>>,
    /// By node, since this state was read.
    pub(crate) recently_wanted: OrdMap<NodeId, Arc<Recent>>,
    pub(crate) allocs_of_eval: OrdMap<EvalId, OrdSet<AllocId>>,
    pub(crate) allocs_of_deployment: OrdMap<DeploymentId, OrdSet<AllocId>>,
}

impl State {
    /// This state took the place of another at that index: whoever waits for a change of anything has seen one.
    pub fn mark_restored(&mut self, index: u64) {
        self.index = self.index.max(index);
        self.begun_index = self.index;
        self.table_indexes.set_all(self.index);
    }
}

/// What belongs to a job, also to one that is gone.
#[derive(Clone, Default)]
pub(crate) struct OfJob {
    pub allocs: OrdSet<AllocId>,
    pub evals: OrdSet<EvalId>,
    pub deployments: OrdSet<DeploymentId>,
    /// Allocs that shall run and have not ended.
    pub live_allocs: usize,
    /// Evals that have not ended.
    pub open_evals: OrdSet<EvalId>,
    /// Deployments that have not ended.
    pub active_deployments: usize,
}

impl OfJob {
    fn is_empty(&self) -> bool {
        self.allocs.is_empty() && self.evals.is_empty() && self.deployments.is_empty()
    }
}

/// A part of the state that has an index of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Jobs, their versions and summaries.
    Jobs,
    /// Nodes.
    Nodes,
    /// Evals.
    Evals,
    /// Allocs.
    Allocs,
    /// Deployments.
    Deployments,
    /// Join tokens.
    JoinTokens,
    /// Namespaces.
    Namespaces,
    /// The settings of the scheduler.
    SchedulerConfig,
}

/// Raft index of the last change of each table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TableIndexes {
    jobs: u64,
    nodes: u64,
    evals: u64,
    allocs: u64,
    deployments: u64,
    join_tokens: u64,
    namespaces: u64,
    scheduler_config: u64,
}

impl TableIndexes {
    pub(crate) fn of(self, table: Table) -> u64 {
        match table {
            Table::Jobs => self.jobs,
            Table::Nodes => self.nodes,
            Table::Evals => self.evals,
            Table::Allocs => self.allocs,
            Table::Deployments => self.deployments,
            Table::JoinTokens => self.join_tokens,
            Table::Namespaces => self.namespaces,
            Table::SchedulerConfig => self.scheduler_config,
        }
    }

    pub(crate) fn set_all(&mut self, index: u64) {
        let Self { jobs, nodes, evals, allocs, deployments, join_tokens, namespaces, scheduler_config } = self;
        for table in [jobs, nodes, evals, allocs, deployments, join_tokens, namespaces, scheduler_config] {
            *table = index;
        }
    }

    pub(crate) fn set(&mut self, table: Table, index: u64) {
        *match table {
            Table::Jobs => &mut self.jobs,
            Table::Nodes => &mut self.nodes,
            Table::Evals => &mut self.evals,
            Table::Allocs => &mut self.allocs,
            Table::Deployments => &mut self.deployments,
            Table::JoinTokens => &mut self.join_tokens,
            Table::Namespaces => &mut self.namespaces,
            Table::SchedulerConfig => &mut self.scheduler_config,
        } = index;
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("index", &self.index)
            .field("jobs", &self.jobs.len())
            .field("nodes", &self.nodes.len())
            .field("evals", &self.evals.len())
            .field("allocs", &self.allocs.len())
            .field("deployments", &self.deployments.len())
            .finish_non_exhaustive()
    }
}

fn remove_from<K: Ord + Clone, V: Ord + Clone>(map: &mut OrdMap<K, OrdSet<V>>, key: &K, value: &V) {
    let Some(set) = map.get_mut(key) else { return };
    set.remove(value);
    if set.is_empty() {
        map.remove(key);
    }
}

/// Moves something that stands in an index by a key, if it has another place now.
fn move_in<T, K: Ord + Clone, V: Ord + Clone>(
    map: &mut OrdMap<K, OrdSet<V>>,
    old: Option<&T>,
    new: Option<&T>,
    place: impl Fn(&T) -> Option<(K, V)>,
) {
    let (old, new) = (old.and_then(&place), new.and_then(&place));
    if old == new {
        return;
    }
    if let Some((key, value)) = old {
        remove_from(map, &key, &value);
    }
    if let Some((key, value)) = new {
        map.entry(key).or_default().insert(value);
    }
}

impl State {
    pub(crate) fn with_job(&mut self, key: JobKey, change: impl FnOnce(&mut OfJob)) {
        let entry = self.of_job.entry(key.clone()).or_default();
        let of_job = Arc::make_mut(entry);
        change(of_job);
        if of_job.is_empty() {
            self.of_job.remove(&key);
        }
    }

    pub(crate) fn set_version(&mut self, job: &Arc<Job>) {
        self.versions.entry(job.key()).or_default().insert((job.create_index, job.version), job.clone());
    }

    pub(crate) fn set_job(&mut self, job: &Arc<Job>) {
        self.set_version(job);
        self.set_current(job);
    }

    /// Makes a version that is known the job.
    pub(crate) fn set_current(&mut self, job: &Arc<Job>) {
        if job.periodic.is_some() {
            self.periodic_jobs.insert(job.key());
        } else {
            self.periodic_jobs.remove(&job.key());
        }
        if matches!(job.kind, JobType::System | JobType::SysBatch) {
            self.system_jobs.insert(job.key());
        } else {
            self.system_jobs.remove(&job.key());
        }
        let old = self.jobs.insert(job.key(), job.clone());
        let place = |job: &Job| (job.parent_key(), job.status, job.dispatch_idempotency_token.clone());
        if old.as_ref().is_some_and(|old| place(old) == place(job)) {
            return;
        }
        if let Some(old) = old {
            self.forget_child(&old);
        }
        if let Some(parent) = job.parent_key() {
            Arc::make_mut(self.children.entry(parent).or_default()).add(job);
        }
    }

    fn forget_child(&mut self, job: &Job) {
        let Some(parent) = job.parent_key() else { return };
        let Some(children) = self.children.get_mut(&parent) else { return };
        let children = Arc::make_mut(children);
        children.remove(job);
        if children.is_empty() {
            self.children.remove(&parent);
        }
    }

    /// Forgets a job with all that only it needs, its versions aside.
    pub(crate) fn remove_job(&mut self, key: &JobKey) {
        if let Some(job) = self.jobs.remove(key) {
            self.forget_child(&job);
        }
        self.periodic_jobs.remove(key);
        self.system_jobs.remove(key);
        self.submissions.remove(key);
        self.summaries.remove(key);
        self.scaling.remove(key);
        self.launches.remove(key);
    }

    pub(crate) fn set_submission(&mut self, key: JobKey, version: u64, submission: Arc<Submission>) {
        self.submissions.entry(key).or_default().insert(version, submission);
    }

    pub(crate) fn set_eval(&mut self, eval: Arc<Eval>) {
        let old = self.evals.insert(eval.id, eval.clone());
        if let Some(old) = &old {
            self.forget_eval(old);
        }
        if eval.status == EvalStatus::Blocked {
            self.blocked_evals.insert(eval.id);
        }
        if !eval.status.is_terminal() {
            self.open_evals.insert(eval.id);
        }
        self.with_job(eval.job_key(), |of_job| {
            of_job.evals.insert(eval.id);
            if !eval.status.is_terminal() {
                of_job.open_evals.insert(eval.id);
            }
        });
    }

    pub(crate) fn remove_eval(&mut self, id: EvalId) -> Option<Arc<Eval>> {
        let old = self.evals.remove(&id)?;
        self.forget_eval(&old);
        Some(old)
    }

    fn forget_eval(&mut self, old: &Eval) {
        if old.status == EvalStatus::Blocked {
            self.blocked_evals.remove(&old.id);
        }
        self.open_evals.remove(&old.id);
        self.with_job(old.job_key(), |of_job| {
            of_job.evals.remove(&old.id);
            of_job.open_evals.remove(&old.id);
        });
    }

    pub(crate) fn set_alloc(&mut self, alloc: Arc<Alloc>) {
        let old = self.allocs.insert(alloc.id, alloc.clone());
        self.index_alloc(old.as_deref(), Some(&alloc));
    }

    pub(crate) fn remove_alloc(&mut self, id: AllocId) -> Option<Arc<Alloc>> {
        let old = self.allocs.remove(&id)?;
        self.index_alloc(Some(&old), None);
        Some(old)
    }

    /// Moves an alloc in the indexes in which it stands elsewhere than before. After a report, the usual case, that is none.
    fn index_alloc(&mut self, old: Option<&Alloc>, new: Option<&Alloc>) {
        move_in(&mut self.allocs_of_node, old, new, |alloc| Some((alloc.node_id, alloc.id)));
        move_in(&mut self.allocs_of_eval, old, new, |alloc| Some((alloc.eval_id?, alloc.id)));
        move_in(&mut self.allocs_of_deployment, old, new, |alloc| Some((alloc.deployment_id?, alloc.id)));
        self.load_alloc(old, new);
        self.note_wanted(old, new);
        let is_of_one_job = |old: &Alloc, new: &Alloc| old.job_id == new.job_id && old.namespace == new.namespace;
        if let Some((old, new)) = old.zip(new).filter(|(old, new)| is_of_one_job(old, new)) {
            if old.is_terminal() != new.is_terminal() {
                self.with_job(new.job_key(), |of_job| {
                    of_job.live_allocs += usize::from(!new.is_terminal());
                    of_job.live_allocs -= usize::from(!old.is_terminal());
                });
            }
            return;
        }
        if let Some(old) = old {
            self.with_job(old.job_key(), |of_job| {
                of_job.allocs.remove(&old.id);
                of_job.live_allocs -= usize::from(!old.is_terminal());
            });
        }
        if let Some(new) = new {
            self.with_job(new.job_key(), |of_job| {
                of_job.allocs.insert(new.id);
                of_job.live_allocs += usize::from(!new.is_terminal());
            });
        }
    }

    fn note_wanted(&mut self, old: Option<&Alloc>, new: Option<&Alloc>) {
        if let Some(old) = old
            && !self.allocs_of_node.contains_key(&old.node_id)
        {
            self.recently_wanted.remove(&old.node_id);
        }
        let place = |alloc: &Alloc| (alloc.node_id, alloc.alloc_modify_index);
        if let Some(new) = new
            && old.map(place) != Some(place(new))
        {
            Arc::make_mut(self.recently_wanted.entry(new.node_id).or_default()).note(new.alloc_modify_index, new.id);
        }
    }

    fn load_alloc(&mut self, old: Option<&Alloc>, new: Option<&Alloc>) {
        let is_same = |old: &Alloc, new: &Alloc| {
            old.node_id == new.node_id
                && old.is_client_terminal() == new.is_client_terminal()
                && (Arc::ptr_eq(&old.allocated_resources, &new.allocated_resources)
                    || old.allocated_resources == new.allocated_resources)
        };
        if old.zip(new).is_some_and(|(old, new)| is_same(old, new)) {
            return;
        }
        if let Some(old) = old {
            if self.allocs_of_node.contains_key(&old.node_id) {
                Arc::make_mut(self.loads.entry(old.node_id).or_default()).remove(old);
            } else {
                self.loads.remove(&old.node_id);
            }
        }
        if let Some(new) = new {
            Arc::make_mut(self.loads.entry(new.node_id).or_default()).add(new);
        }
    }

    pub(crate) fn set_deployment(&mut self, deployment: Arc<Deployment>) {
        let old = self.deployments.insert(deployment.id, deployment.clone());
        if let Some(old) = &old {
            self.forget_deployment(old);
        }
        if deployment.status.is_active() {
            self.active_deployments.insert(deployment.id);
        }
        self.with_job(deployment.job_key(), |of_job| {
            of_job.deployments.insert(deployment.id);
            of_job.active_deployments += usize::from(deployment.status.is_active());
        });
    }

    pub(crate) fn remove_deployment(&mut self, id: DeploymentId) -> Option<Arc<Deployment>> {
        let old = self.deployments.remove(&id)?;
        self.forget_deployment(&old);
        Some(old)
    }

    fn forget_deployment(&mut self, old: &Deployment) {
        if old.status.is_active() {
            self.active_deployments.remove(&old.id);
        }
        self.with_job(old.job_key(), |of_job| {
            of_job.deployments.remove(&old.id);
            of_job.active_deployments -= usize::from(old.status.is_active());
        });
    }
}
