//! The worker: schedules evals one after the other, each on the newest state with the plans before it laid over.
//!
//! All plans of a run are one command. A placement that did not fit any more is placed again at once.

use std::sync::Arc;

use drover_model::Timestamp;
use drover_model::eval::{Eval, EvalStatus, EvalTrigger};
use drover_model::job::JobType;
use drover_model::plan::Plan;
use drover_scheduler::{Context, schedule};
use drover_state::{AcceptedPlan, Command, Snapshot, State, apply};

use crate::new_eval::Ids;
use crate::plan_applier;

/// The most attempts for one eval, also when each of them made progress.
const ATTEMPTS_TOTAL_MAX: u32 = 50;

/// Attempts without progress until an eval of that kind fails.
pub fn attempts_max(kind: JobType) -> u32 {
    match kind {
        JobType::Service | JobType::System => 5,
        JobType::Batch | JobType::SysBatch => 2,
    }
}

/// Schedules the evals in that order; none when nothing is to be committed. Evals that have ended since are left out,
/// every other one has another status afterwards.
pub fn run(snapshot: &Snapshot, evals: &[Arc<Eval>], now: Timestamp, seed: u64) -> Option<Command> {
    run_observed(snapshot, evals, now, seed, &mut |_, _| {})
}

/// As [`run`]; tells of each eval that was scheduled, right after it, with how many of its placements did not fit any more.
pub fn run_observed(
    snapshot: &Snapshot,
    evals: &[Arc<Eval>],
    now: Timestamp,
    seed: u64,
    scheduled: &mut dyn FnMut(&Eval, usize),
) -> Option<Command> {
    let mut run = Run { newest: State::clone(snapshot), plans: Vec::new(), ids: Ids::new(seed), now };
    for eval in evals {
        let Some(eval) = snapshot.eval(eval.id).filter(|eval| is_due(eval)) else {
            continue;
        };
        let rejected = run.process(&Eval { status: EvalStatus::Pending, ..Eval::clone(eval) });
        scheduled(eval, rejected);
        let superseded = superseded(snapshot, eval);
        if !superseded.is_empty() {
            run.commit(AcceptedPlan { evals: superseded, ..AcceptedPlan::default() });
        }
    }
    (!run.plans.is_empty()).then_some(Command::ApplyPlans { plans: run.plans, at: now })
}

/// The most changes of allocs in one command: whoever waits for a write waits for no more than one of these, some tens of
/// milliseconds.
pub const CHANGES_PER_COMMAND_MAX: usize = 2048;

/// A command of [`run`] in parts that do not hold up others for long, to be committed in this order. A plan that is to be
/// committed whole stays whole.
pub fn parts(command: Command) -> Vec<Command> {
    let mut parts = Vec::new();
    let mut left = vec![command];
    while let Some(command) = left.pop() {
        if is_large(&command) {
            // One that is large has halves.
            left.extend(halves(command).into_iter().flat_map(|(first, second)| [second, first]));
        } else {
            parts.push(command);
        }
    }
    parts
}

fn is_large(command: &Command) -> bool {
    let Command::ApplyPlans { plans, .. } = command else { return false };
    let changes: usize = plans.iter().map(|accepted| changes(&accepted.plan)).sum();
    let is_whole = matches!(&plans[..], [only] if only.plan.all_at_once);
    changes > CHANGES_PER_COMMAND_MAX && !is_whole
}

fn changes(plan: &Plan) -> usize {
    plan.stops.len() + plan.updates.len() + plan.placements.len()
}

/// The two halves of a command of [`run`] that is too long for the log, to be committed in this order; none for what can't be
/// halved. The evals' new status is in the last part of their plan: if the rest is lost they are scheduled again.
pub fn halves(command: Command) -> Option<(Command, Command)> {
    let Command::ApplyPlans { mut plans, at } = command else {
        return None;
    };
    let second = if plans.len() > 1 {
        plans.split_off(plans.len() / 2)
    } else {
        let count = plans.first().map(|accepted| changes(&accepted.plan)).filter(|changes| *changes >= 2)?;
        vec![cut(plans.pop()?, count / 2, &mut plans)]
    };
    Some((Command::ApplyPlans { plans, at }, Command::ApplyPlans { plans: second, at }))
}

/// Moves the first `count` changes of a plan, with its deployments, to a plan of their own in `into`; gives the rest.
fn cut(accepted: AcceptedPlan, count: usize, into: &mut Vec<AcceptedPlan>) -> AcceptedPlan {
    let AcceptedPlan { mut plan, evals } = accepted;
    let mut room = count;
    // In the order in which they are applied.
    let stops = take_first(&mut plan.stops, &mut room);
    let updates = take_first(&mut plan.updates, &mut room);
    let placements = take_first(&mut plan.placements, &mut room);
    let first = Plan {
        eval_id: plan.eval_id,
        priority: plan.priority,
        job: plan.job.clone(),
        job_version: plan.job_version,
        all_at_once: plan.all_at_once,
        stops,
        placements,
        updates,
        deployment: plan.deployment.take(),
        deployment_updates: std::mem::take(&mut plan.deployment_updates),
        annotations: plan.annotations.take(),
        snapshot_index: plan.snapshot_index,
    };
    into.push(AcceptedPlan { plan: first, evals: Vec::new() });
    AcceptedPlan { plan, evals }
}

