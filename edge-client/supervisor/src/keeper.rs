//! The agent's copies of what a supervisor holds of its tasks: when one is killed, the next one gets them.
//!
//! ```text
//! supervisor --Kept (record, pidfd, log pipes)--> keeper thread        (purpose "keep", as tasks come and go)
//! next supervisor <--the same, through its standard output-- agent     (once, before it takes any connection)
//! ```

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Resource, Rlimit};
use serde::{Deserialize, Serialize};

use crate::pass_fds;
use crate::protocol::{decode, encode};
use crate::record::RECORD_BYTES_MAX;

/// Longest message.
const MESSAGE_BYTES_MAX: usize = RECORD_BYTES_MAX + 1024;
/// Descriptors that an agent keeps for everything else.
const FILES_KEPT: u64 = 256;
/// How long one message may take when everything is handed over.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);

/// One message about one task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    pub(crate) task_id: String,
    /// The record, encoded; empty when the task is gone.
    #[serde(with = "bytes")]
    pub(crate) record: Vec<u8>,
    /// Which descriptors come with it, in this order: pidfd, standard output, standard error.
    pub(crate) has: [bool; 3],
    /// Everything that there is has been told.
    pub(crate) is_last: bool,
}

/// MessagePack's own form for bytes.
mod bytes {
    pub(super) fn serialize<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// What is kept of one task.
#[derive(Debug, Default)]
pub(crate) struct KeptTask {
    pub(crate) record: Vec<u8>,
    /// Pidfd, standard output, standard error.
    pub(crate) fds: [Option<OwnedFd>; 3],
}

/// Copies of all tasks of one supervisor.
#[derive(Debug, Default)]
pub struct Keeper {
    inner: Mutex<Inner>,
    idle: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    tasks: BTreeMap<String, KeptTask>,
    /// Threads that read from a supervisor, the dead one's included while there is something left to read.
    readers: u32,
}

impl Keeper {
    /// Makes room for many descriptors. Tasks get the limit from before.
    pub fn new() -> Keeper {
        raise_open_files();
        Keeper::default()
    }

    /// How many tasks there are copies of.
    pub fn task_count(&self) -> usize {
        self.lock().tasks.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread begins to read.
    pub(crate) fn begin(&self) {
        self.lock().readers += 1;
    }

    /// Reads until the supervisor is gone.
    pub(crate) fn read(&self, socket: &UnixStream, buffer: Vec<u8>) {
        let mut messages = Messages { buffer, ..Messages::default() };
        // Until everything was told, what is known of an earlier connection stays.
        let mut fresh = Some(BTreeMap::new());
        while let Some((kept, fds)) = messages.next(socket) {
            let mut inner = self.lock();
            if kept.is_last {
                if let Some(fresh) = fresh.take() {
                    inner.tasks = fresh;
                }
                continue;
            }
            let tasks = fresh.as_mut().unwrap_or(&mut inner.tasks);
            match kept.record.is_empty() {
                true => drop(tasks.remove(&kept.task_id)),
                false if (tasks.len() as u64) < tasks_max() => {
                    tasks.insert(kept.task_id, KeptTask { record: kept.record, fds });
                }
                false => {}
            }
        }
        self.end();
    }

    /// A thread has read to the end, or could not be had.
    pub(crate) fn end(&self) {
        self.lock().readers -= 1;
        self.idle.notify_all();
    }

    /// Waits until what a dead supervisor said last was read, then hands everything to its successor.
    pub(crate) fn hand_over(&self, socket: &UnixStream) {
        let until = Instant::now() + HAND_OVER_MAX;
        let mut inner = self.lock();
        while inner.readers > 0 && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            inner = self.idle.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let _ = socket.set_write_timeout(Some(HAND_OVER_MAX));
        for (task_id, task) in &inner.tasks {
            let kept = Kept {
                task_id: task_id.clone(),
                record: task.record.clone(),
                has: [0, 1, 2].map(|place: usize| task.fds.get(place).is_some_and(Option::is_some)),
                is_last: false,
            };
            if !send(socket, &kept, &task.fds, SendFlags::empty()) {
                return;
            }
        }
        send(socket, &Kept { is_last: true, ..Kept::default() }, &[], SendFlags::empty());
    }
}

/// Sends one message. False when it could not be sent.
pub(crate) fn send(socket: &UnixStream, kept: &Kept, fds: &[Option<OwnedFd>], flags: SendFlags) -> bool {
    let fds: Vec<_> = fds.iter().flatten().map(AsFd::as_fd).collect();
    encode(kept, MESSAGE_BYTES_MAX).is_ok_and(|frame| pass_fds::send(socket, &frame, &fds, flags).is_ok())
}

/// Everything that an agent hands over; what does not come in time is not waited for.
pub(crate) fn receive_all(socket: &UnixStream) -> BTreeMap<String, KeptTask> {
    let _ = socket.set_read_timeout(Some(HAND_OVER_MAX));
    let mut messages = Messages::default();
    let mut tasks = BTreeMap::new();
    while let Some((kept, fds)) = messages.next(socket).filter(|(kept, _)| !kept.is_last) {
        tasks.insert(kept.task_id, KeptTask { record: kept.record, fds });
    }
    tasks
}

/// Messages with their descriptors, one after the other.
#[derive(Default)]
struct Messages {
    buffer: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Messages {
    fn next(&mut self, socket: &UnixStream) -> Option<(Kept, [Option<OwnedFd>; 3])> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(kept) = decode::<Kept>(&mut self.buffer, MESSAGE_BYTES_MAX).ok()? {
                // Those of a later message may be here already.
                let count = kept.has.iter().filter(|has| **has).count().min(self.fds.len());
                let mut came = self.fds.drain(..count);
                let fds = kept.has.map(|has| if has { came.next() } else { None });
                drop(came);
                return Some((kept, fds));
            }
            match pass_fds::receive(socket, &mut chunk, &mut self.fds, RecvFlags::empty()) {
                Ok(0) => return None,
                Ok(length) => self.buffer.extend_from_slice(chunk.get(..length)?),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

/// The soft limit of open files that this process was born with.
static BORN_WITH: OnceLock<Option<u64>> = OnceLock::new();

fn raise_open_files() {
    BORN_WITH.get_or_init(|| {
        let limit = rustix::process::getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        let _ = rustix::process::setrlimit(Resource::Nofile, raised);
        limit.current
    });
}

/// What tasks are to get back, where this process has raised its limit.
pub(crate) fn open_files_of_tasks() -> Option<u64> {
    BORN_WITH.get().copied().flatten()
}

fn tasks_max() -> u64 {
    let files = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    files.saturating_sub(FILES_KEPT) / 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_goes_over_whole() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let keeper = Keeper::default();
        for n in 0..200 {
            let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap().0;
            let fds = [None, Some(pipe), None];
            keeper.lock().tasks.insert(format!("t{n}"), KeptTask { record: vec![7; 3000], fds });
        }
        std::thread::scope(|scope| {
            let got = scope.spawn(|| receive_all(&theirs));
            keeper.hand_over(&ours);
            let got = got.join().unwrap();
            assert_eq!(got.len(), 200);
            assert!(got.values().all(|task| task.record == vec![7; 3000]
                && task.fds[0].is_none()
                && task.fds[1].is_some()
                && task.fds[2].is_none()));
        });
    }
}
