//! Evals: new ones, changes, and the blocked evals that a success or a newer one ends.

use drover_model::eval::{Eval, EvalStatus};
use drover_model::job::JobType;
use drover_model::{EvalId, JobKey, Timestamp};

use super::Applying;

impl Applying<'_> {
    pub(super) fn put_evals(&mut self, evals: Vec<Eval>, at: Timestamp) {
        for eval in evals {
            self.write_eval(eval, at);
        }
    }

    fn write_eval(&mut self, mut eval: Eval, at: Timestamp) {
        let existing = self.state.evals.get(&eval.id).cloned();
        match &existing {
            // Whoever wanted to wake or change it looked at an older state.
            Some(existing) if existing.status.is_terminal() => return,
            // An eval never moves to another job: what counts evals per job relies on it.
            Some(existing) if existing.job_key() != eval.job_key() => return,
            Some(existing) => {
                eval.create_index = existing.create_index;
                eval.create_time = existing.create_time;
            }
            None => {
                eval.create_index = self.index;
                eval.create_time = at;
            }
        }
        if eval.status == EvalStatus::Complete && eval.failed_group_allocs.is_empty() {
            self.cancel_blocked(&eval, &format!("evaluation \"{}\" successful", eval.id), at);
        }
        if eval.status == EvalStatus::Blocked {
            self.cancel_blocked(&eval, &format!("evaluation \"{}\" waits in its place", eval.id), at);
        }
        self.count_queued(&eval);
        self.put_eval(eval, at);
    }

    /// Cancels the other blocked evals of a job. Those of a system job wait for one node each.
    fn cancel_blocked(&mut self, eval: &Eval, reason: &str, at: Timestamp) {
        let is_per_node = matches!(eval.kind, JobType::System | JobType::SysBatch);
        let ended: Vec<EvalId> = self
            .state
            .open_evals_of_job(&eval.job_key())
            .filter(|other| other.id != eval.id && other.status == EvalStatus::Blocked)
            .filter(|other| !is_per_node || eval.node_id.is_none() || other.node_id == eval.node_id)
            .map(|other| other.id)
            .collect();
        self.cancel_evals(ended, reason, at);
    }

    /// Cancels the evals that wait for a time, of a job that was stopped.
    pub(super) fn cancel_waiting(&mut self, key: &JobKey, at: Timestamp) {
        let waiting = self.state.open_evals_of_job(key);
        let waiting = waiting.filter(|eval| eval.status == EvalStatus::Pending && !eval.wait_until.is_never());
        let waiting = waiting.map(|eval| eval.id).collect();
        self.cancel_evals(waiting, "job was stopped", at);
    }

    fn cancel_evals(&mut self, ids: Vec<EvalId>, reason: &str, at: Timestamp) {
        for id in ids {
            let Some(eval) = self.state.evals.get(&id) else {
                continue;
            };
            let eval =
                Eval { status: EvalStatus::Canceled, status_description: reason.to_owned(), ..Eval::clone(eval) };
            self.put_eval(eval, at);
        }
    }
}
