//! What follows from other changes: the summaries of jobs, and where a job stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use drover_model::JobKey;
use drover_model::alloc::Alloc;
use drover_model::eval::Eval;
use drover_model::job::{Job, JobStatus, JobType};

use super::Applying;
use crate::event::Change;
use crate::state::Table;
use crate::summary::{GroupSummary, JobSummary};

impl Applying<'_> {
    /// Moves an alloc from one count of its job's summary to another.
    pub(super) fn count_alloc(&mut self, old: Option<&Alloc>, new: &Alloc) {
        let is_moved =
            old.is_none_or(|old| old.client_status != new.client_status || old.desired_status != new.desired_status);
        if !is_moved {
            return;
        }
        let (key, group) = (new.job_key(), &new.task_group);
        let summary = self.state.summaries.get(&key).filter(|summary| summary.create_index == new.job_create_index);
        let Some(summary) = summary else { return };
        let before = summary.groups.get(group).copied();
        let mut counts = before.unwrap_or_default();
        if let Some(count) = old.and_then(|old| counts.count_of(old)) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = counts.count_of(new) {
            *count += 1;
        }
        if old.is_none() {
            counts.queued = counts.queued.saturating_sub(1);
        }
        if before == Some(counts) {
            return;
        }
        // In its place: a job may have thousands of groups, and as many allocs change in one entry.
        if let Some(summary) = self.state.summaries.get_mut(&key).map(Arc::make_mut) {
            match summary.groups.get_mut(group) {
                Some(known) => *known = counts,
                None => {
                    summary.groups.insert(group.clone(), counts);
                }
            }
            summary.modify_index = self.index;
        }
        self.changed(Table::Jobs, Change::Job(key));
    }

    /// Takes over how many allocs an eval left to be placed.
    pub(super) fn count_queued(&mut self, eval: &Eval) {
        if eval.queued_allocations.is_empty() {
            return;
        }
        self.change_summary(&eval.job_key(), |summary| {
            if eval.job_modify_index < summary.create_index {
                return;
            }
            for (group, queued) in &eval.queued_allocations {
                let queued = u64::try_from(*queued).unwrap_or(0);
                if queued > 0 || summary.groups.contains_key(group) {
                    summary.groups.entry(group.clone()).or_default().queued = queued;
                }
            }
        });
    }

    /// Gives every group of a job its counts.
    pub(super) fn prepare_summary(&mut self, job: &Job) {
        let key = job.key();
        if self.state.summaries.get(&key).is_none_or(|summary| summary.create_index != job.create_index) {
            let fresh = JobSummary { create_index: job.create_index, ..JobSummary::default() };
            self.state.summaries.insert(key.clone(), Arc::new(fresh));
        }
        self.change_summary(&key, |summary| {
            for group in &job.task_groups {
                summary.groups.entry(group.name.clone()).or_default();
            }
        });
    }

    /// Counts the allocs of every job anew. What was collected is counted no more; what is queued stays.
    pub(super) fn reconcile_summaries(&mut self) {
        let jobs: Vec<Arc<Job>> = self.state.jobs.values().cloned().collect();
        for job in jobs {
            let key = job.key();
            let mut groups: BTreeMap<String, GroupSummary> =
                job.task_groups.iter().map(|group| (group.name.clone(), GroupSummary::default())).collect();
            let of_job = self.state.of_job.get(&key);
            for alloc in of_job.into_iter().flat_map(|of_job| &of_job.allocs).filter_map(|id| self.state.allocs.get(id))
            {
                if alloc.job_create_index == job.create_index
                    && let Some(count) = groups.entry(alloc.task_group.clone()).or_default().count_of(alloc)
                {
                    *count += 1;
                }
            }
            self.change_summary(&key, |summary| {
                for (name, group) in &mut groups {
                    group.queued = summary.groups.get(name).map_or(0, |group| group.queued);
                }
                summary.groups = groups;
            });
        }
    }

    fn change_summary(&mut self, key: &JobKey, change: impl FnOnce(&mut JobSummary)) {
        let Some(old) = self.state.summaries.get(key) else {
            return;
        };
        let mut new = JobSummary::clone(old);
        change(&mut new);
        if new == **old {
            return;
        }
        new.modify_index = self.index;
        self.state.summaries.insert(key.clone(), Arc::new(new));
        self.changed(Table::Jobs, Change::Job(key.clone()));
    }

    /// What a job launched is counted when its summary is read; here only whoever waits for the summary is told.
    pub(super) fn touch_summary(&mut self, key: JobKey) {
        let Some(summary) = self.state.summaries.get_mut(&key) else { return };
        Arc::make_mut(summary).modify_index = self.index;
        self.changed(Table::Jobs, Change::Job(key));
    }

    /// Sets the status of every job that was touched, and forgets the versions that are not needed any more.
    pub(super) fn settle_jobs(&mut self) {
        for key in std::mem::take(&mut self.jobs) {
            let Some(job) = self.state.jobs.get(&key).cloned() else {
                continue;
            };
            let status = self.job_status(&job);
            if status == job.status {
                continue;
            }
            if let Some(parent) = job.parent_key() {
                self.touch_summary(parent);
            }
            let mut job = Job::clone(&job);
            job.status = status;
            job.modify_index = self.index;
            self.state.set_job(&Arc::new(job));
            self.changed(Table::Jobs, Change::Job(key));
        }
        for key in std::mem::take(&mut self.shrunk) {
            self.prune_versions(&key);
        }
    }

    fn job_status(&self, job: &Job) -> JobStatus {
        let is_standing = job.kind == JobType::System || job.is_parent();
        if is_standing {
            return if job.stop { JobStatus::Dead } else { JobStatus::Running };
        }
        let of_job = self.state.of_job.get(&job.key());
        let (is_live, has_open_eval, was_looked_at) = of_job.map_or((false, false, false), |of_job| {
            let is_live = of_job.live_allocs > 0 || of_job.active_deployments > 0;
            (is_live, !of_job.open_evals.is_empty(), !of_job.evals.is_empty() || !of_job.allocs.is_empty())
        });
        // A dead job stays dead when its evals are collected.
        let is_over = was_looked_at || job.stop || job.status == JobStatus::Dead;
        match (is_live, has_open_eval, is_over) {
            (true, _, _) => JobStatus::Running,
            (false, true, _) | (false, false, false) => JobStatus::Pending,
            (false, false, true) => JobStatus::Dead,
        }
    }
}
