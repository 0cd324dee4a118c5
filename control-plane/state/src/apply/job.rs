//! Jobs: registration, versions, stop and purge.
//!
//! A registration that asks for the same changes nothing but brings its eval; one that differs is a new version, and so
//! is a stop.

use std::collections::BTreeSet;
use std::sync::Arc;

use drover_model::eval::Eval;
use drover_model::job::{Job, JobStatus};
use drover_model::{JobKey, Timestamp};

use super::{Applying, not_found};
use crate::command::{Answer, Refusal, RegisterJob};
use crate::event::Change;
use crate::state::{JOB_VERSIONS_MAX, Table};

impl Applying<'_> {
    pub(super) fn register_job(&mut self, register: RegisterJob) -> Result<Answer, Refusal> {
        let RegisterJob {
            job,
            eval,
            enforce_index,
            preserve_counts,
            preserve_resources,
            submission,
            needs_namespace,
            at,
        } = register;
        let key = job.key();
        if needs_namespace {
            self.check_namespace(&job)?;
        }
        let existing = self.state.jobs.get(&key).cloned();
        check_enforced(enforce_index, existing.as_deref())?;

        let mut job = Arc::unwrap_or_clone(job);
        if let Some(existing) = existing.as_deref().filter(|_| preserve_counts) {
            for group in &mut job.task_groups {
                group.count = existing.group(&group.name).map_or(group.count, |old| old.count);
            }
        }
        if let Some(existing) = existing.as_deref().filter(|_| preserve_resources) {
            for group in &mut job.task_groups {
                let old = existing.group(&group.name);
                for task in &mut group.tasks {
                    if let Some(old) = old.and_then(|old| old.task(&task.name)) {
                        task.resources = old.resources.clone();
                    }
                }
            }
        }
        let (job_modify_index, version) = self.put_registered(job, existing.as_deref(), at);
        let is_new_version = existing.is_none_or(|existing| existing.version != version);
        let has_text = !is_new_version && self.state.submission(&key, version).is_some();
        if let Some(submission) = submission.filter(|_| !has_text) {
            self.state.set_submission(key.clone(), version, Arc::new(submission));
        }
        self.put_job_eval(eval, job_modify_index, at);
        Ok(Answer::Job { job_modify_index, version })
    }

    /// Writes a job as a new version unless it asks for the same; gives its job modify index and version.
    pub(super) fn put_registered(&mut self, mut job: Job, existing: Option<&Job>, at: Timestamp) -> (u64, u64) {
        self.settle_policies(&mut job, existing);
        if let Some(existing) = existing
            && existing.same_request(&job)
        {
            return (existing.job_modify_index, existing.version);
        }
        let (create_index, version) =
            existing.map_or((self.index, 0), |existing| (existing.create_index, existing.version + 1));
        job.create_index = create_index;
        job.version = version;
        // Settled when the command is done.
        job.status = JobStatus::Pending;
        job.status_description = String::new();
        job.job_modify_index = self.index;
        job.submit_time = at;
        job.version_tag = None;
        self.prepare_summary(&job);
        self.shrunk.insert(job.key());
        self.put_job(job);
        (self.index, version)
    }

    /// Writes the eval that came with a change of its job.
    pub(super) fn put_job_eval(&mut self, eval: Option<Eval>, job_modify_index: u64, at: Timestamp) {
        let eval = eval.map(|eval| Eval { job_modify_index, ..eval });
        self.put_evals(eval.into_iter().collect(), at);
    }

    pub(super) fn deregister_job(&mut self, key: JobKey, purge: bool, eval: Option<Eval>, at: Timestamp) -> Answer {
        let Some(existing) = self.state.jobs.get(&key).cloned() else {
            // Allocs of a job that was purged earlier may still have to be stopped.
            if self.state.of_job.get(&key).is_some_and(|of_job| of_job.live_allocs > 0) {
                self.put_job_eval(eval, self.index, at);
            }
            return Answer::Job { job_modify_index: 0, version: 0 };
        };
        let (job_modify_index, version) = if purge {
            self.forget_job(&key);
            (self.index, existing.version)
        } else {
            let stopped = Job { stop: true, ..Job::clone(&existing) };
            self.put_registered(stopped, Some(&existing), at)
        };
        self.cancel_waiting(&key, at);
        self.put_job_eval(eval, job_modify_index, at);
        Answer::Job { job_modify_index, version }
    }

    /// Removes a job with all that only it needs. Versions that an alloc still runs stay until that alloc goes.
    pub(super) fn forget_job(&mut self, key: &JobKey) {
        if let Some(parent) = self.state.jobs.get(key).and_then(|job| job.parent_key()) {
            self.touch_summary(parent);
        }
        if let Some(job) = self.state.jobs.get(key) {
            self.forgotten.insert(key.clone(), job.clone());
        }
        self.state.remove_job(key);
        self.jobs.insert(key.clone());
        self.shrunk.insert(key.clone());
        self.changed(Table::Jobs, Change::Job(key.clone()));
    }

    pub(super) fn set_job_stability(&mut self, key: &JobKey, version: u64, stable: bool) -> Result<(), Refusal> {
        let current = self.state.jobs.get(key).cloned().ok_or_else(|| not_found("job"))?;
        let wanted = self.state.versions.get(key).and_then(|versions| versions.get(&(current.create_index, version)));
        let wanted = wanted.cloned().ok_or_else(|| not_found("job version"))?;
        if wanted.stable == stable {
            return Ok(());
        }
        let wanted = Job { stable, modify_index: self.index, ..Job::clone(&wanted) };
        if version == current.version {
            self.put_job(wanted);
        } else {
            self.state.set_version(&Arc::new(wanted));
            self.changed(Table::Jobs, Change::Job(key.clone()));
        }
        Ok(())
    }

    /// Forgets versions beyond the newest, except those that have a tag or that an alloc or an active deployment needs.
    pub(super) fn prune_versions(&mut self, key: &JobKey) {
        let current = self.state.jobs.get(key).map(|job| job.create_index);
        let Some(versions) = self.state.versions.get(key) else {
            return;
        };
        let spare: Vec<(u64, u64)> = {
            let old = versions.iter().rev().filter(|((create_index, _), _)| Some(*create_index) != current);
            let kept = versions
                .iter()
                .rev()
                .filter(|((create_index, _), job)| Some(*create_index) == current && job.version_tag.is_none());
            let mut kept: Vec<_> = kept.collect();
            // The newest stable version is what a failed rollout goes back to: it is forgotten after the others.
            if let Some(stable) = kept.iter().position(|(_, job)| job.stable).filter(|at| *at >= JOB_VERSIONS_MAX) {
                let stable = kept.remove(stable);
                kept.insert(JOB_VERSIONS_MAX - 1, stable);
            }
            old.chain(kept.into_iter().skip(JOB_VERSIONS_MAX)).map(|(version, _)| *version).collect()
        };
        if spare.is_empty() {
            return;
        }
        let needed: BTreeSet<(u64, u64)> = {
            let allocs = self.state.allocs_of_job(key).map(|alloc| (alloc.job_create_index, alloc.job_version));
            let deployments = self.state.deployments_of_job(key).filter(|deployment| deployment.status.is_active());
            let deployments = deployments.map(|deployment| (deployment.job_create_index, deployment.job_version));
            allocs.chain(deployments).collect()
        };
        let gone: Vec<_> = spare.into_iter().filter(|version| !needed.contains(version)).collect();
        let Some(versions) = self.state.versions.get_mut(key) else {
            return;
        };
        for version in &gone {
            versions.remove(version);
        }
        if versions.is_empty() {
            self.state.versions.remove(key);
        }
        if let Some(texts) = self.state.submissions.get_mut(key) {
            for (create_index, version) in gone {
                if Some(create_index) == current {
                    texts.remove(&version);
                }
            }
            if texts.is_empty() {
                self.state.submissions.remove(key);
            }
        }
    }
}

pub(super) fn check_enforced(enforce_index: Option<u64>, existing: Option<&Job>) -> Result<(), Refusal> {
    match (enforce_index, existing) {
        (None, _) | (Some(0), None) => Ok(()),
        (Some(0), Some(_)) => Err(Refusal::JobExists),
        (Some(wanted), None) => Err(Refusal::JobMissing { wanted }),
        (Some(wanted), Some(job)) if job.job_modify_index != wanted => {
            Err(Refusal::JobChanged { wanted, found: job.job_modify_index })
        }
        (Some(_), Some(_)) => Ok(()),
    }
}
