//! The plan applier: the only place that decides what of a plan is committed.

use drover_scheduler::{Outcome, verify};
use drover_state::{AcceptedPlan, Snapshot};

/// What was accepted of an outcome.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// What is to be committed. Its evals are those of the outcome: leave them out when the eval is tried again.
    pub plan: AcceptedPlan,
    /// How many placements did not fit any more.
    pub rejected: usize,
}

/// Verifies an outcome against the newest state.
pub fn accept(newest: &Snapshot, outcome: Outcome) -> Accepted {
    let Outcome { plan, mut eval, new_evals } = outcome;
    let verified = verify(newest, plan);
    let mut plan = verified.plan;
    plan.snapshot_index = newest.index();
    // The eval carries them; once in the log is enough.
    plan.annotations = None;
    eval.snapshot_index = newest.index();
    let mut evals = vec![eval];
    evals.extend(new_evals.into_iter().map(|mut eval| {
        eval.snapshot_index = newest.index();
        eval
    }));
    Accepted { plan: AcceptedPlan { plan, evals }, rejected: verified.rejected }
}
