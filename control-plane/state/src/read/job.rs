//! Readers of jobs, their versions, texts and summaries.

use std::sync::Arc;

use drover_model::JobKey;
use drover_model::alloc::Alloc;
use drover_model::job::Job;

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

    /// The counts of a job's allocs; all zero for a job that is not known.
    pub fn job_summary(&self, key: &JobKey) -> JobSummary {
        self.summaries.get(key).map(|summary| JobSummary::clone(summary)).unwrap_or_default()
    }

    /// The text that a version of a job was made from.
    pub fn submission(&self, key: &JobKey, version: u64) -> Option<&Arc<Submission>> {
        self.submissions.get(key)?.get(&version)
    }
}
