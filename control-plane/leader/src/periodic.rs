//! Periodic jobs: what is launched when, and what is left out because an earlier launch has not ended.
//!
//! Times count on from the last launch, or from the registration that is in force. Several that passed while nobody led
//! are one launch, at the time of that decision. What is remembered here can be found again from the state: only the
//! search for the next time is spared, and looks at jobs that are not due.

use std::collections::{BTreeMap, BTreeSet};

use drover_cron::{Cron, SPECS_MAX};
use drover_model::eval::EvalTrigger;
use drover_model::job::{Job, JobStatus};
use drover_model::{JobKey, Timestamp};
use drover_state::{Change, Command, Events, LaunchJob, Snapshot};
use jiff::tz::TimeZone;

use crate::new_eval::Ids;

/// Looks a time zone up by its name.
pub type Zones<'a> = &'a dyn Fn(&str) -> Option<TimeZone>;

/// The next time that a job launches after `after`; none when it never does, or its settings can't be read.
pub fn next_launch(job: &Job, after: Timestamp, zones: Zones<'_>) -> Option<(Timestamp, TimeZone)> {
    let periodic = job.periodic_launches().filter(|periodic| periodic.is_enabled)?;
    // What is to be dispatched launches nothing by itself: each job that a dispatch makes of it does.
    if job.dispatch_rules().is_some() {
        return None;
    }
    let zone = zones(periodic.time_zone)?;
    let crons: Vec<Cron> = periodic.specs.iter().take(SPECS_MAX).filter_map(|spec| Cron::parse(spec).ok()).collect();
    let after = jiff::Timestamp::from_nanosecond(i128::from(after.0)).ok()?;
    let next = drover_cron::earliest(&crons, after, &zone)?;
    Some((Timestamp(i64::try_from(next.as_nanosecond()).ok()?), zone))
}

/// The launches to come.
#[derive(Debug, Default)]
pub struct Launches {
    jobs: BTreeMap<JobKey, Known>,
    // Invariant: those of `jobs` that have a next time, by it.
    by_time: BTreeSet<(Timestamp, JobKey)>,
    /// Jobs that changed since the last step.
    changed: BTreeSet<JobKey>,
    /// When the last step was made; none before the first.
    stepped: Option<Timestamp>,
}

/// What is known of a job as long as it and its last launch stay what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    job_modify_index: u64,
    last_launch: Option<Timestamp>,
    next: Option<Timestamp>,
}

impl Launches {
    /// Takes note of what changed: the next step looks at it.
    pub fn on_events(&mut self, events: &Events) {
        for change in &events.changes {
            if let Change::Job(key) = change {
                self.changed.insert(key.clone());
            }
        }
    }

    /// What is to be launched now, at most one launch per job.
    pub fn step(&mut self, snapshot: &Snapshot, now: Timestamp, zones: Zones<'_>) -> Vec<Command> {
        if self.stepped.is_none_or(|before| now < before) {
            // The first step, or the clock was set back: a time counted from what is yet to come now would be too late.
            *self = Self::default();
            self.changed = snapshot.periodic_jobs().map(|job| job.key()).collect();
        }
        self.stepped = Some(now);
        for key in std::mem::take(&mut self.changed) {
            self.look(snapshot, &key, now, zones);
        }
        let mut commands = Vec::new();
        // What is launched stays due until the state says that it was: that is no change of the job.
        let due: Vec<JobKey> =
            self.by_time.iter().take_while(|(next, _)| *next <= now).map(|(_, key)| key.clone()).collect();
        for key in due {
            self.look(snapshot, &key, now, zones);
            let next = self.jobs.get(&key).and_then(|known| known.next).filter(|next| *next <= now);
            if let (Some(due), Some(job)) = (next, snapshot.job(&key)) {
                let is_late = next_launch(job, due, zones).is_some_and(|(following, _)| following <= now);
                commands.push(launch(snapshot, job, if is_late { now } else { due }, now));
            }
        }
        commands
    }

    /// When the next launch is due, as of the last step.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(next, _)| *next)
    }

    /// Finds out when a job launches next, where that may be another time than the one that is known.
    fn look(&mut self, snapshot: &Snapshot, key: &JobKey, now: Timestamp, zones: Zones<'_>) {
        let job = snapshot.job(key).filter(|job| job.periodic.is_some() && !job.stop);
        let last_launch = snapshot.last_launch(key);
        let is_same = |known: &Known, job: &Job| {
            (known.job_modify_index, known.last_launch) == (job.job_modify_index, last_launch)
        };
        if job.zip(self.jobs.get(key)).is_some_and(|(job, known)| is_same(known, job)) {
            return;
        }
        if let Some(next) = self.jobs.remove(key).and_then(|known| known.next) {
            self.by_time.remove(&(next, key.clone()));
        }
        let Some(job) = job else { return };
        let from = counted_from(last_launch, job.submit_time, now).unwrap_or(now);
        let next = next_launch(job, from, zones).map(|(next, _)| next);
        self.by_time.extend(next.map(|next| (next, key.clone())));
        self.jobs.insert(key.clone(), Known { job_modify_index: job.job_modify_index, last_launch, next });
    }
}

/// The time that launches count on from; none when it is yet to come: a clock was set back, or is another server's. Then
/// they count from the first look, or nothing would be launched until that time has come again.
fn counted_from(last_launch: Option<Timestamp>, submit_time: Timestamp, now: Timestamp) -> Option<Timestamp> {
    match last_launch {
        Some(last) if last > now => None,
        Some(last) => Some(last.max(submit_time)).filter(|from| *from <= now).or(Some(last)),
        None => Some(submit_time).filter(|from| *from <= now),
    }
}

/// The launch of that time, or what says that it is left out.
fn launch(snapshot: &Snapshot, job: &Job, time: Timestamp, now: Timestamp) -> Command {
    let parent = job.key();
    let prohibits = job.periodic_launches().is_some_and(|periodic| periodic.prohibit_overlap);
    let mut children = snapshot.children_of(&parent);
    let is_left_out = prohibits && children.any(|child| child.status != JobStatus::Dead);
    let child = (!is_left_out).then(|| job.periodic_child(time));
    let eval =
        child.as_ref().map(|child| Ids::at(now, child.id.as_str().as_bytes()).eval(child, EvalTrigger::PeriodicJob));
    let launch = LaunchJob { parent, job: child.map(Into::into), eval, launched_at: time, at: now };
    Command::LaunchJob(Box::new(launch))
}

#[cfg(test)]
mod tests;
