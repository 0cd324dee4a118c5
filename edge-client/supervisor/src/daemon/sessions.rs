//! Commands inside running tasks: beginning, telling, ending.

use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventFlags};

use super::{Daemon, Source, watch};
use crate::protocol::{Refusal, SessionNews, SessionSpec};
use crate::report::Outcome;
use crate::sys::RawExit;
use crate::task::Phase;
use crate::{descendants, session};

/// Most sessions at a time.
const SESSIONS_MAX: usize = 64;

impl Daemon {
    pub(super) fn begin_session(&mut self, number: u64, spec: &SessionSpec, fds: Vec<OwnedFd>) {
        match self.try_to_begin(spec, fds) {
            Ok(session) => {
                if let Some(report) = &session.report {
                    let _ = watch(&self.epoll, report.fd(), Source::Session, number, EventFlags::IN);
                }
                self.sessions.insert(number, session);
            }
            Err(refusal) => self.tell_session(number, &SessionNews::Refused(refusal)),
        }
    }

    fn try_to_begin(&self, spec: &SessionSpec, fds: Vec<OwnedFd>) -> Result<session::Session, Refusal> {
        let fds = <[OwnedFd; 3]>::try_from(fds)
            .map_err(|_| Refusal::Invalid("a session needs three descriptors".to_owned()))?;
        if self.closing.is_some() {
            return Err(Refusal::ShuttingDown);
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(Refusal::TooMany("sessions".to_owned()));
        }
        let task =
            self.by_id.get(&spec.task_id).and_then(|number| self.tasks.get(number)).ok_or(Refusal::UnknownTask)?;
        let (Phase::Running, Some(pid)) = (&task.phase, task.pid()) else { return Err(Refusal::NotRunning) };
        session::begin(spec, pid, task.is_contained, task.cgroup.as_ref(), fds, self.inherited)
            .map_err(Refusal::StartFailed)
    }

    /// The child of a session has something to say.
    pub(super) fn session_reported(&mut self, number: u64) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let Some(report) = &mut session.report else { return };
        let outcome = match report.poll_both() {
            Outcome::Pending => return,
            Outcome::Closed if session.is_contained => Outcome::Failed("the helper ended early".to_owned()),
            outcome => outcome,
        };
        let _ = epoll::delete(&self.epoll, report.fd());
        session.report = None;
        if session.is_left {
            if let Outcome::Contained(pid) = outcome {
                descendants::kill(pid);
            }
            self.sessions.remove(&number);
            return;
        }
        match outcome {
            Outcome::Failed(text) => {
                self.sessions.remove(&number);
                self.tell_session(number, &SessionNews::Refused(Refusal::StartFailed(text)));
            }
            Outcome::Contained(pid) => {
                session.child = pid;
                self.tell_session(number, &SessionNews::Started);
            }
            Outcome::Closed | Outcome::Pending => self.tell_session(number, &SessionNews::Started),
        }
    }

    /// A child was reaped. True when it was a session's.
    pub(super) fn session_ended(&mut self, pid: i32, exit: RawExit) -> bool {
        // It may have ended before its report was read, and the helper always does.
        for number in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.session_reported(number);
        }
        let Some(number) = self.sessions.iter().find(|(_, session)| session.child == pid).map(|(number, _)| *number)
        else {
            return false;
        };
        if self.sessions.get(&number).is_some_and(|session| session.report.is_some()) {
            // A helper whose report is still to come.
            return true;
        }
        self.sessions.remove(&number);
        self.tell_session(number, &SessionNews::Ended { exit_code: exit.code, signal: exit.signal });
        true
    }

    /// Whoever asked for it has gone.
    pub(super) fn session_left(&mut self, number: u64) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        if session.is_contained && session.report.is_some() {
            // Its helper may be gone already, and the command's own number is in the report that is on its way.
            session.is_left = true;
            return;
        }
        if let Some(report) = &session.report {
            let _ = epoll::delete(&self.epoll, report.fd());
        }
        // It leads a session, in which a shell makes a group of processes for each job; not reaped yet, so the number is its own.
        descendants::kill(session.child);
        self.sessions.remove(&number);
    }

    /// Their task has ended, and there is no cgroup by which they would have ended with it.
    pub(super) fn end_sessions_of(&self, task_id: &str) {
        for session in self.sessions.values().filter(|session| session.task_id == task_id) {
            descendants::kill(session.child);
        }
    }

    /// A command is on its way into a task.
    pub(super) fn has_beginning_session(&self) -> bool {
        self.sessions.values().any(|session| session.report.is_some())
    }

    /// Ends all of them.
    pub(super) fn end_sessions(&mut self) {
        for number in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.drop_connection(number);
        }
    }

    fn tell_session(&mut self, number: u64, news: &SessionNews) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        match connection.send(news) {
            true => self.wait_to_write(number),
            false => self.drop_connection(number),
        }
    }
}
