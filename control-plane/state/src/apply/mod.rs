//! `apply`: one command changes the state. Total and deterministic; one file per noun.
//!
//! A function here first looks whether it can do what the command says (else it refuses and has changed nothing), then
//! changes the state through `Applying`, which keeps indexes, events, summaries and the status of jobs.

mod alloc;
mod autopilot;
mod collect;
mod deployment;
mod eval;
mod job;
mod join_token;
mod launch;
mod namespace;
mod node;
mod plan;
mod scaling;
mod scheduler_config;
mod status;
mod tag;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use drover_model::alloc::Alloc;
use drover_model::deployment::Deployment;
use drover_model::eval::Eval;
use drover_model::job::Job;
use drover_model::node::Node;
use drover_model::{JobKey, NodeId, Timestamp};

use crate::command::{Answer, Command, Refusal};
use crate::event::{Change, Events};
use crate::note::{Cause, Note, Subject};
use crate::state::{State, Table};

/// Applies the command that stands at `index` in the log.
pub fn apply(state: &mut State, index: u64, command: Command) -> (Answer, Events) {
    state.index = index;
    let mut applying = Applying {
        state,
        index,
        changes: Vec::new(),
        seen: BTreeSet::new(),
        jobs: BTreeSet::new(),
        shrunk: BTreeSet::new(),
        forgotten: BTreeMap::new(),
    };
    let cause = Cause::of(&command, applying.state);
    let reporter = match &command {
        Command::UpdateAllocs { node_id, .. } => Some(*node_id),
        _ => None,
    };
    let answer = applying.command(command).unwrap_or_else(Answer::Refused);
    applying.settle_jobs();
    let notes = cause.map(|cause| applying.notes(cause, reporter)).unwrap_or_default();
    let changes = applying.changes;
    (answer, Events { index, changes, notes })
}

/// A command being applied.
struct Applying<'a> {
    state: &'a mut State,
    index: u64,
    changes: Vec<Change>,
    seen: BTreeSet<Change>,
    /// Jobs whose status may have changed.
    jobs: BTreeSet<JobKey>,
    /// Jobs of which old versions may not be needed any more.
    shrunk: BTreeSet<JobKey>,
    /// Jobs that were forgotten, as they were last.
    forgotten: BTreeMap<JobKey, Arc<Job>>,
}

