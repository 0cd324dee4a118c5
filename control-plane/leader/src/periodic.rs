//! Periodic jobs: what is launched when, and what is left out because an earlier launch has not ended.
//!
//! Times count on from the last launch, or from the registration that is in force. Several that passed while nobody led
//! are one launch, at the time of that decision. What is remembered here can be found again from the state: only the
//! search for the next time is spared.

use std::collections::BTreeMap;

use drover_cron::{Cron, SPECS_MAX};
use drover_model::eval::EvalTrigger;
use drover_model::job::{Job, JobStatus};
use drover_model::{JobKey, Timestamp};
use drover_state::{Command, LaunchJob, Snapshot};
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
}

/// What is known of a job as long as it and its last launch stay what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    job_modify_index: u64,
    from: Option<Timestamp>,
    next: Option<Timestamp>,
}

impl Launches {
    /// What is to be launched now, at most one launch per job.
    pub fn step(&mut self, snapshot: &Snapshot, now: Timestamp, zones: Zones<'_>) -> Vec<Command> {
        let mut jobs = std::mem::take(&mut self.jobs);
        let mut commands = Vec::new();
        for job in snapshot.periodic_jobs().filter(|job| !job.stop) {
            let key = job.key();
            let from = counted_from(snapshot.last_launch(&key), job.submit_time, now);
            let known =
                jobs.remove(&key).filter(|known| (known.job_modify_index, known.from) == (job.job_modify_index, from));
            let known = known.unwrap_or_else(|| Known {
                job_modify_index: job.job_modify_index,
                from,
                next: next_launch(job, from.unwrap_or(now), zones).map(|(next, _)| next),
            });
            if let Some(due) = known.next.filter(|next| *next <= now) {
                let is_late = next_launch(job, due, zones).is_some_and(|(following, _)| following <= now);
                commands.push(launch(snapshot, job, if is_late { now } else { due }, now));
            }
            self.jobs.insert(key, known);
        }
        commands
    }

    /// When the next launch is due, as of the last step.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.jobs.values().filter_map(|known| known.next).min()
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
