//! One task as the supervisor holds it.
//!
//! ```text
//! Starting --report--> Running --reaped--> Ending --cgroup empty, logs drained--> Exited --acknowledged--> (gone)
//!     \--failed--> (gone; its cgroup is cleared)
//! ```

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant, SystemTime};

use crate::cgroup::TaskCgroup;
use crate::descendants;
use crate::log_file::LogFile;
use crate::protocol::{Exit, Started, TaskState, TaskStatus};
use crate::report::Report;
use crate::sys::{self, RawExit};

/// How long what a task left behind may take to die before its exit is reported all the same.
const ENDING_MAX: Duration = Duration::from_secs(5);
/// First and longest pause between two attempts to end what is left.
const RETRY_FIRST: Duration = Duration::from_millis(1);
const RETRY_MAX: Duration = Duration::from_millis(100);
/// A pipe holds at most this much (the kernel's default bound for plain users), so draining reads no more.
const DRAIN_BYTES_MAX: usize = 1 << 20;

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
    /// Standard output and standard error; none when discarded or closed.
    pub(crate) logs: [Option<LogPipe>; 2],
    pub(crate) log_bytes_dropped: u64,
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
    exit: RawExit,
    at: SystemTime,
    pub(crate) next_try: Instant,
    pause: Duration,
    give_up: Instant,
}

/// The reading end of a task's output, and where it goes.
#[derive(Debug)]
pub(crate) struct LogPipe {
    pub(crate) pipe: std::fs::File,
    pub(crate) log: LogFile,
}

impl LogPipe {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Moves one buffer full. None at the end of the pipe.
    pub(crate) fn pump(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self.pipe.read(buffer) {
            Ok(0) => None,
            Ok(length) => {
                self.log.write(buffer.get(..length).unwrap_or(&[]));
                Some(length)
            }
            Err(err) if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Some(0),
            Err(_) => None,
        }
    }
}

impl Task {
    /// Whether a process of it may run.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.phase, Phase::Exited(_))
    }

    pub(crate) fn pid(&self) -> Option<i32> {
        self.started.as_ref().map(|started| started.pid)
    }

    pub(crate) fn status(&self) -> TaskStatus {
        let state = match &self.phase {
            Phase::Starting(_) => TaskState::Starting,
            Phase::Running => TaskState::Running,
            Phase::Ending(_) => TaskState::Ending,
            Phase::Exited(exit) => TaskState::Exited(exit.clone()),
        };
        let in_logs: u64 = self.logs.iter().flatten().map(|pipe| pipe.log.dropped).sum();
        TaskStatus {
            task_id: self.id.clone(),
            state,
            started: self.started.clone(),
            log_bytes_dropped: self.log_bytes_dropped.saturating_add(in_logs),
        }
    }

    /// Kills all processes there are now.
    pub(crate) fn kill_round(&self) {
        match (&self.cgroup, &self.phase) {
            (Some(cgroup), _) => cgroup.kill_round(),
            // A running task is not reaped yet, so its number still names its own session.
            (None, Phase::Running) => {
                if let Some(pid) = self.pid() {
                    descendants::kill(pid);
                }
            }
            (None, Phase::Starting(starting)) => {
                let _ = sys::kill(starting.child, libc::SIGKILL);
            }
            (None, Phase::Ending(_) | Phase::Exited(_)) => {}
        }
    }

    /// The main process was reaped: what it left behind is next.
    pub(crate) fn main_process_ended(&mut self, exit: RawExit, now: Instant) {
        self.phase = Phase::Ending(Ending {
            exit,
            at: SystemTime::now(),
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
        true
    }

    /// Drains the logs and settles the exit. The pipes are closed: who still held them is told by a broken pipe.
    pub(crate) fn finish(&mut self, buffer: &mut [u8]) -> Option<Exit> {
        let Phase::Ending(ending) = &self.phase else {
            return None;
        };
        let (raw, at) = (ending.exit, ending.at);
        for mut pipe in self.logs.iter_mut().filter_map(Option::take) {
            let mut drained = 0;
            while drained < DRAIN_BYTES_MAX {
                match pipe.pump(buffer) {
                    None | Some(0) => break,
                    Some(length) => drained += length,
                }
            }
            self.log_bytes_dropped = self.log_bytes_dropped.saturating_add(pipe.log.dropped);
        }
        let exit = Exit {
            exit_code: raw.code,
            signal: raw.signal,
            oom_killed: self.cgroup.as_ref().is_some_and(|cgroup| cgroup.oom_kills() > 0),
            at,
        };
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
