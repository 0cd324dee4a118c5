//! Jobs that jobs launch: by the clock, and by a dispatch.

use drover_model::job::Job;
use drover_model::{JobKey, Timestamp};

use super::{Applying, not_found};
use crate::command::{Answer, LaunchJob, Refusal};

impl Applying<'_> {
    pub(super) fn launch_job(&mut self, launch: LaunchJob) -> Result<Answer, Refusal> {
        let LaunchJob { parent, job, eval, launched_at, at } = launch;
        let found = self.state.jobs.get(&parent).cloned().ok_or_else(|| not_found("job"))?;
        if found.stop {
            return Err(Refusal::Conflict { reason: format!("job {:?} is stopped", parent.id.as_str()) });
        }
        let Some(job) = job else {
            self.note_launch(parent, launched_at, at);
            return Ok(Answer::Done);
        };
        let job = std::sync::Arc::unwrap_or_clone(job);
        let key = job.key();
        if key.namespace != parent.namespace || job.parent_id != parent.id.as_str() {
            return Err(Refusal::Conflict { reason: "a launched job must name the job that launches it".to_owned() });
        }
        if let Some(twin) = self.twin(&parent, &job) {
            self.note_launch(parent, launched_at, at);
            return Ok(Answer::Launched { key: twin.key(), create_index: twin.create_index, is_new: false });
        }
        self.put_registered(job, None, at);
        self.put_job_eval(eval, self.index, at);
        self.touch_summary(parent.clone());
        self.note_launch(parent, launched_at, at);
        Ok(Answer::Launched { key, create_index: self.index, is_new: true })
    }

    /// The job that such a launch made before: of the same name, or of the same token.
    fn twin(&self, parent: &JobKey, job: &Job) -> Option<std::sync::Arc<Job>> {
        if let Some(twin) = self.state.jobs.get(&job.key()) {
            return Some(twin.clone());
        }
        let token = &job.dispatch_idempotency_token;
        if token.is_empty() {
            return None;
        }
        self.state.child_with_token(parent, token).cloned()
    }

    /// Launches of a periodic job are counted from the last one. A dispatch has no such time. One that is yet to come
    /// is of a clock that was wrong, and does not stay.
    fn note_launch(&mut self, parent: JobKey, launched_at: Timestamp, at: Timestamp) {
        let is_later = self.state.launches.get(&parent).is_none_or(|last| *last < launched_at || *last > at);
        if is_later && !launched_at.is_never() {
            self.state.launches.insert(parent, launched_at);
        }
    }
}
