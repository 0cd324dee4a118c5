//! What the agent asks, and the answers.

use rustix::event::epoll::{self, EventFlags};

use super::{Daemon, Source};
use crate::connection::ToKeep;
use crate::protocol::{
    Hello, Purpose, REQUEST_BYTES_MAX, Refusal, Reply, ReplyBody, Request, RequestBody, SessionSpec, TaskExited,
    VERSION, Welcome, decode,
};
use crate::sys;
use crate::task::Phase;

impl Daemon {
    /// A connection is ready for reading or writing, or is over.
    pub(super) fn serve(&mut self, number: u64, flags: EventFlags) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        let mut is_open = true;
        if flags.contains(EventFlags::OUT) {
            is_open = connection.flush();
            self.tell_keeper(number);
        }
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        if is_open && flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            is_open = connection.read(&mut self.buffer);
        }
        // What came before the end is still done: the agent may have died right after asking.
        self.understand(number);
        match is_open {
            true => self.wait_to_write(number),
            false => self.drop_connection(number),
        }
    }

    fn understand(&mut self, number: u64) {
        loop {
            let Some(connection) = self.connections.get_mut(&number) else {
                return;
            };
            let is_understood = match connection.purpose {
                None => match decode::<Hello>(&mut connection.input, REQUEST_BYTES_MAX) {
                    Ok(Some(hello)) => self.greet(number, &hello),
                    Ok(None) => return,
                    Err(_) => false,
                },
                Some(Purpose::Requests) => match decode::<Request>(&mut connection.input, REQUEST_BYTES_MAX) {
                    Ok(Some(request)) => {
                        self.answer(number, request);
                        true
                    }
                    Ok(None) => return,
                    Err(_) => false,
                },
                Some(Purpose::Session) if !self.sessions.contains_key(&number) => {
                    match decode::<SessionSpec>(&mut connection.input, REQUEST_BYTES_MAX) {
                        Ok(Some(spec)) => {
                            let fds = std::mem::take(&mut connection.fds);
                            self.begin_session(number, &spec, fds);
                            return;
                        }
                        Ok(None) => return,
                        Err(_) => false,
                    }
                }
                Some(Purpose::Events | Purpose::Keep | Purpose::Session) => {
                    // Nothing is expected here but the end.
                    connection.input.clear();
                    return;
                }
            };
            if !is_understood {
                self.drop_connection(number);
                return;
            }
        }
    }

    fn greet(&mut self, number: u64, hello: &Hello) -> bool {
        let refusal = if hello.version != VERSION {
            Some(format!("the supervisor speaks version {VERSION}, the agent {}", hello.version))
        } else if hello.node_id != self.options.node_id {
            Some(format!("the supervisor belongs to node {}, not {}", self.options.node_id, hello.node_id))
        } else {
            None
        };
        let Some(connection) = self.connections.get_mut(&number) else {
            return false;
        };
        if let Some(reason) = refusal {
            connection.send(&Welcome::Refused { reason });
            return false;
        }
        connection.purpose = Some(hello.purpose);
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        let unenforced = self.unenforced.clone();
        let mut is_open = connection.send(&Welcome::Accepted { pid, unenforced, audits: true });
        if hello.purpose == Purpose::Events {
            for task in self.tasks.values() {
                if let Phase::Exited(exit) = &task.phase {
                    is_open = is_open && connection.send(&task.exited(exit.clone()));
                }
            }
        }
        if hello.purpose == Purpose::Keep {
            let running = self.tasks.iter().filter(|(_, task)| matches!(task.phase, Phase::Running));
            let running: Vec<ToKeep> = running.map(|(number, _)| ToKeep::Task(*number)).collect();
            connection.to_keep.extend(running.into_iter().chain([ToKeep::Last]));
            self.tell_keeper(number);
        }
        is_open
    }

    fn answer(&mut self, number: u64, request: Request) {
        let id = request.id;
        let body = match request.body {
            RequestBody::Start(spec) => match self.start(&spec, (number, id)) {
                // The answer comes when the child has reported.
                Ok(()) => return,
                Err(refusal) => Err(refusal),
            },
            RequestBody::Signal { task_id, signal } => self.signal(&task_id, signal),
            RequestBody::KillAll { task_id } => self.kill_all(&task_id),
            RequestBody::Remove { task_id } => self.remove(&task_id),
            RequestBody::List => Ok(ReplyBody::Tasks(self.tasks.values().map(crate::task::Task::status).collect())),
            RequestBody::Stats { task_id } => self.stats(&task_id),
            RequestBody::Shutdown { end_tasks } => {
                if end_tasks || !self.tasks.values().any(crate::task::Task::is_alive) {
                    self.close(Some((number, id)), false);
                    return;
                }
                Err(Refusal::StillRunning)
            }
            RequestBody::Audit => Ok(ReplyBody::Audited(self.audit(std::time::Instant::now()))),
            // Comes back only with a reason: else this program is another one by then.
            RequestBody::Replace { program } => Err(self.replace(&program)),
        };
        self.reply(number, &Reply { id, body });
    }

    pub(super) fn reply(&mut self, number: u64, reply: &Reply) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        match connection.send(reply) {
            true => self.wait_to_write(number),
            false => self.drop_connection(number),
        }
    }

    /// Tells every listener that a task has ended.
    pub(super) fn publish(&mut self, event: &TaskExited) {
        let listeners: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.purpose == Some(Purpose::Events))
            .map(|(number, _)| *number)
            .collect();
        for number in listeners {
            match self.connections.get_mut(&number).is_some_and(|connection| connection.send(event)) {
                true => self.wait_to_write(number),
                false => self.drop_connection(number),
            }
        }
    }

    pub(super) fn wait_to_write(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        if connection.has_output() != connection.waits_to_write {
            connection.waits_to_write = connection.has_output();
            let flags = if connection.waits_to_write { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let data = epoll::EventData::new_u64(number << 3 | Source::Connection as u64);
            let _ = epoll::modify(&self.epoll, connection.fd(), data, flags);
        }
    }

    pub(super) fn drop_connection(&mut self, number: u64) {
        self.session_left(number);
        if let Some(connection) = self.connections.remove(&number) {
            // Explicitly: a helper forked meanwhile keeps the socket alive for a moment.
            let _ = epoll::delete(&self.epoll, connection.fd());
            let _ = rustix::net::shutdown(connection.fd(), rustix::net::Shutdown::Both);
            if self.connections.is_empty() {
                self.alone_since = std::time::Instant::now();
            }
        }
    }

    fn signal(&mut self, task_id: &str, signal: i32) -> Result<ReplyBody, Refusal> {
        // 0 only asks whether there is somebody to signal.
        if !(0..=64).contains(&signal) {
            return Err(Refusal::Invalid(format!("{signal} is not a signal")));
        }
        let task = self.find(task_id)?;
        let (Phase::Running, Some(pid)) = (&task.phase, task.pid()) else {
            return Err(Refusal::NotRunning);
        };
        let sent = match &task.pidfd {
            // Nobody's child of ours: its number may be another's by now.
            Some(pidfd) => sys::signal_by(pidfd, signal),
            // Not reaped yet, so the number is still its own.
            None => sys::kill(pid, signal),
        };
        sent.map_err(|err| Refusal::Failed(crate::cgroup_files::errno_text(&err)))?;
        Ok(ReplyBody::Done)
    }

    fn kill_all(&mut self, task_id: &str) -> Result<ReplyBody, Refusal> {
        let task = self.find(task_id)?;
        match task.phase {
            Phase::Running | Phase::Ending(_) => task.kill_round(),
            Phase::Starting(_) | Phase::Exited(_) => return Err(Refusal::NotRunning),
        }
        Ok(ReplyBody::Done)
    }

    fn remove(&mut self, task_id: &str) -> Result<ReplyBody, Refusal> {
        let number = *self.by_id.get(task_id).ok_or(Refusal::UnknownTask)?;
        if self.find(task_id)?.is_alive() {
            return Err(Refusal::StillRunning);
        }
        self.forget(number);
        Ok(ReplyBody::Done)
    }

    fn stats(&mut self, task_id: &str) -> Result<ReplyBody, Refusal> {
        let task = self.find(task_id)?;
        let main = match (&task.phase, &task.cgroup, task.pid()) {
            (Phase::Running, Some(cgroup), _) => return Ok(ReplyBody::Stats(cgroup.stats())),
            (Phase::Running, None, Some(main)) => main,
            _ => return Err(Refusal::NotRunning),
        };
        let without_cgroup = |task: &&crate::task::Task| task.cgroup.is_none() && matches!(task.phase, Phase::Running);
        let tasks = self.tasks.values().filter(without_cgroup).filter_map(crate::task::Task::pid);
        Ok(ReplyBody::Stats(self.relatives.stats(main, tasks)))
    }

    fn find(&self, task_id: &str) -> Result<&crate::task::Task, Refusal> {
        self.by_id.get(task_id).and_then(|number| self.tasks.get(number)).ok_or(Refusal::UnknownTask)
    }
}