fn take_first<T>(from: &mut Vec<T>, room: &mut usize) -> Vec<T> {
    let rest = from.split_off((*room).min(from.len()));
    *room -= from.len();
    std::mem::replace(from, rest)
}

fn is_due(eval: &Eval) -> bool {
    match eval.status {
        EvalStatus::Pending => true,
        EvalStatus::Blocked => eval.triggered_by == EvalTrigger::MaxPlanAttempts,
        EvalStatus::Complete | EvalStatus::Failed | EvalStatus::Canceled => false,
    }
}

/// A run over several evals.
struct Run {
    /// The snapshot with the plans of this run laid over.
    newest: State,
    plans: Vec<AcceptedPlan>,
    ids: Ids,
    now: Timestamp,
}

impl Run {
    /// Gives how many placements were rejected.
    fn process(&mut self, eval: &Eval) -> usize {
        let attempts_max = attempts_max(eval.kind);
        let (mut without_progress, mut rejected) = (0, 0);
        for _ in 0..ATTEMPTS_TOTAL_MAX {
            let newest = self.newest.snapshot();
            let outcome = schedule(&newest, eval, &Context { now: self.now, seed: self.ids.number() });
            let mut accepted = plan_applier::accept(&newest, outcome);
            if accepted.rejected == 0 {
                self.commit(accepted.plan);
                return rejected;
            }
            rejected += accepted.rejected;
            without_progress = if accepted.plan.plan.is_noop() { without_progress + 1 } else { 0 };
            accepted.plan.evals.clear();
            self.commit(accepted.plan);
            if without_progress == attempts_max {
                break;
            }
        }
        self.give_up(eval, attempts_max);
        rejected
    }

    /// Ends an eval that used up its attempts; another one tries again later or when there is more room.
    fn give_up(&mut self, eval: &Eval, attempts_max: u32) {
        let blocked = Eval {
            status: EvalStatus::Blocked,
            status_description: "created to place remaining allocations".to_owned(),
            previous_eval: Some(eval.id),
            escaped_computed_class: true,
            snapshot_index: self.newest.index(),
            ..self.ids.like(eval, EvalTrigger::MaxPlanAttempts)
        };
        let failed = Eval {
            status: EvalStatus::Failed,
            status_description: format!("maximum attempts reached ({attempts_max})"),
            blocked_eval: Some(blocked.id),
            snapshot_index: self.newest.index(),
            ..eval.clone()
        };
        self.commit(AcceptedPlan { evals: vec![failed, blocked], ..AcceptedPlan::default() });
    }

    fn commit(&mut self, plan: AcceptedPlan) {
        if plan.plan.is_noop() && plan.evals.is_empty() {
            return;
        }
        // Laid over at the snapshot's own index: what the plans were made on stays what was really there.
        let index = self.newest.index();
        apply(&mut self.newest, index, Command::ApplyPlans { plans: vec![plan.clone()], at: self.now });
        self.plans.push(plan);
    }
}

/// Evals of the same job that a later one makes superfluous: only the newest of those that ask for nothing but another
/// look is kept. Evals that a person waits for, and those that wait for a time, are always processed.
fn superseded(snapshot: &Snapshot, processed: &Eval) -> Vec<Eval> {
    let key = processed.job_key();
    let mut others: Vec<&Arc<Eval>> = snapshot
        .open_evals_of_job(&key)
        .filter(|eval| eval.id != processed.id && eval.status == EvalStatus::Pending && eval.wait_until.is_never())
        .filter(|eval| is_just_a_look(eval.triggered_by))
        .collect();
    others.sort_by_key(|eval| (eval.priority, eval.modify_index, eval.id));
    others.pop();
    let cancel = |eval: &Arc<Eval>| Eval {
        status: EvalStatus::Canceled,
        status_description: "a newer evaluation of the job takes its place".to_owned(),
        ..Eval::clone(eval)
    };
    others.into_iter().map(cancel).collect()
}

fn is_just_a_look(trigger: EvalTrigger) -> bool {
    match trigger {
        EvalTrigger::NodeDrain
        | EvalTrigger::NodeUpdate
        | EvalTrigger::RollingUpdate
        | EvalTrigger::DeploymentWatcher
        | EvalTrigger::AllocFailure
        | EvalTrigger::QueuedAllocs
        | EvalTrigger::Preemption
        | EvalTrigger::Reconnect => true,
        EvalTrigger::JobRegister
        | EvalTrigger::JobDeregister
        | EvalTrigger::PeriodicJob
        | EvalTrigger::AllocStop
        | EvalTrigger::Scheduled
        | EvalTrigger::FailedFollowUp
        | EvalTrigger::MaxPlanAttempts
        | EvalTrigger::JobScaling
        | EvalTrigger::MaxDisconnectTimeout
        | EvalTrigger::AllocReschedule => false,
    }
}

#[cfg(test)]
mod tests;
