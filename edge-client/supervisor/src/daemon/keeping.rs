//! Telling agents what they are to keep copies of.

use std::os::fd::OwnedFd;

use rustix::net::SendFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Daemon;
use crate::connection::ToKeep;
use crate::keeper::{Kept, send};
use crate::protocol::{Purpose, TASKS_MAX};
use crate::task::Task;

/// More news than this wait for nobody: a connection that does not read is dropped, and begins anew.
const TO_KEEP_MAX: usize = 4 * TASKS_MAX;

impl Daemon {
    /// A task runs.
    pub(super) fn tell_keepers(&mut self, number: u64) {
        self.queue_for_keepers(|| ToKeep::Task(number));
    }

    /// A task is gone.
    pub(super) fn tell_keepers_gone(&mut self, task_id: &str) {
        self.queue_for_keepers(|| ToKeep::Gone(task_id.to_owned()));
    }

    fn queue_for_keepers(&mut self, what: impl Fn() -> ToKeep) {
        let keepers: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.purpose == Some(Purpose::Keep))
            .map(|(number, _)| *number)
            .collect();
        for number in keepers {
            if let Some(connection) = self.connections.get_mut(&number) {
                connection.to_keep.push_back(what());
                match connection.to_keep.len() > TO_KEEP_MAX {
                    true => self.drop_connection(number),
                    false => {
                        self.tell_keeper(number);
                        self.wait_to_write(number);
                    }
                }
            }
        }
    }

    /// Sends what the socket takes.
    pub(super) fn tell_keeper(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        while let Some(next) = connection.to_keep.pop_front() {
            let (kept, fds) = match &next {
                ToKeep::Task(task) => match self.tasks.get(task) {
                    Some(task) => copies(task, &self.boot_id),
                    None => continue,
                },
                ToKeep::Gone(task_id) => (Kept { task_id: task_id.clone(), ..Kept::default() }, Vec::new()),
                ToKeep::Last => (Kept { is_last: true, ..Kept::default() }, Vec::new()),
            };
            if !send(connection.socket(), &kept, &fds, SendFlags::DONTWAIT) {
                connection.to_keep.push_front(next);
                return;
            }
        }
    }
}

/// What is to be kept of a running task.
fn copies(task: &Task, boot_id: &str) -> (Kept, Vec<Option<OwnedFd>>) {
    let held = task.pidfd.as_ref().and_then(|pidfd| pidfd.try_clone().ok());
    let pidfd = held.or_else(|| pidfd_open(Pid::from_raw(task.pid()?)?, PidfdFlags::empty()).ok());
    let pipe = |place: usize| task.logs.get(place)?.as_ref()?.pipe.try_clone().ok();
    let fds = [pidfd, pipe(0), pipe(1)];
    let has = [0, 1, 2].map(|place: usize| fds.get(place).is_some_and(Option::is_some));
    let record = task.record(boot_id).encode();
    (Kept { task_id: task.id.clone(), record, has, is_last: false }, fds.into())
}
