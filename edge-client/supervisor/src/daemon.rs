//! The supervisor's loop: one epoll, everything it owns in one place. Only the logs have a thread of their own.

mod audit;
mod keeping;
mod replace;
mod requests;
mod sessions;
mod takeover;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::process::{Resource, Rlimit};

use crate::cgroup::{NodeCgroups, TaskCgroup};
use crate::connection::Connection;
use crate::descendants::Relatives;
use crate::entry::RunOptions;
use crate::log_thread::LogThread;
use crate::protocol::{Reply, ReplyBody, Started, TASKS_MAX};
use crate::session::Session;
use crate::spare::Spare;
use crate::spawn::Inherited;
use crate::task::{Phase, Task};
use crate::{mounts, record, resident, socket, sys};

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 128;
/// How long a connection may take for its greeting.
const GREETING_MAX: Duration = Duration::from_secs(5);
/// Without tasks and without an agent for this long the supervisor ends.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long a shutdown may take to end all tasks.
const CLOSING_MAX: Duration = Duration::from_secs(10);
/// First and longest pause between attempts to clear what a failed start or a process that does not die has left.
const GRAVE_PAUSE: Duration = Duration::from_millis(10);
const GRAVE_PAUSE_MAX: Duration = Duration::from_secs(1);
/// After this time the memory that only the start has used is given back.
const STARTED_AFTER: Duration = Duration::from_secs(10);
/// One buffer for all reading.
const BUFFER_BYTES: usize = 64 << 10;
/// Most lines the supervisor writes to its own log in its life.
const LOG_LINES_MAX: u32 = 2000;

/// What an epoll event is about, in the low bits of its number; the rest is a task's or connection's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Listener = 0,
    Signals = 1,
    Connection = 2,
    Pidfd = 3,
    Logs = 4,
    Report = 5,
    Session = 6,
}

/// A cgroup that is to go and still has something in it.
#[derive(Debug)]
struct Grave {
    name: String,
    cgroup: TaskCgroup,
    next_try: Instant,
    pause: Duration,
}

impl Grave {
    fn new(name: String, cgroup: TaskCgroup, next_try: Instant) -> Grave {
        Grave { name, cgroup, next_try, pause: GRAVE_PAUSE }
    }
}

/// A task runs, and who asked for it is not told so before its record is stored, or for long enough not.
#[derive(Debug)]
struct Answer {
    /// Connection and request that wait for it.
    asked_by: (u64, u64),
    started: Started,
    due: Instant,
}

/// The supervisor is ending.
#[derive(Debug)]
struct Closing {
    /// Connections and requests that wait for it.
    asked_by: Vec<(u64, u64)>,
    /// No agent is left to remove its own directory.
    removes_dir: bool,
    deadline: Instant,
    next_round: Instant,
}

/// Everything the supervisor holds.
struct Daemon {
    options: RunOptions,
    epoll: OwnedFd,
    listener: OwnedFd,
    signals: OwnedFd,
    cgroups: NodeCgroups,
    /// Limits that can't be had here, and why.
    unenforced: BTreeMap<String, String>,
    inherited: Inherited,
    tasks_max: usize,
    containers_dir: PathBuf,
    records_dir: PathBuf,
    boot_id: String,
    logs: LogThread,
    tasks: BTreeMap<u64, Task>,
    by_id: BTreeMap<String, u64>,
    by_pid: BTreeMap<i32, u64>,
    /// Whose child each process is, where tasks have no cgroups.
    relatives: Relatives,
    /// Tasks in phase Starting and Ending: those with deadlines.
    starting: BTreeSet<u64>,
    ending: BTreeSet<u64>,
    /// By task.
    answers: BTreeMap<u64, Answer>,
    /// Cgroups that belong to no task, and since when they are known.
    strays: BTreeMap<String, Instant>,
    graves: Vec<Grave>,
    /// Commands inside tasks, by their connection.
    sessions: BTreeMap<u64, Session>,
    /// A process kept ready, where that makes starts faster.
    spare: Option<Spare>,
    wants_spare: bool,
    spare_at: Instant,
    connections: BTreeMap<u64, Connection>,
    /// When what the start has used is given back; none once it was.
    give_back_at: Option<Instant>,
    /// Since when no connection is there.
    alone_since: Instant,
    closing: Option<Closing>,
    next_number: u64,
    buffer: Vec<u8>,
    log_lines: u32,
}

pub(crate) use takeover::{resume, run, try_state};

impl Daemon {
    /// Runs until the supervisor has nothing left to do.
    fn work(mut self) -> Result<(), String> {
        loop {
            let now = Instant::now();
            self.step_timers(now);
            if self.is_done(now) {
                self.clean_up();
                return Ok(());
            }
            self.wait_and_handle(now)?;
        }
    }

