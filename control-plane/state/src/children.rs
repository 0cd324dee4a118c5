//! The jobs that one job launched. They are counted as they change: there may be as many as an hour has seconds, or more.

use drover_model::JobKey;
use drover_model::job::{Job, JobStatus};
use imbl::OrdSet;

/// How many jobs that a job launched are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildCounts {
    /// Waiting to be placed.
    pub pending: usize,
    /// Running.
    pub running: usize,
    /// Done.
    pub dead: usize,
}

/// The jobs that one job launched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Children {
    pub(crate) keys: OrdSet<JobKey>,
    pub(crate) counts: ChildCounts,
    /// By the token of their dispatch, those that have one.
    by_token: OrdSet<(String, JobKey)>,
}

impl Children {
    pub(crate) fn add(&mut self, job: &Job) {
        self.keys.insert(job.key());
        *self.count_of(job.status) += 1;
        if !job.dispatch_idempotency_token.is_empty() {
            self.by_token.insert((job.dispatch_idempotency_token.clone(), job.key()));
        }
    }

    /// Takes back what [`Self::add`] did.
    pub(crate) fn remove(&mut self, job: &Job) {
        self.keys.remove(&job.key());
        let count = self.count_of(job.status);
        *count = count.saturating_sub(1);
        if !job.dispatch_idempotency_token.is_empty() {
            self.by_token.remove(&(job.dispatch_idempotency_token.clone(), job.key()));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The first of those that were launched with that token.
    pub(crate) fn with_token(&self, token: &str) -> Option<&JobKey> {
        let first = (token.to_owned(), JobKey::default());
        self.by_token.range(first..).next().filter(|(of, _)| of == token).map(|(_, key)| key)
    }

    fn count_of(&mut self, status: JobStatus) -> &mut usize {
        match status {
            JobStatus::Pending => &mut self.counts.pending,
            JobStatus::Running => &mut self.counts.running,
            JobStatus::Dead => &mut self.counts.dead,
        }
    }
}
