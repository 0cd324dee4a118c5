//! The thread that may wait for a disk: it moves what tasks write into their logs, and stores their records. A disk that stalls
//! delays logs and nothing else.
//!
//! ```text
//! daemon --Job--> thread        (bounded channel, an eventfd wakes)
//! daemon <--Done-- thread       (the same; what was lent comes back)
//! ```
//! The daemon forks. That is sound beside this thread because the thread neither allocates nor frees nor takes a lock that a
//! child could want: whatever it works on is lent by the daemon, and dropped by it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fs::{Mode, OFlags};

use crate::log_file::{LogFile, Moved};
use crate::record::RecordFile;

/// Jobs under way to the thread; further ones wait at the daemon, at most a few per task.
const JOBS_MAX: usize = 256;
/// More than this wait only where the disk does not answer: nothing is begun that would add to them.
const OVERDUE_MAX: usize = 1024;
/// A pipe holds at most this much (the kernel's default bound for plain users), so draining moves no more.
const DRAIN_BYTES_MAX: usize = 1 << 20;
/// The thread's stack, in bytes.
const STACK_BYTES: usize = 128 << 10;
/// One buffer for bytes that are discarded or copied.
const BUFFER_BYTES: usize = 16 << 10;
/// The wait before the daemon is told again when it did not take an answer.
const RETELL: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
/// The event of the thread's own eventfd; all others are places of logs.
const WAKE: u64 = u64::MAX;

/// The reading end of a task's output, and where it goes.
#[derive(Debug)]
pub(crate) struct LogPipe {
    /// Task and stream, as the daemon knows them.
    pub(crate) key: u64,
    pub(crate) pipe: Arc<OwnedFd>,
    pub(crate) log: LogFile,
}

/// What the thread is asked.
#[derive(Debug)]
pub(crate) enum Job {
    /// Move what comes, until the end.
    Follow(Box<LogPipe>),
    /// The task has ended: move what is there, and give it back.
    Drain(u64),
    /// Store a record.
    Record(Box<RecordFile>),
}

/// What comes back.
#[derive(Debug)]
pub(crate) enum Done {
    /// At its end, or drained.
    Log(Box<LogPipe>),
    /// Stored, or not.
    Record(Box<RecordFile>),
}

/// The daemon's end.
#[derive(Debug)]
pub(crate) struct LogThread {
    jobs: SyncSender<Job>,
    backlog: VecDeque<Job>,
    wake: Arc<OwnedFd>,
    done: Receiver<Done>,
    told: Arc<OwnedFd>,
    /// How many jobs have gone to the thread.
    asked: u64,
    progress: Arc<Progress>,
}

/// How far the thread is.
#[derive(Debug, Default)]
struct Progress {
    /// Jobs that are over.
    over: AtomicU64,
    /// It waits for something to do.
    is_idle: AtomicBool,
}

impl LogThread {
    /// Starts the thread; records are stored in that directory. Signals must be blocked already.
    pub(crate) fn start(records_dir: &Path, logs_max: usize) -> Result<LogThread, String> {
        let text = |what: &'static str| move |err: rustix::io::Errno| format!("{what}: {err}");
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(text("make an eventfd"));
        let (wake, told) = (Arc::new(event()?), Arc::new(event()?));
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(text("create epoll"))?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN).map_err(text("watch"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let records_dir = rustix::fs::open(records_dir, flags, Mode::empty()).map_err(text("open records"))?;
        let (jobs, jobs_rx) = sync_channel(JOBS_MAX);
        let (done_tx, done) = sync_channel(JOBS_MAX);
        let progress = Arc::<Progress>::default();
        let thread = Worker {
            epoll,
            wake: Arc::clone(&wake),
            told: Arc::clone(&told),
            jobs: jobs_rx,
            done: done_tx,
            records_dir,
            // Untouched memory costs nothing.
            places: Vec::with_capacity(logs_max),
            untold: Vec::with_capacity(logs_max),
            buffer: vec![0; BUFFER_BYTES],
            progress: Arc::clone(&progress),
        };
        std::thread::Builder::new()
            .name("drover-logs".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || thread.run())
            .map_err(|err| format!("start the thread of logs: {err}"))?;
        Ok(LogThread { jobs, backlog: VecDeque::new(), wake, done, told, asked: 0, progress })
    }

    /// Readable when something has come back.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.told.as_fd()
    }

    /// Asks; never waits.
    pub(crate) fn ask(&mut self, job: Job) {
        self.backlog.push_back(job);
        self.flush();
    }

    /// So much waits that nothing more is to be begun.
    pub(crate) fn is_overdue(&self) -> bool {
        self.backlog.len() >= OVERDUE_MAX
    }

