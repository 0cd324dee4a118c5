//! What is: the tasks of one alloc as far as the edge knows, kept on disk, and how facts change it.

use std::time::Duration;

use drover_drivers::{Exit, TaskHandle};
use drover_model::Timestamp;
use drover_model::alloc::{AllocUpdate, ClientStatus, NetworkStatus};
use drover_model::policy::RestartPolicy;
use drover_model::task::Task;
use drover_model::task_state::{TaskEvent, TaskPhase, TaskState};
use serde::{Deserialize, Serialize};

use super::health::HealthWatch;
use super::lifecycle::{Progress, Role};
use super::moment::Now;
use super::restart::{NO_RESTARTS, RestartWindow, UNRECOVERABLE, Verdict, jitter};
use super::wanted::Wanted;
use super::{client_status, events};

/// What is said of a task whose end nobody saw.
const UNKNOWN_EXIT: &str = "exit code unknown";

/// What is said of a task that should run and whose process is not there.
const VANISHED: &str = "the task ended while nobody watched it";

/// The description of a batch alloc that ran too long.
pub const RAN_TOO_LONG: &str = "allocation exceeded max_run_duration";

/// Where a task stands inside the edge; the servers see [`TaskPhase`].
///
/// ```text
/// Waiting -> Starting -> Running -> Ended -> Dead
///    ^          |                     |
///    +----------+---- Backoff <-------+
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It has not had its turn.
    #[default]
    Waiting,
    /// It is being started.
    Starting,
    /// Its process runs.
    Running,
    /// Its process has ended; the supervisor shall forget it. Then it is dead, or starts again at `restart_at`.
    Ended,
    /// It starts again at `restart_at`.
    Backoff,
    /// It is over.
    Dead,
}

/// A task that is being ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kill {
    /// When it is (or was) asked to end, on the steady clock.
    pub signal_at: Duration,
    /// It was asked.
    pub is_signalled: bool,
    /// When it is ended without asking.
    pub hard_at: Duration,
    /// How often that was tried.
    pub hard_tries: u32,
}

/// One task as the edge knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskActual {
    /// Its name.
    pub name: String,
    /// What is reported of it.
    pub state: TaskState,
    /// Where it stands.
    pub stage: Stage,
    /// What the driver knows it by, while there is something to know.
    pub handle: Option<TaskHandle>,
    /// When it last started, on the steady clock.
    pub started: Option<Duration>,
    /// When it starts again; none when it does not.
    pub restart_at: Option<Duration>,
    /// Its restarts.
    pub window: RestartWindow,
    /// Its end, while it is being ended.
    pub kill: Option<Kill>,
    /// The supervisor was asked to forget it.
    pub forget_begun: bool,
    /// Somebody wants it to end and start again at once.
    pub restart_asked: bool,
    /// Its events say already which other task's end takes it along.
    pub is_told_why: bool,
}

/// One alloc as the edge knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllocActual {
    /// The boot in which the steady times below were taken; another one makes them worthless.
    pub boot_id: String,
    /// In the order of the job file.
    pub tasks: Vec<TaskActual>,
    /// Its directories are being made, or were made.
    pub prepare_begun: bool,
    /// Its directories are there.
    pub is_prepared: bool,
    /// What its end left mounted is gone.
    pub cleanup_begun: bool,
    /// Its health.
    pub health: HealthWatch,
    /// The first start of a task, on the steady clock.
    pub first_start: Option<Duration>,
    /// It ran longer than its job allows.
    pub ran_too_long: bool,
    /// The servers have forgotten it: it ends and goes.
    pub is_removed: bool,
    /// Its network, where that is not the host's.
    pub network: Option<NetworkStatus>,
    /// Since when its tasks are to end, on the steady clock.
    pub ending_since: Option<Duration>,
}

/// How far an alloc is, as far as others ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Nothing of it runs, and nothing of it will.
    pub is_over: bool,
    /// It has its directories, with the data of the alloc whose place it takes.
    pub is_prepared: bool,
    /// When the last task so far ended.
    pub ended_at: Timestamp,
}