impl Applying<'_> {
    fn command(&mut self, command: Command) -> Result<Answer, Refusal> {
        match command {
            Command::Noop => {}
            Command::RegisterJob(register) => return self.register_job(*register),
            Command::DeregisterJob { key, purge, eval, at } => {
                return Ok(self.deregister_job(key, purge, eval.map(|eval| *eval), at));
            }
            Command::SetJobStability { key, version, stable } => self.set_job_stability(&key, version, stable)?,
            Command::RegisterNode { node, evals, at } => {
                self.register_node(*node, at);
                self.put_evals(evals, at);
            }
            Command::UpdateNodeStatus { node_id, status, event, evals, at } => {
                self.update_node_status(node_id, status, event, at)?;
                self.put_evals(evals, at);
            }
            Command::UpdateNodeEligibility { node_id, eligibility, evals, at } => {
                self.update_node_eligibility(node_id, eligibility, at)?;
                self.put_evals(evals, at);
            }
            Command::DeregisterNode { node_id, evals, at } => {
                self.deregister_node(node_id)?;
                self.put_evals(evals, at);
            }
            Command::UpsertEvals { evals, at } => self.put_evals(evals, at),
            Command::ApplyPlans { plans, at } => {
                for plan in plans {
                    self.accepted_plan(plan, at);
                }
            }
            Command::UpdateAllocs { node_id, updates, evals, at } => {
                self.update_allocs(node_id, updates, at);
                self.put_evals(evals, at);
            }
            Command::UpdateAllocTransitions { transitions, evals, at } => {
                self.update_transitions(transitions, at)?;
                self.put_evals(evals, at);
            }
            Command::UpdateDeployment(change) => self.change_deployment(*change)?,
            Command::UpsertDeployment { deployment, eval, at } => {
                self.upsert_deployment(*deployment, at)?;
                self.put_evals(eval.map(|eval| *eval).into_iter().collect(), at);
            }
            Command::AddJoinToken { token } => self.add_join_token(*token),
            Command::SpendJoinToken { id, secret_hash, at } => self.spend_join_token(id, secret_hash, at)?,
            Command::RemoveJoinTokens { ids } => self.remove_join_tokens(ids),
            Command::SetAllocHealth(health) => self.set_alloc_health(*health)?,
            Command::TagJobVersion { tag, at } => self.tag_job_version(*tag, at)?,
            Command::UntagJobVersion { key, name } => self.untag_job_version(&key, &name)?,
            Command::ScaleJob(scale) => return self.scale_job(*scale),
            Command::LaunchJob(launch) => return self.launch_job(*launch),
            Command::SetAutopilotConfig { config, cas } => self.set_autopilot_config(*config, cas)?,
            Command::UpsertNamespace { namespace } => self.upsert_namespace(*namespace),
            Command::ReconcileSummaries => self.reconcile_summaries(),
            Command::SetSchedulerConfig { config, cas } => self.set_scheduler_config(*config, cas)?,
            Command::DeleteNamespace { name } => self.delete_namespace(&name)?,
            Command::Collect { evals, allocs, deployments, jobs, nodes } => {
                self.collect_evals(evals);
                self.collect_allocs(allocs);
                self.collect_deployments(deployments);
                self.collect_jobs(jobs);
                self.collect_nodes(nodes);
            }
        }
        Ok(Answer::Done)
    }

    /// What is told of the changes; `reporter` is the node whose allocs a report was about.
    fn notes(&self, cause: Cause, reporter: Option<NodeId>) -> Vec<Note> {
        let state = &*self.state;
        let subject = |change: &Change| match change {
            // What changed of a job may be its summary or an old version alone.
            Change::Job(key) => match (state.jobs.get(key), self.forgotten.get(key)) {
                (Some(job), _) => Some(Subject::Job(job.clone())).filter(|_| job.modify_index == self.index),
                (None, forgotten) => forgotten.cloned().map(Subject::ForgottenJob),
            },
            Change::Node(id) => state.nodes.get(id).cloned().map(Subject::Node),
            Change::Eval { id, .. } => state.evals.get(id).cloned().map(Subject::Eval),
            Change::Alloc { id, .. } => state.allocs.get(id).cloned().map(Subject::Alloc),
            Change::Deployment { id, .. } => state.deployments.get(id).cloned().map(Subject::Deployment),
            Change::JoinTokens | Change::Namespace(_) | Change::SchedulerConfig => None,
        };
        let reporter = reporter.filter(|_| !self.changes.is_empty()).and_then(|id| state.nodes.get(&id)).cloned();
        let subjects = self.changes.iter().filter_map(subject).chain(reporter.map(Subject::Node));
        let note = |subject| {
            let kind = if matches!(subject, Subject::Eval(_)) { cause.evals } else { cause.main };
            Note { kind, subject }
        };
        subjects.map(note).collect()
    }

    fn changed(&mut self, table: Table, change: Change) {
        self.state.table_indexes.set(table, self.index);
        if self.seen.insert(change.clone()) {
            self.changes.push(change);
        }
    }

    /// Writes the newest version of a job.
    fn put_job(&mut self, mut job: Job) {
        job.modify_index = self.index;
        let key = job.key();
        self.state.set_job(&Arc::new(job));
        self.jobs.insert(key.clone());
        self.changed(Table::Jobs, Change::Job(key));
    }

    fn put_node(&mut self, mut node: Node) {
        node.modify_index = self.index;
        let id = node.id;
        self.state.nodes.insert(id, Arc::new(node));
        self.changed(Table::Nodes, Change::Node(id));
    }

    fn put_eval(&mut self, mut eval: Eval, at: Timestamp) {
        eval.modify_index = self.index;
        eval.modify_time = at;
        let (id, job) = (eval.id, eval.job_key());
        self.state.set_eval(Arc::new(eval));
        self.jobs.insert(job.clone());
        self.changed(Table::Evals, Change::Eval { id, job });
    }

    /// Writes an alloc; `desired` tells that servers changed what shall be.
    fn put_alloc(&mut self, mut alloc: Alloc, desired: bool, at: Timestamp) {
        alloc.modify_index = self.index;
        alloc.modify_time = at;
        if desired {
            alloc.alloc_modify_index = self.index;
        }
        let old = self.state.allocs.get(&alloc.id).cloned();
        self.count_alloc(old.as_deref(), &alloc);
        let (id, node, job, eval) = (alloc.id, alloc.node_id, alloc.job_key(), alloc.eval_id);
        self.state.set_alloc(Arc::new(alloc));
        self.jobs.insert(job.clone());
        self.changed(Table::Allocs, Change::Alloc { id, node, job, eval, desired });
    }

    fn put_deployment(&mut self, mut deployment: Deployment, at: Timestamp) {
        deployment.modify_index = self.index;
        deployment.modify_time = at;
        let (id, job) = (deployment.id, deployment.job_key());
        self.state.set_deployment(Arc::new(deployment));
        self.jobs.insert(job.clone());
        self.changed(Table::Deployments, Change::Deployment { id, job });
    }
}

fn not_found(what: &str) -> Refusal {
    Refusal::NotFound { what: what.to_owned() }
}
