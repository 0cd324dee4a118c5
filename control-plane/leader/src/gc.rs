//! Collection: which ended things are old enough to be forgotten.
//!
//! `apply` checks each of them again, so a proposal that is late does no harm.

use std::collections::BTreeSet;
use std::time::Duration;

use drover_model::alloc::{Alloc, ClientStatus, DesiredStatus};
use drover_model::eval::Eval;
use drover_model::job::{Job, JobStatus};
use drover_model::node::NodeStatus;
use drover_model::{AllocId, DeploymentId, EvalId, JobKey, NodeId, Timestamp};
use drover_state::{Command, Snapshot};

use crate::replacement;

/// The most ids of a kind in one command. Whoever waits for a write waits for no more than one of these: some milliseconds.
pub const COLLECTED_PER_COMMAND_MAX: usize = 1024;

const HOUR: Duration = Duration::from_secs(3600);

/// How long ended things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Evals with their allocs.
    pub eval: Duration,
    /// Those of batch jobs.
    pub batch_eval: Duration,
    /// Dead jobs.
    pub job: Duration,
    /// Deployments.
    pub deployment: Duration,
    /// Nodes that are down.
    pub node: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { eval: HOUR, batch_eval: 24 * HOUR, job: 4 * HOUR, deployment: HOUR, node: 24 * HOUR }
    }
}

impl Thresholds {
    /// Whatever has ended goes at once: an operator asked for it.
    pub const NONE: Thresholds = Thresholds {
        eval: Duration::ZERO,
        batch_eval: Duration::ZERO,
        job: Duration::ZERO,
        deployment: Duration::ZERO,
        node: Duration::ZERO,
    };
}

/// What is to be forgotten now.
pub fn step(snapshot: &Snapshot, now: Timestamp) -> Vec<Command> {
    collect(snapshot, now, Thresholds::default())
}

/// What is to be forgotten now with these thresholds.
pub fn collect(snapshot: &Snapshot, now: Timestamp, thresholds: Thresholds) -> Vec<Command> {
    let mut sweep = Sweep::new(snapshot, now, thresholds);
    sweep.jobs();
    sweep.evals();
    sweep.left_allocs();
    sweep.deployments();
    sweep.nodes();
    sweep.commands()
}

struct Sweep<'a> {
    snapshot: &'a Snapshot,
    now: Timestamp,
    thresholds: Thresholds,
    jobs: BTreeSet<JobKey>,
    evals: BTreeSet<EvalId>,
    allocs: BTreeSet<AllocId>,
    deployments: BTreeSet<DeploymentId>,
    nodes: BTreeSet<NodeId>,
}

impl<'a> Sweep<'a> {
    fn new(snapshot: &'a Snapshot, now: Timestamp, thresholds: Thresholds) -> Self {
        Self {
            snapshot,
            now,
            thresholds,
            jobs: BTreeSet::new(),
            evals: BTreeSet::new(),
            allocs: BTreeSet::new(),
            deployments: BTreeSet::new(),
            nodes: BTreeSet::new(),
        }
    }

    /// It is as it is for so long. What bears a date ahead stays: it may be this leader's clock that is wrong, and then all there
    /// is would look so.
    fn is_old(&self, since: Timestamp, threshold: Duration) -> bool {
        since.plus(threshold) <= self.now
    }

    /// Dead jobs of which everything has ended go with all of it.
    fn jobs(&mut self) {
        for job in self.snapshot.jobs() {
            let key = job.key();
            let is_over = job.status == JobStatus::Dead && (job.stop || !job.is_parent());
            if !is_over || !self.is_old(job.submit_time, self.thresholds.job) {
                continue;
            }
            let is_tagged = self.snapshot.job_versions(&key).iter().any(|version| version.version_tag.is_some());
            let evals: Vec<&Eval> = self.snapshot.evals_of_job(&key).map(|eval| &**eval).collect();
            let allocs: Vec<&Alloc> = self.snapshot.allocs_of_job(&key).map(|alloc| &**alloc).collect();
            let are_evals_old = evals
                .iter()
                .all(|eval| eval.status.is_terminal() && self.is_old(eval.modify_time, self.thresholds.job));
            let are_allocs_old = allocs.iter().all(|alloc| self.has_ended(alloc, self.thresholds.job));
            if !is_tagged && are_evals_old && are_allocs_old {
                self.evals.extend(evals.iter().map(|eval| eval.id));
                self.allocs.extend(allocs.iter().map(|alloc| alloc.id));
                self.jobs.insert(key);
            }
        }
    }