/// Why a task did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartFailure {
    /// The driver does not understand the task's settings.
    Validation(String),
    /// Something that the task needs can't be had.
    Setup(String),
    /// A check before the start said no.
    Hook(String),
    /// The driver says no; trying again changes nothing.
    DriverFinal(String),
    /// The driver could not.
    Driver(String),
    /// It was not wanted any more before it had begun.
    Unwanted,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The alloc's directories are there, or can't be made.
    Prepared(Result<(), String>),
    /// The alloc has a network of its own.
    Connected(NetworkStatus),
    /// A task's process runs.
    Started {
        /// Which.
        task: String,
        /// How the driver knows it.
        handle: TaskHandle,
    },
    /// A task did not start.
    NotStarted {
        /// Which.
        task: String,
        /// Why.
        failure: StartFailure,
    },
    /// The driver says how far it is with what the start waits for.
    Progress {
        /// Which.
        task: String,
        /// In words.
        text: String,
    },
    /// A task's process has ended.
    Exited {
        /// Which.
        task: String,
        /// How.
        exit: Exit,
    },
    /// A task of an earlier life of the agent is not there any more, and nobody knows how it ended.
    Lost {
        /// Which.
        task: String,
        /// In words; empty when it is only known that it was being started.
        reason: String,
    },
    /// The audit has found twice that a task's process is not there any more.
    Vanished {
        /// Which.
        task: String,
        /// The process that is meant: the task may run again by now.
        handle: TaskHandle,
        /// How it ended, if anybody knows.
        exit: Option<Exit>,
    },
    /// The supervisor has forgotten an ended task.
    Forgotten {
        /// Which.
        task: String,
    },
    /// Somebody wants tasks to end and start again.
    RestartAsked(RestartAsked),
    /// Somebody has a signal sent.
    SignalAsked {
        /// Which.
        task: String,
        /// The signal, as it was named.
        signal: String,
    },
}

/// Which tasks are to end and start again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestartAsked {
    /// This one.
    Task(String),
    /// All that run.
    Running,
    /// All, those included that have ended.
    All,
}

impl AllocActual {
    /// An alloc that has just come.
    pub fn new(wanted: &Wanted, boot_id: &str, now: Now) -> Self {
        let task = |task: &Task| {
            let mut state = TaskState::default();
            state.push_event(events::received(now.wall));
            TaskActual { name: task.name.clone(), state, ..TaskActual::default() }
        };
        Self {
            boot_id: boot_id.to_owned(),
            tasks: wanted.group().map_or_else(Vec::new, |group| group.tasks.iter().map(task).collect()),
            ..Self::default()
        }
    }

    /// Read back by a later agent. After a boot the steady clock began anew, so every wait is over.
    pub fn restored(mut self, boot_id: &str, now: Now) -> Self {
        if self.boot_id != boot_id {
            self.boot_id = boot_id.to_owned();
            self.first_start = self.first_start.map(|_| now.steady);
            self.ending_since = self.ending_since.map(|_| now.steady);
            self.health.began = self.health.began.map(|_| now.steady);
            self.health.well_since = None;
            for task in &mut self.tasks {
                task.started = None;
                task.kill = None;
                task.restart_at = task.restart_at.map(|_| now.steady);
                task.window.began = task.window.began.map(|_| now.steady);
                // It may have run before the machine went down, to its end even: then it must not run twice.
                if task.stage == Stage::Starting {
                    task.stage = Stage::Running;
                }
            }
        }
        if !self.is_prepared {
            self.prepare_begun = false;
        }
        self.cleanup_begun = false;
        self.tasks.iter_mut().for_each(|task| task.forget_begun = false);
        self
    }

