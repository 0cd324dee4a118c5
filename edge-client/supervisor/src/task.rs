//! One task as the supervisor holds it.
//!
//! ```text
//! Starting --report--> Running --reaped--> Ending --cgroup empty, logs drained--> Exited --acknowledged--> (gone)
//!     \--failed--> (gone; its cgroup is cleared)
//! ```

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cgroup::TaskCgroup;
use crate::descendants;
use crate::protocol::{Exit, Started, TaskExited, TaskState, TaskStatus};
use crate::record::{Record, RecordedLog, VERSION};
use crate::report::Report;
use crate::sys::{self, RawExit};

/// How long what a task left behind may take to die before its exit is reported all the same.
const ENDING_MAX: Duration = Duration::from_secs(5);
/// First and longest pause between two attempts to end what is left.
const RETRY_FIRST: Duration = Duration::from_millis(1);
const RETRY_MAX: Duration = Duration::from_millis(100);
/// How long the end of a task waits for the last of its logs: a disk that stalls must not keep it from being told.
const LOGS_MAX: Duration = Duration::from_secs(1);
/// How long it waits for the kernel's word on how a process ended that was nobody's child.
const WORD_MAX: Duration = Duration::from_millis(300);

/// One task.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: String,
    /// Its id, escaped: directory of its cgroup, id of its container.
    pub(crate) name: String,
    pub(crate) phase: Phase,
    pub(crate) started: Option<Started>,
    pub(crate) cgroup: Option<TaskCgroup>,
    pub(crate) limits_reason: Option<String>,
    pub(crate) is_contained: bool,
    /// Standard output and standard error; none when discarded.
    pub(crate) logs: [Option<TaskLog>; 2],
    /// Bytes that were dropped under an earlier supervisor.
    pub(crate) log_bytes_dropped: u64,
    /// A descriptor of its main process, where that is no child of ours.
    pub(crate) pidfd: Option<OwnedFd>,
}

/// Where a task stands.
#[derive(Debug)]
pub(crate) enum Phase {
    Starting(Starting),
    Running,
    Ending(Ending),
    Exited(Exit),
}

/// A start under way.
#[derive(Debug)]
pub(crate) struct Starting {
    /// The forked child: the task itself, or the helper that makes its container.
    pub(crate) child: i32,
    pub(crate) report: Report,
    /// Connection and request that wait for the answer.
    pub(crate) asked_by: (u64, u64),
    pub(crate) deadline: Instant,
}

/// What is left of a task is being ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// None where only the kernel can tell it.
    exit: Option<RawExit>,
    at: SystemTime,
    since: Instant,
    /// Since when only the logs are waited for.
    pub(crate) draining: Option<Instant>,
    pub(crate) next_try: Instant,
    pause: Duration,
    give_up: Instant,
}

/// One output of a task, as far as the loop is concerned: the thread of the logs has the rest.
#[derive(Debug)]
pub(crate) struct TaskLog {
    pub(crate) recorded: RecordedLog,
    pub(crate) pipe: Arc<OwnedFd>,
    pub(crate) dropped: Arc<AtomicU64>,
    /// The thread follows it.
    pub(crate) is_followed: bool,
}

