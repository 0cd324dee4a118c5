//! The eval broker: which evals are due, in which order, at most one of a job at a time.
//!
//! ```text
//!            wait_until reached              take                 done
//! waiting ------------------------> ready ----------> taken ------------->
//! ```
//!
//! It holds only what the state holds as pending (and the blocked evals that are tried again by time): a new leader
//! rebuilds it from a snapshot, and no queue of it can be longer than the state's. How long an eval waits is counted on a
//! steady clock, from when it was first seen here: its date only says how long that is.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use drover_model::eval::{Eval, EvalStatus, EvalTrigger};
use drover_model::job::JobType;
use drover_model::{EvalId, JobKey, Timestamp};
use drover_state::{Change, Events, Snapshot};

use crate::moment::Moment;

/// How long an eval that used up its attempts rests before it is tried again.
pub const MAX_ATTEMPTS_REST: Duration = Duration::from_secs(60);

/// Highest priority first, then the oldest.
type Place = (Reverse<i64>, u64, EvalId);

/// How many evals are where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Due, by the type of their job.
    pub ready: BTreeMap<JobType, usize>,
    /// Due, but behind another one of the same job.
    pub held_back: usize,
    /// Not due yet.
    pub waiting: usize,
    /// Being scheduled.
    pub taken: usize,
}

/// The evals that are due or will be.
#[derive(Debug, Default)]
pub struct EvalBroker {
    ready: BTreeMap<Place, Arc<Eval>>,
    /// By when they are due, on the steady clock.
    waiting: BTreeMap<(Timestamp, EvalId), Arc<Eval>>,
    /// When each known eval is due, to find it in the other two.
    due: BTreeMap<EvalId, (Place, Timestamp)>,
    taken: BTreeMap<JobKey, EvalId>,
}

impl EvalBroker {
    /// The broker of a leader that has just begun.
    pub fn rebuild(snapshot: &Snapshot, now: impl Into<Moment>) -> Self {
        let (mut broker, now) = (Self::default(), now.into());
        for eval in snapshot.open_evals() {
            broker.add(eval, now);
        }
        broker
    }

    /// Takes over what changed; `snapshot` is of the events' index or later.
    pub fn on_events(&mut self, snapshot: &Snapshot, events: &Events, now: impl Into<Moment>) {
        let now = now.into();
        for change in &events.changes {
            let Change::Eval { id, .. } = change else { continue };
            self.forget(*id);
            if let Some(eval) = snapshot.eval(*id) {
                self.add(eval, now);
            }
        }
    }

    /// Up to `max` evals that are due, each of another job. They count as taken until [`EvalBroker::done`].
    pub fn take(&mut self, max: usize) -> Vec<Arc<Eval>> {
        let mut chosen = Vec::new();
        for (place, eval) in &self.ready {
            if chosen.len() == max {
                break;
            }
            if let Entry::Vacant(job) = self.taken.entry(eval.job_key()) {
                job.insert(eval.id);
                chosen.push(*place);
            }
        }
        let mut evals = Vec::with_capacity(chosen.len());
        for place in chosen {
            self.due.remove(&place.2);
            evals.extend(self.ready.remove(&place));
        }
        evals
    }

    /// What became of a taken eval is in the state: the next one of its job may be taken.
    pub fn done(&mut self, id: EvalId) {
        self.taken.retain(|_, taken| *taken != id);
    }

    /// When the next waiting eval is due, on the steady clock.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.waiting.keys().next().map(|(due, _)| *due)
    }

    /// Makes ready what is due.
    pub fn tick(&mut self, now: impl Into<Moment>) {
        let now = now.into().steady;
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let eval = entry.remove();
            self.ready.insert(place(&eval), eval);
        }
    }

    /// How many evals are where.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { waiting: self.waiting.len(), taken: self.taken.len(), ..Counts::default() };
        let mut next: BTreeSet<JobKey> = BTreeSet::new();
        for eval in self.ready.values() {
            let key = eval.job_key();
            if self.taken.contains_key(&key) || !next.insert(key) {
                counts.held_back += 1;
            } else {
                *counts.ready.entry(eval.kind).or_default() += 1;
            }
        }
        counts
    }

    fn add(&mut self, eval: &Arc<Eval>, now: Moment) {
        let date = match eval.status {
            EvalStatus::Pending => eval.wait_until,
            EvalStatus::Blocked if eval.triggered_by == EvalTrigger::MaxPlanAttempts => {
                eval.modify_time.plus(MAX_ATTEMPTS_REST)
            }
            EvalStatus::Blocked | EvalStatus::Complete | EvalStatus::Failed | EvalStatus::Canceled => return,
        };
        if self.taken.get(&eval.job_key()) == Some(&eval.id) {
            return;
        }
        // No longer than was meant when it was made: the clock may have been set back since.
        let due = now.until(date, date.since(eval.modify_time));
        self.due.insert(eval.id, (place(eval), due));
        if due > now.steady {
            self.waiting.insert((due, eval.id), eval.clone());
        } else {
            self.ready.insert(place(eval), eval.clone());
        }
    }

    fn forget(&mut self, id: EvalId) {
        if let Some((place, due)) = self.due.remove(&id) {
            self.ready.remove(&place);
            self.waiting.remove(&(due, id));
        }
    }
}

fn place(eval: &Eval) -> Place {
    (Reverse(eval.priority), eval.create_index, eval.id)
}

#[cfg(test)]
mod tests;