    /// Takes note of something that happened.
    pub fn observe(&mut self, wanted: &Wanted, fact: Fact, now: Now) {
        match fact {
            Fact::Prepared(Ok(())) => self.is_prepared = true,
            Fact::Prepared(Err(reason)) => {
                self.prepare_begun = false;
                for task in &mut self.tasks {
                    task.state.push_event(events::setup_failure(now.wall, &reason));
                    task.die(true, now.wall);
                }
            }
            Fact::Connected(network) => self.network = Some(network),
            Fact::Started { task, handle } => {
                if let Some(task) = self.task_mut(&task) {
                    task.on_started(handle, now);
                    self.first_start.get_or_insert(now.steady);
                }
            }
            Fact::NotStarted { task, failure } => {
                self.with(wanted, &task, |task, its| task.on_not_started(its, failure, now))
            }
            Fact::Progress { task, text } => {
                if let Some(task) = self.task_mut(&task).filter(|task| task.stage == Stage::Starting) {
                    events::tell_progress(&mut task.state, now.wall, &text);
                }
            }
            Fact::Exited { task, exit } => self.with(wanted, &task, |task, its| task.on_exited(its, exit, now)),
            Fact::Lost { task, reason } => self.with(wanted, &task, |task, its| task.on_lost(its, &reason, now)),
            Fact::Vanished { task, handle, exit } => {
                let is_it = |its: &TaskHandle| (its.pid, its.start_ticks) == (handle.pid, handle.start_ticks);
                self.with(wanted, &task, |task, its| {
                    if task.stage != Stage::Running || !task.handle.as_ref().is_some_and(is_it) {
                        return;
                    }
                    match exit {
                        Some(exit) => task.on_exited(its, exit, now),
                        None => task.on_lost(its, VANISHED, now),
                    }
                });
            }
            Fact::RestartAsked(which) => self.ask_for_restart(&which, now),
            Fact::SignalAsked { task, signal } => {
                if let Some(task) = self.task_mut(&task) {
                    task.state.push_event(events::signaling(now.wall, &signal));
                }
            }
            Fact::Forgotten { task } => {
                if let Some(task) = self.task_mut(&task) {
                    task.on_forgotten();
                }
            }
        }
    }

    fn ask_for_restart(&mut self, which: &RestartAsked, now: Now) {
        let is_over = self.is_over();
        if *which == RestartAsked::All && !is_over {
            self.ending_since = None;
        }
        for task in &mut self.tasks {
            let text = match which {
                RestartAsked::Task(name) if *name != task.name => continue,
                RestartAsked::Task(_) => "User requested task to restart",
                RestartAsked::Running => "User requested running tasks to restart",
                RestartAsked::All => "User requested all tasks to restart",
            };
            match task.stage {
                Stage::Running if task.kill.is_none() => {
                    task.state.push_event(events::restart_signaled(now.wall, text));
                    task.restart_asked = true;
                }
                Stage::Dead if *which == RestartAsked::All && !is_over => {
                    task.state.push_event(events::restart_signaled(now.wall, text));
                    task.start_again(now);
                    task.stage = Stage::Backoff;
                }
                Stage::Waiting | Stage::Starting | Stage::Running | Stage::Ended | Stage::Backoff | Stage::Dead => {}
            }
        }
    }

    /// The task of that name.
    pub fn task(&self, name: &str) -> Option<&TaskActual> {
        self.tasks.iter().find(|task| task.name == name)
    }

    fn task_mut(&mut self, name: &str) -> Option<&mut TaskActual> {
        self.tasks.iter_mut().find(|task| task.name == name)
    }

