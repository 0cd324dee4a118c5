//! Readers of evals.

use std::sync::Arc;

use drover_model::eval::Eval;
use drover_model::{EvalId, JobKey};

use crate::state::State;

impl State {
    /// An eval.
    pub fn eval(&self, id: EvalId) -> Option<&Arc<Eval>> {
        self.evals.get(&id)
    }

    /// All evals by id.
    pub fn evals(&self) -> impl Iterator<Item = &Arc<Eval>> {
        self.evals.values()
    }

    /// The evals of a job by id.
    pub fn evals_of_job<'a>(&'a self, key: &JobKey) -> impl Iterator<Item = &'a Arc<Eval>> + use<'a> {
        self.of_job.get(key).into_iter().flat_map(|of_job| of_job.evals.iter()).filter_map(|id| self.evals.get(id))
    }

    /// The evals of a job that have not ended, by id.
    pub fn open_evals_of_job<'a>(&'a self, key: &JobKey) -> impl Iterator<Item = &'a Arc<Eval>> + use<'a> {
        let ids = self.of_job.get(key).into_iter().flat_map(|of_job| of_job.open_evals.iter());
        ids.filter_map(|id| self.evals.get(id))
    }

    /// The evals that have not ended, by id.
    pub fn open_evals(&self) -> impl Iterator<Item = &Arc<Eval>> {
        self.open_evals.iter().filter_map(|id| self.evals.get(id))
    }

    /// The evals that wait for room, by id.
    pub fn blocked_evals(&self) -> impl Iterator<Item = &Arc<Eval>> {
        self.blocked_evals.iter().filter_map(|id| self.evals.get(id))
    }

    /// Some eval of the job has not ended.
    pub fn has_open_eval(&self, key: &JobKey) -> bool {
        self.of_job.get(key).is_some_and(|of_job| !of_job.open_evals.is_empty())
    }
}
