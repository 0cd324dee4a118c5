//! What to do next for one alloc: wanted against actual gives actions. No clock, no files, no threads.
//!
//! [`decide`] is called after each change and each time that it asked to be called again. It may be called more often:
//! what was begun is noted in the [`AllocActual`] and not begun twice.

pub mod moment;
pub mod wanted;

pub mod client_status;
pub mod events;
pub mod health;
pub mod lifecycle;
pub mod restart;

pub mod actual;

pub mod gc;

use std::time::Duration;

use drover_model::Timestamp;
use drover_model::group::Group;
use drover_model::task::Task;
use drover_model::task_state::{TaskEvent, TaskPhase};

use actual::{AllocActual, Kill, RAN_TOO_LONG, Stage, TaskActual};
use health::{HealthWatch, TasksSeen};
use lifecycle::{Progress, Role, may_start, next_to_end};
use moment::Now;
use wanted::Wanted;

/// The second try to end a task without asking comes after this time, each further one after four times as long.
const HARD_RETRY: Duration = Duration::from_secs(5);
/// The longest wait between two such tries.
const HARD_RETRY_MAX: Duration = Duration::from_secs(120);

/// Limits of the edge that bear on decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest time any task may take to end.
    pub kill_timeout_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { kill_timeout_max: Duration::from_secs(30) }
    }
}

/// Something to be done. What comes of it is told to [`AllocActual::observe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the alloc's directories.
    Prepare,
    /// Make the task's directories and start it.
    Start {
        /// Which task.
        task: String,
    },
    /// Send a signal to the task.
    Signal {
        /// Which task.
        task: String,
        /// The signal's name; empty means the driver's default.
        signal: String,
    },
    /// End all processes of the task.
    Kill {
        /// Which task.
        task: String,
    },
    /// Once its end is on disk, let the supervisor forget the task.
    Forget {
        /// Which task.
        task: String,
    },
    /// Unmount what the alloc has mounted.
    CleanUp,
}

/// What to do now, and when to ask again even if nothing happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// To be done now, in this order.
    pub actions: Vec<Action>,
    /// Ask again at this time of the steady clock.
    pub wake_at: Option<Duration>,
}

impl Decision {
    fn wake(&mut self, at: Duration) {
        self.wake_at = Some(self.wake_at.map_or(at, |other| other.min(at)));
    }
}

/// What to do next.
pub fn decide(wanted: &Wanted, actual: &mut AllocActual, limits: Limits, now: Now) -> Decision {
    let mut decision = Decision::default();
    let Some(group) = wanted.group() else { return decision };
    watch_run_time(wanted, group, actual, &mut decision, now);
    // One pass can make room for the next: a task that dies without ever having run lets a poststop task start.
    for _ in 0..=actual.tasks.len() {
        let before = actual.tasks.iter().map(|task| task.stage).collect::<Vec<_>>();
        end_tasks(wanted, group, actual, limits, &mut decision, now);
        restart_tasks(group, actual, limits, now);
        start_tasks(wanted, group, actual, &mut decision, now);
        if before.iter().eq(actual.tasks.iter().map(|task| &task.stage)) {
            break;
        }
    }
    for task in &mut actual.tasks {
        advance_kill(task, group.task(&task.name), skips_delays(wanted), &mut decision, now);
        if task.stage == Stage::Ended && !task.forget_begun {
            task.forget_begun = true;
            decision.actions.push(Action::Forget { task: task.name.clone() });
        }
    }
    watch_health(wanted, group, actual, &mut decision, now);
    if actual.is_over() && actual.is_prepared && !actual.cleanup_begun {
        actual.cleanup_begun = true;
        decision.actions.push(Action::CleanUp);
    }
    decision
}