    fn with(&mut self, wanted: &Wanted, name: &str, change: impl FnOnce(&mut TaskActual, Its<'_>)) {
        let Some(its) = wanted.group().and_then(|group| group.task(name)) else { return };
        let its = Its {
            policy: &its.restart_policy,
            is_done_on_success: wanted.job.kind.is_batch() || Role::of(its).is_meant_to_end(),
            seed: u64::from_le_bytes(wanted.alloc.id.as_bytes().first_chunk().copied().unwrap_or_default()),
        };
        if let Some(task) = self.task_mut(name) {
            change(task, its);
        }
    }

    /// How far each task has come, as far as others wait for it.
    pub fn progress(&self, wanted: &Wanted) -> Vec<Progress> {
        let its = |name: &str| wanted.group().and_then(|group| group.task(name));
        self.tasks
            .iter()
            .map(|task| Progress {
                role: its(&task.name).map_or(Role::Main, Role::of),
                is_leader: its(&task.name).is_some_and(|its| its.leader),
                has_started: !task.state.started_at.is_never(),
                is_dead: task.state.state == TaskPhase::Dead,
                has_failed: task.state.failed,
            })
            .collect()
    }

    /// Nothing of it runs, and nothing of it will.
    pub fn is_over(&self) -> bool {
        self.tasks.iter().all(|task| task.stage == Stage::Dead)
    }

    /// Its directories are being made, or that waits for its turn.
    pub fn is_preparing(&self) -> bool {
        self.prepare_begun && !self.is_prepared
    }

    /// How far it is, as far as others ask for it.
    pub fn standing(&self) -> Standing {
        let ended_at = self.tasks.iter().map(|task| task.state.finished_at).max().unwrap_or_default();
        Standing { is_over: self.is_over(), is_prepared: self.is_prepared, ended_at }
    }

    /// What the servers are told.
    pub fn update(&self, wanted: &Wanted, now: Now) -> AllocUpdate {
        let (mut client_status, mut description) = client_status::of(self.tasks.iter().map(|task| &task.state));
        if self.ran_too_long && client_status.is_terminal() {
            (client_status, description) = (ClientStatus::Complete, RAN_TOO_LONG);
        }
        AllocUpdate {
            alloc_id: wanted.alloc.id,
            client_status,
            client_description: description.to_owned(),
            task_states: self.tasks.iter().map(|task| (task.name.clone(), task.state.clone())).collect(),
            healthy: self.health.healthy,
            health_at: self.health.decided_at,
            network_status: self.network.clone(),
            at: now.wall,
        }
    }
}

/// What a task's job says about its end.
struct Its<'a> {
    policy: &'a RestartPolicy,
    is_done_on_success: bool,
    seed: u64,
}

impl TaskActual {
    /// This end was taken note of already.
    pub fn knows_end(&self, exit: &Exit) -> bool {
        let is_it = |event: &TaskEvent| event.kind == "Terminated" && event.time == exit.at;
        self.stage == Stage::Ended && self.state.events.iter().any(is_it)
    }

    fn on_started(&mut self, handle: TaskHandle, now: Now) {
        self.stage = Stage::Running;
        self.state.state = TaskPhase::Running;
        let at = if handle.started_at.is_never() { now.wall } else { handle.started_at };
        if self.state.started_at.is_never() {
            self.state.started_at = at;
        }
        self.started = Some(now.steady);
        self.restart_at = None;
        self.window.first_start(now.steady);
        self.handle = Some(handle);
        self.state.push_event(events::started(at));
    }

    fn on_not_started(&mut self, its: Its<'_>, failure: StartFailure, now: Now) {
        let is_final = !matches!(failure, StartFailure::Driver(_));
        self.state.push_event(match &failure {
            StartFailure::Validation(text) => events::failed_validation(now.wall, text),
            StartFailure::Setup(text) => events::setup_failure(now.wall, text),
            StartFailure::Hook(text) => events::hook_failed(now.wall, text),
            StartFailure::DriverFinal(text) | StartFailure::Driver(text) => events::driver_failure(now.wall, text),
            StartFailure::Unwanted => events::killed(now.wall),
        });
        self.stage = Stage::Ended;
        self.handle = None;
        if self.kill.is_some() || failure == StartFailure::Unwanted {
            self.die(false, now.wall);
        } else if is_final {
            let reason = if its.policy.attempts == 0 { NO_RESTARTS } else { UNRECOVERABLE };
            self.state.push_event(events::not_restarting(now.wall, reason));
            self.die(true, now.wall);
        } else {
            self.judge(its, now);
        }
        // There is nothing that the supervisor could forget.
        self.on_forgotten();
    }