    /// Waits until everything that was asked is done and the thread is at nothing. False when that takes longer.
    pub(crate) fn settle(&mut self, longest: Duration) -> bool {
        let until = Instant::now() + longest;
        loop {
            self.flush();
            let is_over = self.backlog.is_empty() && self.progress.over.load(Ordering::Acquire) == self.asked;
            if is_over && self.progress.is_idle.load(Ordering::Acquire) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What has come back.
    pub(crate) fn take(&mut self) -> Option<Done> {
        let _ = rustix::io::read(&self.told, &mut [0; 8]);
        let done = self.done.try_recv().ok();
        self.flush();
        done
    }

    fn flush(&mut self) {
        let mut has_sent = false;
        while let Some(job) = self.backlog.pop_front() {
            match self.jobs.try_send(job) {
                Ok(()) => {
                    self.asked += 1;
                    has_sent = true;
                }
                Err(TrySendError::Full(job)) => {
                    self.backlog.push_front(job);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => break,
            }
        }
        if has_sent {
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }
}

/// The thread's end.
struct Worker {
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    told: Arc<OwnedFd>,
    jobs: Receiver<Job>,
    done: SyncSender<Done>,
    records_dir: OwnedFd,
    places: Vec<Option<Box<LogPipe>>>,
    untold: Vec<Done>,
    buffer: Vec<u8>,
    progress: Arc<Progress>,
}

impl Worker {
    fn run(mut self) {
        let mut events: [epoll::Event; 32] =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 32];
        loop {
            let timeout = (!self.untold.is_empty()).then_some(&RETELL);
            self.progress.is_idle.store(true, Ordering::Release);
            let waited = epoll::wait(&self.epoll, &mut events, timeout);
            self.progress.is_idle.store(false, Ordering::Release);
            let count = match waited {
                Ok(count) => count,
                Err(rustix::io::Errno::INTR) => 0,
                Err(_) => return,
            };
            for event in events.iter().take(count) {
                match event.data.u64() {
                    WAKE => {
                        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
                    }
                    place => self.move_piece(place),
                }
            }
            while let Ok(job) = self.jobs.try_recv() {
                self.take_up(job);
                self.progress.over.fetch_add(1, Ordering::Release);
                // One that stalls holds up what comes later, not what is done already.
                self.tell();
            }
            self.tell();
        }
    }

    fn take_up(&mut self, job: Job) {
        match job {
            Job::Record(record) => {
                record.store(&self.records_dir);
                self.give_back(Done::Record(record));
            }
            Job::Drain(key) => {
                let found = self.places.iter().position(|place| place.as_ref().is_some_and(|log| log.key == key));
                let Some(mut log) = found.and_then(|place| self.places.get_mut(place)?.take()) else { return };
                let _ = epoll::delete(&self.epoll, &log.pipe);
                let mut moved = 0;
                while moved < DRAIN_BYTES_MAX
                    && let Moved::Some(length) = log.log.take(&log.pipe, &mut self.buffer)
                {
                    moved += length;
                }
                self.give_back(Done::Log(log));
            }
            Job::Follow(mut log) => {
                log.log.make_file();
                let free = self.places.iter().position(Option::is_none);
                let place = free.unwrap_or(self.places.len());
                let data = epoll::EventData::new_u64(place as u64);
                // The capacity is never outgrown: that would allocate.
                let has_room = free.is_some() || self.places.len() < self.places.capacity();
                if !has_room || epoll::add(&self.epoll, &log.pipe, data, epoll::EventFlags::IN).is_err() {
                    return self.give_back(Done::Log(log));
                }
                match self.places.get_mut(place) {
                    Some(free) => *free = Some(log),
                    None => self.places.push(Some(log)),
                }
            }
        }
    }

    fn move_piece(&mut self, place: u64) {
        let Some(slot) = usize::try_from(place).ok().and_then(|place| self.places.get_mut(place)) else { return };
        let Some(log) = slot else { return };
        if log.log.take(&log.pipe, &mut self.buffer) == Moved::End {
            let _ = epoll::delete(&self.epoll, &log.pipe);
            if let Some(log) = slot.take() {
                self.give_back(Done::Log(log));
            }
        }
    }

    fn give_back(&mut self, done: Done) {
        if self.untold.len() < self.untold.capacity() {
            self.untold.push(done);
        } else {
            // As many as there can be logs are waiting: the daemon is gone, and nobody forks any more.
            drop(done);
        }
    }

    fn tell(&mut self) {
        let mut has_told = false;
        while let Some(done) = self.untold.pop() {
            match self.done.try_send(done) {
                Ok(()) => has_told = true,
                Err(TrySendError::Full(done)) => {
                    self.untold.push(done);
                    break;
                }
                Err(TrySendError::Disconnected(done)) => {
                    self.untold.push(done);
                    break;
                }
            }
        }
        if has_told {
            let _ = rustix::io::write(&self.told, &1u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_settled_and_what_waits_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = LogThread::start(dir.path(), 8).unwrap();
        let record = |n: usize| {
            let name = std::ffi::CString::new(format!("r{n}")).unwrap();
            Job::Record(Box::new(RecordFile { number: 1, name, data: Some(b"x".to_vec()) }))
        };
        for n in 0..100 {
            logs.ask(record(n));
        }
        assert!(!logs.is_overdue());
        // The thread gives back at most as many as there is room for, so what came back must be taken meanwhile.
        while !logs.settle(Duration::from_millis(20)) {
            while logs.take().is_some() {}
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 100);
        assert!(logs.settle(Duration::ZERO));
    }
}
