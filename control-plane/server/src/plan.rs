//! The dry run of a job: what would be done if it were registered now.

use std::sync::Arc;

use drover_model::eval::EvalTrigger;
use drover_model::job::Job;
use drover_scheduler::{Context, Outcome};

use crate::error::Error;
use crate::jobs::eval_of;
use crate::server::Server;
use crate::{chance, clock};

/// What would be done.
pub struct JobPlan {
    /// The scheduler's outcome.
    pub outcome: Outcome,
    /// The job as it is now.
    pub old: Option<Arc<Job>>,
    /// The raft index of the state it was made on.
    pub index: u64,
}

impl Server {
    /// Schedules the job on the newest state without committing anything.
    ///
    /// # Errors
    /// Nobody leads.
    pub async fn plan_job(&self, job: Job) -> Result<JobPlan, Error> {
        let reading = self.read(false).await?;
        let old = reading.snapshot.job(&job.key()).cloned();
        let index = reading.snapshot.index();
        let eval = eval_of(&job, EvalTrigger::JobRegister, None, clock::now());
        let context = Context { now: clock::now(), seed: chance::seed() };
        let outcome =
            tokio::task::spawn_blocking(move || drover_scheduler::dry_run(&reading.snapshot, &job, &eval, &context))
                .await
                .map_err(|e| Error::Internal { public: "planning failed".to_owned(), private: e.to_string() })?;
        Ok(JobPlan { outcome, old, index })
    }
}