    fn on_exited(&mut self, its: Its<'_>, exit: Exit, now: Now) {
        if !matches!(self.stage, Stage::Running | Stage::Starting) {
            return;
        }
        let at = if exit.at.is_never() { now.wall } else { exit.at };
        self.state.push_event(events::terminated(at, &exit));
        self.stage = Stage::Ended;
        if std::mem::take(&mut self.restart_asked) {
            self.kill = None;
            self.start_again(now);
        } else if self.kill.is_some() {
            self.state.push_event(events::killed(now.wall));
            self.finish(false, at);
        } else if exit.is_success() && its.is_done_on_success {
            self.finish(false, at);
        } else {
            self.judge(its, now);
        }
    }

    /// It starts again at once, whatever its policy says.
    fn start_again(&mut self, now: Now) {
        self.state.push_event(events::restarting(now.wall, Duration::ZERO, ""));
        self.is_told_why = false;
        self.state.state = TaskPhase::Pending;
        self.state.failed = false;
        self.state.finished_at = Timestamp::default();
        self.state.restarts += 1;
        self.state.last_restart = now.wall;
        self.restart_at = Some(now.steady);
    }

    /// Restart or not, by the policy.
    fn judge(&mut self, its: Its<'_>, now: Now) {
        let jitter = jitter(its.seed ^ self.state.restarts.wrapping_mul(0x9e37_79b9) ^ now.steady.as_nanos() as u64);
        match self.window.judge(its.policy, now.steady, jitter) {
            Verdict::Restart { delay, reason } => {
                self.state.push_event(events::restarting(now.wall, delay, reason));
                self.state.state = TaskPhase::Pending;
                self.state.restarts += 1;
                self.state.last_restart = now.wall;
                self.restart_at = Some(now.steady + delay);
            }
            Verdict::GiveUp { reason } => {
                self.state.push_event(events::not_restarting(now.wall, &reason));
                self.finish(true, now.wall);
            }
        }
    }

    /// Nobody knows what became of it. One that ran has ended, and nobody knows how; one that was only being started in this
    /// boot has never run.
    fn on_lost(&mut self, its: Its<'_>, reason: &str, now: Now) {
        match self.stage {
            Stage::Running => {
                if !reason.is_empty() && self.kill.is_none() {
                    self.state.push_event(events::failed_restoring(now.wall, reason));
                }
                let exit = Exit { exit_code: -1, message: UNKNOWN_EXIT.to_owned(), at: now.wall, ..Exit::default() };
                self.on_exited(its, exit, now);
            }
            Stage::Starting => {
                self.handle = None;
                if self.kill.is_some() {
                    self.state.push_event(events::killed(now.wall));
                    self.die(false, now.wall);
                } else {
                    if !reason.is_empty() {
                        self.state.push_event(events::failed_restoring(now.wall, reason));
                    }
                    self.state.state = TaskPhase::Pending;
                    self.stage = Stage::Waiting;
                }
            }
            Stage::Ended => self.on_forgotten(),
            Stage::Waiting | Stage::Backoff | Stage::Dead => self.handle = None,
        }
    }

    fn on_forgotten(&mut self) {
        self.handle = None;
        self.forget_begun = false;
        if self.stage == Stage::Ended {
            self.stage = if self.restart_at.is_some() { Stage::Backoff } else { Stage::Dead };
        }
    }

    /// It is over for the servers; the supervisor still knows it.
    fn finish(&mut self, failed: bool, at: Timestamp) {
        self.state.state = TaskPhase::Dead;
        self.state.failed = failed;
        self.state.finished_at = at;
        self.restart_at = None;
    }

    /// It is over, and there is nothing that anybody else knows of it.
    pub(super) fn die(&mut self, failed: bool, at: Timestamp) {
        self.finish(failed, at);
        self.stage = Stage::Dead;
    }
}
