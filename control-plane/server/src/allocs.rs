//! Allocs: stopping one, so that the scheduler replaces it.

use drover_model::alloc::DesiredTransition;
use drover_model::eval::EvalTrigger;
use drover_model::{AllocId, EvalId};
use drover_state::Command;

use crate::clock;
use crate::error::Error;
use crate::jobs::eval_of;
use crate::server::Server;

/// How an alloc is stopped.
#[derive(Clone, Copy, Debug, Default)]
pub struct StopAllocOptions {
    /// Its tasks are asked to end at once, whatever delay they have before that.
    pub no_shutdown_delay: bool,
    /// Its replacement counts as a reschedule.
    pub reschedule: bool,
}

impl Server {
    /// Asks the scheduler to move an alloc; gives the eval and the raft index.
    ///
    /// # Errors
    /// The alloc is unknown, or the log can't be written.
    pub async fn stop_alloc(&self, alloc_id: AllocId, options: StopAllocOptions) -> Result<(EvalId, u64), Error> {
        let at = clock::now();
        let snapshot = self.read(false).await?.snapshot;
        let missing = || Error::NotFound("allocation not found".to_owned());
        let alloc = snapshot.alloc(alloc_id).ok_or_else(missing)?;
        let job = snapshot.job_of_alloc(alloc).ok_or_else(missing)?;
        let eval = eval_of(job, EvalTrigger::AllocStop, None, at);
        let eval_id = eval.id;
        let transition = DesiredTransition {
            migrate: Some(true),
            no_shutdown_delay: options.no_shutdown_delay.then_some(true),
            reschedule: options.reschedule.then_some(true),
            ..DesiredTransition::default()
        };
        let transitions = vec![(alloc_id, transition)];
        let command = Command::UpdateAllocTransitions { transitions, evals: vec![eval], at };
        let (index, _) = self.propose(command).await?;
        Ok((eval_id, index))
    }
}