fn watch_run_time(wanted: &Wanted, group: &Group, actual: &mut AllocActual, decision: &mut Decision, now: Now) {
    let Some(max) = group.max_run_duration.filter(|max| !max.is_zero() && wanted.job.kind.is_batch()) else { return };
    let Some(first_start) = actual.first_start.filter(|_| !actual.ran_too_long && !actual.is_over()) else { return };
    if now.steady >= first_start + max {
        actual.ran_too_long = true;
    } else {
        decision.wake(first_start + max);
    }
}

/// Why tasks of the alloc are to end.
struct Ends {
    /// The servers, or the job's run time, want it.
    is_wanted: bool,
    /// A task has failed.
    failed: Option<String>,
    /// The leader is dead, and not because it failed.
    leader_is_done: bool,
    /// Nothing but sidecars is left.
    only_sidecars_are_left: bool,
}

impl Ends {
    fn of(wanted: &Wanted, actual: &AllocActual, progress: &[Progress]) -> Ends {
        let mut alive = progress.iter().filter(|task| !task.is_dead && task.role != Role::Poststop).peekable();
        Ends {
            is_wanted: !wanted.shall_run() || actual.is_removed || actual.ran_too_long,
            failed: failed_task(actual, progress),
            leader_is_done: progress.iter().any(|task| task.is_leader && task.is_dead && !task.has_failed),
            only_sidecars_are_left: alive.peek().is_some() && alive.all(|task| task.role.is_sidecar()),
        }
    }

    /// All tasks end, not only the sidecars.
    fn are_for_all(&self) -> bool {
        self.is_wanted || self.failed.is_some() || self.leader_is_done
    }

    /// What each task that lives is told, beyond that it is to end.
    fn event(&self, at: Timestamp) -> Option<TaskEvent> {
        match &self.failed {
            _ if self.leader_is_done => Some(events::leader_dead(at)),
            Some(name) => Some(events::sibling_failed(at, name)),
            None => self.only_sidecars_are_left.then(|| events::main_tasks_dead(at)),
        }
    }
}

/// Begins the end of every task that shall end now.
fn end_tasks(
    wanted: &Wanted,
    group: &Group,
    actual: &mut AllocActual,
    limits: Limits,
    decision: &mut Decision,
    now: Now,
) {
    let progress = actual.progress(wanted);
    let ends = Ends::of(wanted, actual, &progress);
    let places = if ends.are_for_all() {
        next_to_end(&progress)
    } else if ends.only_sidecars_are_left {
        progress.iter().enumerate().filter(|(_, task)| task.role.is_sidecar()).map(|(place, _)| place).collect()
    } else {
        return;
    };
    if let Some(event) = ends.event(now.wall) {
        let lives = |its: &Progress| !its.is_dead && its.role != Role::Poststop;
        let tasks = actual.tasks.iter_mut().zip(&progress).filter(|(task, its)| lives(its) && !task.is_told_why);
        for (task, _) in tasks {
            task.is_told_why = true;
            task.state.push_event(event.clone());
        }
    }
    // The group waits once, before the first of its tasks is asked; those that come later in the order have waited with it.
    let delay = group.shutdown_delay.filter(|_| !skips_delays(wanted)).unwrap_or_default();
    if !places.is_empty() {
        let begin_at = *actual.ending_since.get_or_insert(now.steady) + delay;
        if now.steady < begin_at {
            decision.wake(begin_at);
            return;
        }
    }
    let unwanted_poststops =
        progress.iter().enumerate().filter(|(_, its)| actual.ran_too_long && its.role == Role::Poststop);
    let places: Vec<usize> = unwanted_poststops.map(|(place, _)| place).chain(places).collect();
    let text = if actual.ran_too_long { RAN_TOO_LONG } else { "" };
    for place in places {
        let (Some(task), Some(its)) = (actual.tasks.get_mut(place), progress.get(place)) else { continue };
        // One that is being started can only be ended once it runs.
        if its.is_dead || task.kill.is_some() || task.stage == Stage::Starting {
            continue;
        }
        begin_kill(wanted, group, task, limits, text, ends.is_wanted, now);
    }
}