    /// A supervisor without tasks, in a process that was prepared for it.
    fn new(mut options: RunOptions, listener: OwnedFd, inherited: Inherited) -> Result<Daemon, String> {
        let text = |what: &'static str| move |err: rustix::io::Errno| format!("{what}: {err}");
        rustix::io::ioctl_fionbio(&listener, true).map_err(text("prepare the socket"))?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(text("become subreaper"))?;
        let _ = rustix::thread::set_name(c"drover-tasks");
        let _ = std::env::set_current_dir("/");
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));

        let remembered = options.socket.with_extension("home");
        let home = options.cgroup_home.take();
        let cgroups = NodeCgroups::detect(&options.cgroup_parent, &options.node_id, home, &remembered);
        options.cgroup_home = Some(cgroups.home());
        if let Some(pid) = cgroups.other_supervisor() {
            return Err(format!("process {pid} is the supervisor of node {} already", options.node_id));
        }
        cgroups.join_own();
        let unenforced = cgroups.unenforced();
        let signals = sys::signal_fd().map_err(|err| format!("take signals: {err}"))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(text("create epoll"))?;
        let containers_dir = options.socket.with_file_name("containers");
        let _ = std::fs::remove_dir_all(&containers_dir);
        let records_dir = options.socket.with_extension("tasks");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&records_dir)
            .map_err(|err| format!("create {}: {err}", records_dir.display()))?;
        let tasks_max = tasks_max();
        let logs = LogThread::start(&records_dir, tasks_max.saturating_mul(2))?;
        let wants_spare = cgroups.wants_spare();
        let now = Instant::now();
        let daemon = Daemon {
            inherited,
            tasks_max,
            containers_dir,
            records_dir,
            boot_id: record::boot_id(),
            logs,
            options,
            epoll,
            listener,
            signals,
            cgroups,
            unenforced,
            tasks: BTreeMap::new(),
            by_id: BTreeMap::new(),
            by_pid: BTreeMap::new(),
            relatives: Relatives::default(),
            starting: BTreeSet::new(),
            ending: BTreeSet::new(),
            answers: BTreeMap::new(),
            strays: BTreeMap::new(),
            graves: Vec::new(),
            sessions: BTreeMap::new(),
            spare: None,
            wants_spare,
            spare_at: now,
            connections: BTreeMap::new(),
            give_back_at: Some(now + STARTED_AFTER),
            alone_since: now,
            closing: None,
            next_number: 1,
            buffer: vec![0; BUFFER_BYTES],
            log_lines: 0,
        };
        let listener = daemon.listener.as_fd();
        watch(&daemon.epoll, listener, Source::Listener, 0, epoll::EventFlags::IN).map_err(text("watch the socket"))?;
        let signals = daemon.signals.as_fd();
        watch(&daemon.epoll, signals, Source::Signals, 0, epoll::EventFlags::IN).map_err(text("watch signals"))?;
        let logs = daemon.logs.fd();
        watch(&daemon.epoll, logs, Source::Logs, 0, epoll::EventFlags::IN).map_err(text("watch the logs"))?;
        Ok(daemon)
    }

    /// What is left of tasks that nobody knows ends before new ones of the same name may start. The only place that waits.
    fn clear_graves_at_start(&mut self) {
        let now = Instant::now();
        for cgroup in self.cgroups.leftovers() {
            let name = cgroup.name();
            if !self.tasks.values().any(|task| task.name == name && task.cgroup.is_some()) {
                // By its name: a task that is started again must not be put into the cgroup that is being ended.
                self.graves.push(Grave::new(name, cgroup, now));
            }
        }
        let until = Instant::now() + Duration::from_secs(3);
        while !self.graves.is_empty() && Instant::now() < until {
            self.try_graves(Instant::now(), true);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn wait_and_handle(&mut self, now: Instant) -> Result<(), String> {
        let timeout = self.next_deadline(now).map(|at| at.saturating_duration_since(now));
        // Rounded up: waking a little early would turn into a busy wait.
        let timeout = timeout.map(|pause| Timespec {
            tv_sec: i64::try_from(pause.as_secs()).unwrap_or(i64::MAX).min(86_400),
            tv_nsec: i64::from(pause.subsec_nanos()),
        });
        let mut events = Vec::with_capacity(64);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(format!("wait for events: {err}")),
        }
        for event in events {
            let (token, flags) = (event.data.u64(), event.flags);
            let number = token >> 3;
            match token & 7 {
                t if t == Source::Listener as u64 => self.accept(),
                t if t == Source::Signals as u64 => self.take_signals(),
                t if t == Source::Connection as u64 => self.serve(number, flags),
                t if t == Source::Pidfd as u64 => self.adopted_ended(number),
                t if t == Source::Logs as u64 => self.take_back(),
                t if t == Source::Session as u64 => self.session_reported(number),
                _ => self.settle_start(number, false),
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        while let Ok(socket) = rustix::net::accept_with(&self.listener, rustix::net::SocketFlags::CLOEXEC) {
            if self.connections.len() >= CONNECTIONS_MAX || !socket::is_ours(&socket) {
                continue;
            }
            let Ok(connection) = Connection::new(UnixStream::from(socket), Instant::now()) else {
                continue;
            };
            let number = self.next_number();
            if watch(&self.epoll, connection.fd(), Source::Connection, number, epoll::EventFlags::IN).is_ok() {
                self.connections.insert(number, connection);
            }
        }
    }

    fn take_signals(&mut self) {
        let mut records = [0; 2048];
        let mut ends = false;
        while let Ok(length) = rustix::io::read(&self.signals, &mut records) {
            for signal in sys::signals_in(records.get(..length).unwrap_or(&[])) {
                ends |= signal == libc::SIGTERM as u32 || signal == libc::SIGINT as u32;
            }
        }
        self.reap_all();
        if ends {
            self.close(None, true);
        }
    }

    /// Starts the end of the supervisor: all tasks first.
    fn close(&mut self, asked_by: Option<(u64, u64)>, removes_dir: bool) {
        if let Some(closing) = &mut self.closing {
            closing.asked_by.extend(asked_by);
            return;
        }
        self.drop_spare();
        self.end_sessions();
        let now = Instant::now();
        self.closing = Some(Closing {
            asked_by: asked_by.into_iter().collect(),
            removes_dir,
            deadline: now + CLOSING_MAX,
            next_round: now,
        });
    }

    fn is_done(&self, now: Instant) -> bool {
        self.closing.as_ref().is_some_and(|closing| {
            let is_empty = self.graves.is_empty() && !self.tasks.values().any(Task::is_alive);
            is_empty || now >= closing.deadline
        })
    }

    /// The next moment at which something is to be done without an event.
    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let starting = self.starting.iter().filter_map(|number| match &self.tasks.get(number)?.phase {
            Phase::Starting(starting) => Some(starting.deadline),
            _ => None,
        });
        let ending = self.ending.iter().filter_map(|number| match &self.tasks.get(number)?.phase {
            Phase::Ending(ending) => Some(ending.next_try),
            _ => None,
        });
        let greetings =
            self.connections.values().filter(|connection| connection.purpose.is_none()).map(|c| c.since + GREETING_MAX);
        let closing = self.closing.iter().map(|closing| closing.next_round.min(closing.deadline));
        starting
            .chain(ending)
            .chain(greetings)
            .chain(closing)
            .chain(self.graves.iter().map(|grave| grave.next_try))
            .chain(self.answers.values().map(|answer| answer.due))
            .chain(self.alone_deadline())
            .chain(self.spare_deadline())
            .chain(self.give_back_at)
            .min()
            .map(|at| at.max(now))
    }

    /// When a spare may be forked; a start under way must be over first.
    fn spare_deadline(&self) -> Option<Instant> {
        let is_due = self.wants_spare && self.spare.is_none() && self.starting.is_empty() && self.closing.is_none();
        is_due.then_some(self.spare_at)
    }

    /// When being alone ends the supervisor.
    fn alone_deadline(&self) -> Option<Instant> {
        if !self.connections.is_empty() || self.closing.is_some() {
            return None;
        }
        let idle = self.tasks.is_empty().then_some(IDLE_MAX);
        let pause = match (self.options.linger, idle) {
            (Some(linger), Some(idle)) => Some(linger.min(idle)),
            (linger, idle) => linger.or(idle),
        };
        pause.map(|pause| self.alone_since + pause)
    }

    fn step_timers(&mut self, now: Instant) {
        for number in self.starting.clone() {
            let is_late =
                matches!(self.tasks.get(&number), Some(Task { phase: Phase::Starting(s), .. }) if s.deadline <= now);
            if is_late {
                self.start_failed(number, "the task did not start in time");
            }
        }
        for number in self.ending.clone() {
            self.step_ending(number, now);
        }
        for number in self.answers.keys().copied().collect::<Vec<_>>() {
            if self.answers.get(&number).is_some_and(|answer| answer.due <= now) {
                self.answer_start(number);
            }
        }
        self.try_graves(now, false);
        self.step_spare(now);
        if self.give_back_at.take_if(|at| *at <= now).is_some() {
            resident::give_back();
        }
        let silent: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.purpose.is_none() && connection.since + GREETING_MAX <= now)
            .map(|(number, _)| *number)
            .collect();
        for number in silent {
            self.drop_connection(number);
        }
        if self.alone_deadline().is_some_and(|at| at <= now) {
            let removes_dir = self.options.linger.is_some();
            self.close(None, removes_dir);
        }
        if let Some(closing) = &mut self.closing
            && closing.next_round <= now
        {
            closing.next_round = now + Duration::from_millis(20);
            for task in self.tasks.values().filter(|task| task.is_alive()) {
                task.kill_round();
            }
        }
    }

    /// Ends and removes what is due, or all of it.
    fn try_graves(&mut self, now: Instant, all: bool) {
        self.graves.retain_mut(|grave| {
            if grave.next_try > now && !all {
                return true;
            }
            grave.next_try = now + grave.pause;
            // One that the kernel does not let go of may stay for as long as a disk is away.
            grave.pause = (grave.pause * 2).min(GRAVE_PAUSE_MAX);
            if !grave.cgroup.is_empty() {
                grave.cgroup.kill_round();
            }
            !grave.cgroup.remove()
        });
    }

    /// Leaves nothing behind, then tells who asked.
    fn clean_up(&mut self) {
        let _ = std::fs::remove_dir_all(&self.containers_dir);
        let _ = std::fs::remove_dir_all(&self.records_dir);
        // The name after the directories, which the next one makes anew: whoever comes now starts a supervisor of its own.
        let _ = std::fs::remove_file(&self.options.socket);
        // A child that was just killed may need a moment.
        let until = Instant::now() + Duration::from_secs(1);
        while !self.cgroups.leave() && Instant::now() < until {
            self.reap_all();
            std::thread::sleep(Duration::from_millis(1));
        }
        let Some(closing) = self.closing.take() else { return };
        if closing.removes_dir && !self.options.at_end.is_empty() {
            let mut program = std::process::Command::new("/proc/self/exe");
            let run = program.args(&self.options.at_end).stdin(std::process::Stdio::null()).status();
            if !run.as_ref().is_ok_and(std::process::ExitStatus::success) {
                self.log(&format!("what was to be done at the end: {run:?}"));
            }
        }
        if closing.removes_dir
            && let Some(dir) = self.options.remove_dir.clone()
            && let Err(reason) = mounts::remove_dir_and_mounts(&dir)
        {
            self.log(&reason);
        }
        for (connection, id) in closing.asked_by {
            if let Some(connection) = self.connections.get_mut(&connection) {
                connection.send(&Reply { id, body: Ok(ReplyBody::Done) });
            }
        }
    }

    fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// One line for the supervisor's own log, which the agent chose as its standard error.
    fn log(&mut self, line: &str) {
        self.log_lines = self.log_lines.saturating_add(1);
        if self.log_lines <= LOG_LINES_MAX {
            // Not eprintln, which panics when the disk is full.
            let _ = writeln!(std::io::stderr(), "supervisor: {line}");
        }
    }
}