    /// Evals that have ended, with the allocs they made; not while one of these is still needed.
    fn evals(&mut self) {
        for eval in self.snapshot.evals() {
            let job = self.snapshot.job(&eval.job_key());
            let threshold = if eval.kind.is_batch() { self.thresholds.batch_eval } else { self.thresholds.eval };
            if !eval.status.is_terminal() || !self.is_old(eval.modify_time, threshold) {
                continue;
            }
            let allocs: Vec<&Alloc> = self.snapshot.allocs_of_eval(eval.id).map(|alloc| &**alloc).collect();
            let count = allocs.len();
            let old: Vec<&Alloc> =
                allocs.into_iter().filter(|alloc| self.may_go(alloc, job.map(|job| &**job), threshold)).collect();
            if old.len() == count {
                self.evals.insert(eval.id);
            }
            // Of a batch job that lives, old versions' allocs go one by one.
            if old.len() == count || eval.kind.is_batch() {
                self.allocs.extend(old.iter().map(|alloc| alloc.id));
            }
        }
    }

    /// Allocs whose eval is gone.
    fn left_allocs(&mut self) {
        for alloc in self.snapshot.allocs() {
            if alloc.eval_id.is_some_and(|id| self.snapshot.eval(id).is_some()) {
                continue;
            }
            let job = self.snapshot.job(&alloc.job_key()).map(|job| &**job);
            let is_batch = self.snapshot.job_of_alloc(alloc).is_some_and(|job| job.kind.is_batch());
            let threshold = if is_batch { self.thresholds.batch_eval } else { self.thresholds.eval };
            if self.may_go(alloc, job, threshold) {
                self.allocs.insert(alloc.id);
            }
        }
    }

    /// Nothing of it runs any more, since long enough.
    fn has_ended(&self, alloc: &Alloc, threshold: Duration) -> bool {
        let is_gone = alloc.is_client_terminal() || self.snapshot.node(alloc.node_id).is_none();
        alloc.is_terminal() && is_gone && self.is_old(alloc.modify_time, threshold)
    }

    /// It has ended, and its job does not need to know of it.
    fn may_go(&self, alloc: &Alloc, job: Option<&Job>, threshold: Duration) -> bool {
        if !self.has_ended(alloc, threshold) {
            return false;
        }
        let Some(job) = job.filter(|job| job.create_index == alloc.job_create_index && !job.stop) else {
            return true;
        };
        // Work that is done is not done again: it goes only together with its job.
        if job.kind.is_batch() && alloc.job_version == job.version {
            return false;
        }
        let is_failure = alloc.client_status == ClientStatus::Failed && alloc.desired_status == DesiredStatus::Run;
        let policy = job.group(&alloc.task_group).and_then(|group| group.reschedule_policy.as_ref());
        let is_settled = job.status == JobStatus::Dead || alloc.next_allocation.is_some();
        !is_failure || is_settled || !replacement::is_possible(alloc, policy, self.now)
    }

    fn deployments(&mut self) {
        for deployment in self.snapshot.deployments() {
            let is_used = || self.snapshot.allocs_of_deployment(deployment.id).any(|alloc| !alloc.is_terminal());
            let is_over = !deployment.status.is_active();
            if is_over && self.is_old(deployment.modify_time, self.thresholds.deployment) && !is_used() {
                self.deployments.insert(deployment.id);
            }
        }
    }

    fn nodes(&mut self) {
        for node in self.snapshot.nodes() {
            let since = Timestamp(node.status_updated_at.saturating_mul(1_000_000_000));
            let is_used = || self.snapshot.allocs_of_node(node.id).any(|alloc| !alloc.is_terminal());
            if node.status == NodeStatus::Down && self.is_old(since, self.thresholds.node) && !is_used() {
                self.nodes.insert(node.id);
            }
        }
    }

    /// As many commands as it takes. Evals and allocs go first: a job that still has some stays.
    fn commands(self) -> Vec<Command> {
        let mut evals = chunks(self.evals).into_iter();
        let mut allocs = chunks(self.allocs).into_iter();
        let mut deployments = chunks(self.deployments).into_iter();
        let mut jobs = chunks(self.jobs).into_iter();
        let mut nodes = chunks(self.nodes).into_iter();
        let mut commands = Vec::new();
        loop {
            let (some_evals, some_allocs) = (evals.next(), allocs.next());
            let is_last = some_evals.is_none() && some_allocs.is_none();
            let (some_jobs, some_deployments, some_nodes) =
                if is_last { (jobs.next(), deployments.next(), nodes.next()) } else { (None, None, None) };
            if is_last && some_jobs.is_none() && some_deployments.is_none() && some_nodes.is_none() {
                return commands;
            }
            commands.push(Command::Collect {
                evals: some_evals.unwrap_or_default(),
                allocs: some_allocs.unwrap_or_default(),
                deployments: some_deployments.unwrap_or_default(),
                jobs: some_jobs.unwrap_or_default(),
                nodes: some_nodes.unwrap_or_default(),
            });
        }
    }
}

fn chunks<T: Clone>(ids: BTreeSet<T>) -> Vec<Vec<T>> {
    let ids: Vec<T> = ids.into_iter().collect();
    ids.chunks(COLLECTED_PER_COMMAND_MAX).map(<[T]>::to_vec).collect()
}

#[cfg(test)]
mod tests;