fn skips_delays(wanted: &Wanted) -> bool {
    wanted.alloc.desired_transition.no_shutdown_delay == Some(true)
}

/// Begins the end of every task that somebody wants to start again.
fn restart_tasks(group: &Group, actual: &mut AllocActual, limits: Limits, now: Now) {
    for task in &mut actual.tasks {
        if task.restart_asked && task.stage == Stage::Running && task.kill.is_none() {
            let its = group.task(&task.name);
            let timeout = its.map_or(Duration::from_secs(5), |its| its.kill_timeout).min(limits.kill_timeout_max);
            let signal_at = now.steady;
            task.kill = Some(Kill { signal_at, is_signalled: false, hard_at: signal_at + timeout, hard_tries: 0 });
        }
    }
}

/// The first task whose failure takes the others along.
fn failed_task(actual: &AllocActual, progress: &[Progress]) -> Option<String> {
    let failed = actual.tasks.iter().zip(progress).find(|(_, task)| task.has_failed && task.role != Role::Poststop);
    failed.map(|(task, _)| task.name.clone())
}

fn begin_kill(
    wanted: &Wanted,
    group: &Group,
    task: &mut TaskActual,
    limits: Limits,
    text: &str,
    is_wanted: bool,
    now: Now,
) {
    if !matches!(task.stage, Stage::Waiting | Stage::Backoff | Stage::Running) && task.restart_at.is_none() {
        return;
    }
    let its = group.task(&task.name);
    let timeout = its.map_or(Duration::from_secs(5), |its| its.kill_timeout).min(limits.kill_timeout_max);
    // As people know it: the servers' wish and the end of another task each say so.
    for _ in 0..if is_wanted && task.is_told_why { 2 } else { 1 } {
        task.state.push_event(events::killing(now.wall, timeout, text));
    }
    match task.stage {
        Stage::Waiting | Stage::Backoff => task.die(false, now.wall),
        Stage::Ended => {
            task.restart_at = None;
            task.state.state = TaskPhase::Dead;
            task.state.finished_at = now.wall;
        }
        Stage::Dead | Stage::Starting => {}
        Stage::Running => {
            let mut signal_at = now.steady;
            match its.map_or(Duration::ZERO, |its| its.shutdown_delay) {
                Duration::ZERO => {}
                delay if skips_delays(wanted) => {
                    task.state.push_event(events::skipping_shutdown_delay(now.wall, delay));
                }
                delay => {
                    task.state.push_event(events::waiting_for_shutdown_delay(now.wall, delay));
                    signal_at += delay;
                }
            }
            task.kill = Some(Kill { signal_at, is_signalled: false, hard_at: signal_at + timeout, hard_tries: 0 });
        }
    }
}

/// Asks a task that is being ended to end, and ends it when its time is over.
fn advance_kill(task: &mut TaskActual, its: Option<&Task>, skips_delay: bool, decision: &mut Decision, now: Now) {
    let Some(kill) = task.kill.as_mut().filter(|_| task.stage == Stage::Running) else { return };
    if skips_delay && !kill.is_signalled && now.steady < kill.signal_at {
        // Who waits may still say that there is no need to.
        kill.hard_at = now.steady + kill.hard_at.saturating_sub(kill.signal_at);
        kill.signal_at = now.steady;
    }
    if now.steady < kill.signal_at {
        decision.wake(kill.signal_at);
        return;
    }
    if !kill.is_signalled {
        kill.is_signalled = true;
        let signal = its.map_or_else(String::new, |its| its.kill_signal.clone());
        decision.actions.push(Action::Signal { task: task.name.clone(), signal });
    }
    if now.steady >= kill.hard_at {
        decision.actions.push(Action::Kill { task: task.name.clone() });
        let wait = HARD_RETRY.saturating_mul(4u32.saturating_pow(kill.hard_tries)).min(HARD_RETRY_MAX);
        kill.hard_tries += 1;
        kill.hard_at = now.steady + wait;
    }
    decision.wake(kill.hard_at);
}