impl Task {
    /// Whether a process of it may run.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.phase, Phase::Exited(_))
    }

    pub(crate) fn pid(&self) -> Option<i32> {
        self.started.as_ref().map(|started| started.pid)
    }

    /// What whoever listens is told of its end.
    pub(crate) fn exited(&self, exit: Exit) -> TaskExited {
        let process = self.started.as_ref().map(|started| (started.pid, started.start_ticks));
        TaskExited { task_id: self.id.clone(), exit, process }
    }

    pub(crate) fn status(&self) -> TaskStatus {
        let state = match &self.phase {
            Phase::Starting(_) => TaskState::Starting,
            Phase::Running => TaskState::Running,
            Phase::Ending(_) => TaskState::Ending,
            Phase::Exited(exit) => TaskState::Exited(exit.clone()),
        };
        TaskStatus { task_id: self.id.clone(), state, started: self.started.clone(), log_bytes_dropped: self.dropped() }
    }

    fn dropped(&self) -> u64 {
        let in_logs = self.logs.iter().flatten().map(|log| log.dropped.load(Ordering::Relaxed));
        in_logs.fold(self.log_bytes_dropped, u64::saturating_add)
    }

    /// What another supervisor would have to know.
    pub(crate) fn record(&self, boot_id: &str) -> Record {
        Record {
            version: VERSION,
            boot_id: boot_id.to_owned(),
            task_id: self.id.clone(),
            started: self.started.clone(),
            has_cgroup: self.cgroup.is_some(),
            is_contained: self.is_contained,
            logs: [0, 1]
                .map(|place: usize| self.logs.get(place).and_then(Option::as_ref).map(|log| log.recorded.clone())),
            ended: match &self.phase {
                Phase::Ending(ending) => ending.exit.map(|exit| (exit, ending.at)),
                Phase::Starting(_) | Phase::Running | Phase::Exited(_) => None,
            },
            exit: match &self.phase {
                Phase::Exited(exit) => Some(exit.clone()),
                Phase::Starting(_) | Phase::Running | Phase::Ending(_) => None,
            },
            log_bytes_dropped: self.dropped(),
        }
    }

    /// Kills all processes there are now.
    pub(crate) fn kill_round(&self) {
        match (&self.cgroup, &self.phase) {
            (Some(cgroup), _) => cgroup.kill_round(),
            // A running task is not reaped yet, so its number still names its own session; one that is nobody's child of ours may be.
            (None, Phase::Running) => {
                if let Some(started) = &self.started
                    && (self.pidfd.is_none() || hold(started).is_some())
                {
                    descendants::kill(started.pid);
                }
            }
            (None, Phase::Starting(starting)) => {
                let _ = sys::kill(starting.child, libc::SIGKILL);
            }
            (None, Phase::Ending(_) | Phase::Exited(_)) => {}
        }
    }

    /// Where there is no cgroup: ends what the main process of an adopted task has left behind. Somebody else may have reaped
    /// that, so its number may be another's by now. Not while anything of its session is left, which is what is looked for.
    pub(crate) fn kill_what_main_left(&self) {
        if let (None, Some(started)) = (&self.cgroup, &self.started)
            && [0, started.start_ticks].contains(&start_ticks(started.pid))
        {
            descendants::kill(started.pid);
        }
    }

    /// The main process has ended: what it left behind is next.
    pub(crate) fn main_process_ended(&mut self, exit: Option<RawExit>, at: SystemTime, now: Instant) {
        self.phase = Phase::Ending(Ending {
            exit,
            at,
            since: now,
            draining: None,
            next_try: now,
            pause: RETRY_FIRST,
            give_up: now + ENDING_MAX,
        });
    }

    /// One attempt to end what the main process left behind; true when nothing is left (or it has taken too long).
    pub(crate) fn try_to_end(&mut self, now: Instant) -> bool {
        let Phase::Ending(ending) = &mut self.phase else {
            return false;
        };
        if let Some(cgroup) = &self.cgroup
            && !cgroup.is_empty()
            && now < ending.give_up
        {
            cgroup.kill_round();
            ending.next_try = now + ending.pause;
            ending.pause = (ending.pause * 2).min(RETRY_MAX);
            return false;
        }
        if ending.exit.is_none() {
            let zombie = || self.started.as_ref().and_then(exit_of_zombie);
            ending.exit = self.pidfd.as_ref().and_then(sys::exit_of).or_else(zombie);
            if ending.exit.is_none() && self.pidfd.is_some() && now < ending.since + WORD_MAX {
                ending.next_try = now + RETRY_FIRST;
                return false;
            }
        }
        true
    }

    /// Whether the logs are complete, or have been waited for long enough. The next look is noted.
    pub(crate) fn logs_are_done(&mut self, now: Instant) -> bool {
        let Phase::Ending(ending) = &mut self.phase else { return false };
        let since = *ending.draining.get_or_insert(now);
        ending.next_try = since + LOGS_MAX;
        now >= ending.next_try || !self.logs.iter().flatten().any(|log| log.is_followed)
    }

    /// Settles the exit. The pipes are closed: who still held them is told by a broken pipe.
    pub(crate) fn finish(&mut self) -> Option<Exit> {
        let Phase::Ending(ending) = &self.phase else {
            return None;
        };
        let raw = ending.exit.unwrap_or(RawExit { code: -1, signal: 0 });
        let exit = Exit {
            exit_code: raw.code,
            signal: raw.signal,
            oom_killed: self.cgroup.as_ref().is_some_and(|cgroup| cgroup.oom_kills() > 0),
            at: ending.at,
            is_unknown: ending.exit.is_none(),
        };
        self.log_bytes_dropped = self.dropped();
        self.logs = [None, None];
        self.phase = Phase::Exited(exit.clone());
        Some(exit)
    }
}

/// When the kernel started a process, in ticks since boot; 0 when it is gone.
pub(crate) fn start_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in brackets may itself hold brackets and blanks: count from the last one.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().nth(19).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

/// Whether a process is there that was started then, also as a zombie. One that can't be looked at (no descriptor is left, or it is
/// hidden from this user) counts as there while the kernel knows its number.
pub(crate) fn is_there(started: &Started) -> bool {
    let found = start_ticks(started.pid);
    let is_known = || sys::kill(started.pid, 0).err().and_then(|err| err.raw_os_error()) != Some(libc::ESRCH);
    started.start_ticks == 0 || found == started.start_ticks || found == 0 && is_known()
}

/// How a process ended that nobody has reaped so far.
fn exit_of_zombie(started: &Started) -> Option<RawExit> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", started.pid)).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let is_it = fields.first() == Some(&"Z") && fields.get(19)?.parse() == Ok(started.start_ticks);
    fields.get(49).filter(|_| is_it)?.parse().ok().map(sys::raw_exit)
}

/// A descriptor of a process that runs and was started then; none for another one of the same number, and for one that has ended.
pub(crate) fn hold(started: &Started) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(started.pid)?, PidfdFlags::empty()).ok()?;
    // After it was taken hold of: the number may have been another's before.
    let is_same = started.start_ticks > 0 && start_ticks(started.pid) == started.start_ticks;
    let mut poll = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let has_ended = !matches!(rustix::event::poll(&mut poll, Some(&now)), Ok(0));
    (is_same && !has_ended).then_some(pidfd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_the_kernel_does_not_know_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let of = |start_ticks: u64| Started {
            pid,
            start_ticks,
            started_at: SystemTime::UNIX_EPOCH,
            limits_applied: true,
            limits_reason: None,
        };
        let began = start_ticks(pid);
        assert!(is_there(&of(began)));
        assert!(!is_there(&of(began + 1)), "another process has its number");
        child.kill().unwrap();
        assert!(is_there(&of(began)), "a zombie is there");
        child.wait().unwrap();
        assert!(!is_there(&of(began)));
    }
}