fn watch(
    epoll: &OwnedFd,
    fd: impl AsFd,
    source: Source,
    number: u64,
    flags: epoll::EventFlags,
) -> Result<(), rustix::io::Errno> {
    epoll::add(epoll, fd, epoll::EventData::new_u64(number << 3 | source as u64), flags)
}

/// Most tasks that the limit of open files allows: without descriptors left, the loop could not even accept its agent.
fn tasks_max() -> usize {
    /// Two pipes, two log files, two directories.
    const FILES_PER_TASK: u64 = 6;
    const FILES_KEPT: u64 = 100;
    let files = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let tasks = files.saturating_sub(FILES_KEPT) / FILES_PER_TASK;
    usize::try_from(tasks).unwrap_or(usize::MAX).clamp(1, TASKS_MAX)
}

/// Makes room for many pipes and keeps the kernel from choosing the supervisor under want of memory; tasks get the old values back.
fn raise_own_limits(soft: Option<u64>) -> Inherited {
    let mut open_files = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: open_files.maximum, maximum: open_files.maximum };
    // The agent may have raised its own already.
    open_files.current = soft.or(open_files.current);
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    let score = std::fs::read_to_string("/proc/self/oom_score_adj").ok();
    // That an agent is spared (a unit's OOMScoreAdjust=) is no reason to spare what it runs.
    let oom_score_adj = score.and_then(|score| score.trim().parse().ok()).unwrap_or(0).max(0);
    // Refused without root.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    Inherited { open_files, oom_score_adj }
}