/// Starts every task whose turn has come.
fn start_tasks(wanted: &Wanted, group: &Group, actual: &mut AllocActual, decision: &mut Decision, now: Now) {
    let progress = actual.progress(wanted);
    let shall_run = !Ends::of(wanted, actual, &progress).are_for_all();
    let has_run = progress.iter().any(|task| task.has_started);
    if !actual.is_prepared {
        if shall_run && !actual.prepare_begun && !actual.is_over() {
            actual.prepare_begun = true;
            decision.actions.push(Action::Prepare);
        }
        // Nothing was made that a poststop task could look after.
        if !shall_run && !has_run && !actual.prepare_begun {
            actual
                .tasks
                .iter_mut()
                .filter(|task| task.stage == Stage::Waiting)
                .for_each(|task| task.die(false, now.wall));
        }
        return;
    }
    for (task, its) in actual.tasks.iter_mut().zip(&progress) {
        let is_poststop = its.role == Role::Poststop;
        let may = may_start(its.role, &progress) && (shall_run || is_poststop);
        match task.stage {
            Stage::Waiting if may && is_poststop && !has_run => task.die(false, now.wall),
            Stage::Waiting if may && group.task(&task.name).is_some() => {
                task.stage = Stage::Starting;
                task.state.push_event(events::building_directory(now.wall));
                decision.actions.push(Action::Start { task: task.name.clone() });
            }
            Stage::Backoff if shall_run || is_poststop => match task.restart_at {
                Some(at) if now.steady < at => decision.wake(at),
                _ => {
                    task.stage = Stage::Starting;
                    task.restart_at = None;
                    decision.actions.push(Action::Start { task: task.name.clone() });
                }
            },
            Stage::Waiting | Stage::Starting | Stage::Running | Stage::Ended | Stage::Backoff | Stage::Dead => {}
        }
    }
}

fn watch_health(wanted: &Wanted, group: &Group, actual: &mut AllocActual, decision: &mut Decision, now: Now) {
    let Some(policy) = group.update.as_ref().filter(|_| wanted.alloc.deployment_id.is_some()) else { return };
    if actual.health.deployment != wanted.alloc.deployment_id {
        actual.health = HealthWatch { deployment: wanted.alloc.deployment_id, ..HealthWatch::default() };
    }
    if !wanted.shall_run() || wanted.alloc.health().is_some() {
        return;
    }
    let progress = actual.progress(wanted);
    let mut seen = TasksSeen { are_well: actual.is_prepared, ..TasksSeen::default() };
    for (task, progress) in actual.tasks.iter().zip(&progress) {
        let runs = task.stage == Stage::Running && task.kill.is_none();
        let is_done = task.state.is_successful();
        let is_well = match progress.role {
            Role::Main | Role::PrestartSidecar | Role::PoststartSidecar => runs,
            Role::Prestart => is_done,
            Role::Poststart => runs || is_done,
            Role::Poststop => true,
        };
        seen.are_well &= is_well;
        seen.has_failed |= task.state.failed;
        if runs && progress.role != Role::Poststart {
            seen.last_start = seen.last_start.max(task.started);
        }
    }
    let was_undecided = actual.health.healthy.is_none();
    if let Some(at) = actual.health.step(policy, seen, now) {
        decision.wake(at);
    }
    if was_undecided && actual.health.healthy == Some(false) {
        let deadline = actual.health.began.unwrap_or(now.steady) + policy.healthy_deadline;
        for (task, progress) in actual.tasks.iter_mut().zip(&progress) {
            if let Some(text) = health::complaint(policy, task, progress.role, deadline) {
                task.state.push_event(events::alloc_unhealthy(now.wall, &text));
            }
        }
    }
}

#[cfg(test)]
mod tests;
