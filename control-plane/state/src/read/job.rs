//! Readers of jobs, their versions, texts and summaries.

use std::sync::Arc;

use drover_model::alloc::Alloc;
use drover_model::job::Job;
use drover_model::{JobKey, Timestamp};

use crate::children::ChildCounts;
use crate::scaling::JobScaling;
use crate::state::State;
use crate::submission::Submission;
use crate::summary::JobSummary;

impl State {
    /// The newest version of a job.
    pub fn job(&self, key: &JobKey) -> Option<&Arc<Job>> {
        self.jobs.get(key)
    }

    /// All jobs by namespace and id.
    pub fn jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.jobs.values()
    }

    /// That version of a job. Of a job that was purged, the last that had this version while an alloc of it is known;
    /// [`State::job_of_alloc`] is exact.
    pub fn job_version(&self, key: &JobKey, version: u64) -> Option<&Arc<Job>> {
        let versions = self.versions.get(key)?;
        match self.jobs.get(key) {
            Some(job) => versions.get(&(job.create_index, version)),
            None => versions.values().rfind(|job| job.version == version),
        }
    }

    /// The versions of a job that are kept, newest first; none for a job that was purged.
    pub fn job_versions(&self, key: &JobKey) -> Vec<&Arc<Job>> {
        let Some(job) = self.jobs.get(key) else {
            return Vec::new();
        };
        let Some(versions) = self.versions.get(key) else {
            return Vec::new();
        };
        let mut kept: Vec<_> = versions.values().filter(|version| version.create_index == job.create_index).collect();
        kept.reverse();
        kept
    }

    /// The version of the job that an alloc runs, also when the job was purged since.
    pub fn job_of_alloc(&self, alloc: &Alloc) -> Option<&Arc<Job>> {
        self.versions.get(&alloc.job_key())?.get(&(alloc.job_create_index, alloc.job_version))
    }

    /// The jobs that a job launched, by id.
    pub fn children_of<'a>(&'a self, key: &JobKey) -> impl Iterator<Item = &'a Arc<Job>> + use<'a> {
        let keys = self.children.get(key).into_iter().flat_map(|children| children.keys.iter());
        keys.filter_map(|key| self.jobs.get(key))
    }

    /// How many jobs that a job launched are where.
    pub fn child_counts(&self, key: &JobKey) -> ChildCounts {
        self.children.get(key).map(|children| children.counts).unwrap_or_default()
    }

    /// The job that a job launched with that token.
    pub fn child_with_token(&self, key: &JobKey, token: &str) -> Option<&Arc<Job>> {
        self.jobs.get(self.children.get(key)?.with_token(token)?)
    }

    /// The jobs that want to be on every node, also the stopped ones.
    pub fn system_jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.system_jobs.iter().filter_map(|key| self.jobs.get(key))
    }

    /// The jobs that launch by the clock, also the stopped ones.
    pub fn periodic_jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.periodic_jobs.iter().filter_map(|key| self.jobs.get(key))
    }

    /// When a periodic job was last launched, or a launch was left out; none until the first time.
    pub fn last_launch(&self, key: &JobKey) -> Option<Timestamp> {
        self.launches.get(key).copied()
    }

    /// What became of the counts of a job's groups, newest first.
    pub fn scaling_events(&self, key: &JobKey) -> Option<&Arc<JobScaling>> {
        self.scaling.get(key)
    }

    /// The counts of a job's allocs; all zero for a job that is not known.
    pub fn job_summary(&self, key: &JobKey) -> JobSummary {
        self.summaries.get(key).map(|summary| JobSummary::clone(summary)).unwrap_or_default()
    }

    /// The text that a version of a job was made from.
    pub fn submission(&self, key: &JobKey, version: u64) -> Option<&Arc<Submission>> {
        self.submissions.get(key)?.get(&version)
    }
}
