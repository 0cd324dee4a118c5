//! Replacing the failed allocs of a job at once, whatever their policy says.

use drover_model::alloc::{ClientStatus, DesiredStatus, DesiredTransition};
use drover_model::eval::EvalTrigger;
use drover_model::{JobKey, Timestamp};
use drover_state::Command;

use crate::clock;
use crate::error::Error;
use crate::jobs::{JobWritten, eval_of};
use crate::server::Server;

impl Server {
    /// Makes an eval of a job that replaces its failed allocs now.
    ///
    /// # Errors
    /// The job is unknown, or the log can't be written.
    pub async fn reschedule_job(&self, key: JobKey) -> Result<JobWritten, Error> {
        let at: Timestamp = clock::now();
        let snapshot = self.read(false).await?.snapshot;
        let job = snapshot.job(&key).ok_or_else(|| Error::Conflict("job not found".to_owned()))?;
        crate::jobs::check_evaluable(job)?;
        let transition = DesiredTransition { force_reschedule: Some(true), ..DesiredTransition::default() };
        let failed = snapshot.allocs_of_job(&key).filter(|alloc| {
            alloc.job_create_index == job.create_index
                && alloc.client_status == ClientStatus::Failed
                && alloc.desired_status == DesiredStatus::Run
                && alloc.next_allocation.is_none()
        });
        let transitions: Vec<_> = failed.map(|alloc| (alloc.id, transition)).collect();
        let eval = eval_of(job, EvalTrigger::JobRegister, None, at);
        let eval_id = eval.id;
        let command = Command::UpdateAllocTransitions { transitions, evals: vec![eval], at };
        let (index, _) = self.propose(command).await?;
        Ok(JobWritten {
            eval_id: Some(eval_id),
            eval_create_index: index,
            job_modify_index: job.job_modify_index,
            index,
        })
    }
}
