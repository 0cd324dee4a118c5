//! The life of tasks: starting, reaping, ending.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::epoll::{self, EventFlags};

use super::{Answer, Daemon, Grave, Source, watch};
use crate::cgroup::{DEVICES, TaskCgroup, escape};
use crate::cgroup_files::errno_text;
use crate::container::{ContainerPlan, remove_files, start_contained};
use crate::log_file::LogFile;
use crate::log_thread::{Done, Job, LogPipe};
use crate::protocol::{Refusal, Reply, ReplyBody, Started};
use crate::record::{RecordFile, RecordedLog};
use crate::report::{Outcome, Report, log_pipe};
use crate::spare::{Spare, order_bytes};
use crate::spawn::{Entry, Stdio, start_plain};
use crate::spec::{Isolation, LogSpec, Resources, TaskSpec};
use crate::task::{Phase, Starting, Task, TaskLog, start_ticks};
use crate::users::User;
use crate::{descendants, sys, users};

/// How long a start may take, that of a container on a busy host included.
const START_MAX: Duration = Duration::from_secs(30);
/// How long the loop may wait for the remains of a failed start of the same name.
const GRAVE_WAIT_MAX: Duration = Duration::from_millis(50);

/// How long after a start the next spare is forked: in a burst the usual way is fast, and forking would slow it down.
const SPARE_PAUSE: Duration = Duration::from_millis(5);

/// How long the answer to a start waits for the task's record: a disk that stalls must not keep it from being told.
const RECORD_MAX: Duration = Duration::from_millis(100);

/// A process on its way to become a task.
struct Spawned {
    child: i32,
    report: Report,
    cgroup: Option<TaskCgroup>,
    limits_reason: Option<String>,
}

impl Daemon {
    /// Forks a task. The answer to `asked_by` follows when the child has reported.
    pub(super) fn start(&mut self, spec: &TaskSpec, asked_by: (u64, u64)) -> Result<(), Refusal> {
        if self.closing.is_some() {
            return Err(Refusal::ShuttingDown);
        }
        spec.check().map_err(Refusal::Invalid)?;
        if self.by_id.contains_key(&spec.id) {
            return Err(Refusal::TaskExists);
        }
        if self.tasks.len() >= self.tasks_max {
            return Err(Refusal::TooMany("tasks".to_owned()));
        }
        if self.logs.is_overdue() {
            return Err(Refusal::TooMany("logs that wait for a disk which does not answer".to_owned()));
        }
        let name = escape(&spec.id);
        self.wait_for_grave(&name);
        if self.graves.iter().any(|grave| grave.name == name) {
            return Err(Refusal::StartFailed("what an earlier task of this name left is still ending".to_owned()));
        }
        let has_image = matches!(&spec.isolation, Isolation::Container(container) if container.image.is_some());
        // The image's own files name the user of what runs in it: the helper looks there.
        let named = spec.user.as_deref().filter(|_| !has_image);
        let user = named.map(users::lookup).transpose().map_err(|err| Refusal::StartFailed(err.to_string()))?;
        let failed = Refusal::StartFailed;
        let number = self.next_number();
        let (stdout, stdout_log) = open_output(spec.stdout.as_ref(), number << 1).map_err(failed)?;
        let (stderr, stderr_log) = open_output(spec.stderr.as_ref(), number << 1 | 1).map_err(failed)?;
        let stdin = open_null().map_err(failed)?;
        let stdio = Stdio { stdin, stdout, stderr };

        let spawned = match self.start_from_spare(spec, &name, user.as_ref(), &stdio) {
            Some(spawned) => spawned,
            None => self.spawn(spec, &name, user.as_ref(), stdio),
        };
        let Spawned { child, report, cgroup, limits_reason } = spawned.map_err(Refusal::StartFailed)?;
        let _ = watch(&self.epoll, report.fd(), Source::Report, number, EventFlags::IN);
        let logs = [stdout_log, stderr_log].map(|log| {
            log.map(|(log, pipe)| {
                self.logs.ask(Job::Follow(pipe));
                log
            })
        });
        let deadline = Instant::now() + START_MAX;
        let task = Task {
            id: spec.id.clone(),
            name,
            phase: Phase::Starting(Starting { child, report, asked_by, deadline }),
            started: None,
            cgroup,
            limits_reason,
            is_contained: matches!(spec.isolation, Isolation::Container(_)),
            logs,
            log_bytes_dropped: 0,
            pidfd: None,
        };
        self.by_id.insert(task.id.clone(), number);
        self.by_pid.insert(child, number);
        self.tasks.insert(number, task);
        self.starting.insert(number);
        Ok(())
    }

    /// Makes a cgroup and forks a process into it.
    fn spawn(&mut self, spec: &TaskSpec, name: &str, user: Option<&User>, stdio: Stdio) -> Result<Spawned, String> {
        let (mut cgroup, mut limits_reason) = self.cgroups.create(name, &spec.resources);
        let ruled = match (&spec.isolation, &mut cgroup) {
            (Isolation::Container(container), Some(made)) => {
                let is_privileged = container.image.as_deref().is_some_and(|image| image.is_privileged);
                Some((self.cgroups.rule_devices(made, container), is_privileged))
            }
            _ => None,
        };
        let enforces_devices = ruled.as_ref().is_none_or(|(ruled, _)| ruled.is_ok());
        let entry = match cgroup.as_ref().map(TaskCgroup::entry).transpose() {
            Ok(entry) => entry.unwrap_or_default(),
            Err(reason) => {
                cgroup.take().map(|cgroup| cgroup.remove());
                limits_reason = Some(reason);
                Entry::default()
            }
        };
        let forked = match &spec.isolation {
            Isolation::None => start_plain(spec, user, &entry, &stdio, self.inherited),
            Isolation::Container(container) if cgroup.is_some() => {
                let (dir, inherited) = (&*self.containers_dir, self.inherited);
                let pids = cgroup.as_ref().and_then(|cgroup| self.cgroups.lift_pids(cgroup, &spec.resources));
                let plan = ContainerPlan { name, dir, enforces_devices, pids: pids.as_ref(), user, inherited };
                start_contained(spec, container, &plan, &entry, stdio)
            }
            Isolation::Container(_) => {
                Err(format!("isolation needs cgroups: {}", limits_reason.clone().unwrap_or_default()))
            }
        };
        // The next agent that comes is told. That one who may use everything has no rules shows nothing.
        match ruled {
            Some((Err(reason), _)) => drop(self.unenforced.insert(DEVICES.to_owned(), reason)),
            Some((Ok(()), false)) => drop(self.unenforced.remove(DEVICES)),
            Some((Ok(()), true)) | None => {}
        }
        match forked {
            Ok((child, report)) => Ok(Spawned { child, report, cgroup, limits_reason }),
            Err(text) => {
                self.bury(name.to_owned(), cgroup);
                Err(text)
            }
        }
    }

    /// Turns the spare into a plain task. None when there is no spare or it does not fit: then the usual way is taken.
    fn start_from_spare(
        &mut self,
        spec: &TaskSpec,
        name: &str,
        user: Option<&User>,
        stdio: &Stdio,
    ) -> Option<Result<Spawned, String>> {
        // Its cgroup is in no set of cores.
        if spec.isolation != Isolation::None || !spec.resources.cores.is_empty() {
            return None;
        }
        let order = order_bytes(spec, user)?;
        let spare = self.spare.take()?;
        self.spare_at = Instant::now() + SPARE_PAUSE;
        let renamed = self.cgroups.rename(&spare.cgroup, name, &spec.resources);
        match renamed {
            Some((cgroup, limits_reason)) if spare.order(&order, stdio) => {
                Some(Ok(Spawned { child: spare.pid, report: spare.report, cgroup: Some(cgroup), limits_reason }))
            }
            renamed => {
                // Half of it may bear the new name: the task must wait until that is gone.
                let _ = sys::kill(spare.pid, libc::SIGKILL);
                self.bury(String::new(), Some(spare.cgroup));
                self.bury(name.to_owned(), renamed.map(|(cgroup, _)| cgroup));
                self.wants_spare = false;
                self.wait_for_grave(name);
                None
            }
        }
    }

    /// Forks a new spare when none is there and nothing else is under way.
    pub(super) fn step_spare(&mut self, now: Instant) {
        if !self.wants_spare
            || self.spare.is_some()
            || !self.starting.is_empty()
            || self.closing.is_some()
            || now < self.spare_at
        {
            return;
        }
        let name = format!(".spare-{}", self.next_number());
        let (cgroup, reason) = self.cgroups.create(&name, &Resources::default());
        let spare = match (cgroup, reason) {
            (Some(cgroup), None) => Spare::fork(cgroup, self.inherited),
            (_, reason) => Err(reason.unwrap_or_default()),
        };
        match spare {
            Ok(spare) => self.spare = Some(spare),
            // Plain starts work without one, or say why they do not.
            Err(_) => self.wants_spare = false,
        }
    }

    /// Ends the spare; there is no other after it.
    pub(super) fn drop_spare(&mut self) {
        self.wants_spare = false;
        if let Some(spare) = self.spare.take() {
            let _ = sys::kill(spare.pid, libc::SIGKILL);
            self.bury(String::new(), Some(spare.cgroup));
        }
    }

    /// Reads what the forked child has to say.
    pub(super) fn settle_start(&mut self, number: u64, child_has_ended: bool) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        let is_contained = task.is_contained;
        let Phase::Starting(starting) = &mut task.phase else {
            return;
        };
        let child = starting.child;
        match starting.report.poll() {
            Outcome::Pending if !child_has_ended => {}
            Outcome::Closed | Outcome::Pending if !is_contained => self.started(number, child),
            Outcome::Closed | Outcome::Pending => self.start_failed(number, "the container's helper ended early"),
            Outcome::Contained(pid) => self.started(number, pid),
            Outcome::Failed(text) => self.start_failed(number, &text),
        }
    }

    fn started(&mut self, number: u64, pid: i32) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        let started = Started {
            pid,
            start_ticks: start_ticks(pid),
            started_at: SystemTime::now(),
            limits_applied: task.limits_reason.is_none(),
            limits_reason: task.limits_reason.clone(),
        };
        task.started = Some(started.clone());
        let (name, is_contained) = (task.name.clone(), task.is_contained);
        let mut asked_by = None;
        if let Phase::Starting(starting) = std::mem::replace(&mut task.phase, Phase::Running) {
            let _ = epoll::delete(&self.epoll, starting.report.fd());
            self.by_pid.remove(&starting.child);
            asked_by = Some(starting.asked_by);
        }
        self.by_pid.insert(pid, number);
        self.starting.remove(&number);
        self.store_record(number);
        self.tell_keepers(number);
        if is_contained {
            remove_files(&self.containers_dir, &name);
        }
        // What was said to run is known to whoever comes next.
        if let Some(asked_by) = asked_by {
            self.answers.insert(number, Answer { asked_by, started, due: Instant::now() + RECORD_MAX });
        }
    }

    pub(super) fn start_failed(&mut self, number: u64, text: &str) {
        let Some(task) = self.tasks.get(&number) else { return };
        if let Phase::Starting(starting) = &task.phase {
            let (child, (connection, id)) = (starting.child, starting.asked_by);
            let _ = epoll::delete(&self.epoll, starting.report.fd());
            // Ended already, or stuck: then it must not go on.
            if self.by_pid.remove(&child).is_some() {
                let _ = sys::kill(child, libc::SIGKILL);
            }
            self.reply(connection, &Reply { id, body: Err(Refusal::StartFailed(text.to_owned())) });
        }
        self.forget(number);
    }

    /// Reaps everything that has ended: tasks, helpers, and orphans that fell to the subreaper.
    pub(super) fn reap_all(&mut self) {
        while let Some(pid) = sys::peek_exited() {
            if !self.by_pid.contains_key(&pid) {
                // It may be the first process of a container whose helper has reported, unread so far.
                for number in self.starting.clone() {
                    self.settle_start(number, false);
                }
            }
            if let Some(number) = self.by_pid.get(&pid).copied() {
                self.settle_start(number, true);
            }
            if self.spare.as_ref().is_some_and(|spare| spare.pid == pid) {
                // It should not end by itself: no second one is tried.
                self.drop_spare();
            }
            let number = self.by_pid.remove(&pid);
            // While the zombie holds the number, its session can be nobody else's. A cgroup finds more than that.
            if let Some(task) = number.and_then(|number| self.tasks.get(&number))
                && task.cgroup.is_none()
            {
                descendants::kill(pid);
                self.end_sessions_of(&task.id);
            }
            let Some(exit) = sys::reap(pid) else { return };
            if self.session_ended(pid, exit) {
                continue;
            }
            let now = Instant::now();
            match number.and_then(|number| Some((number, self.tasks.get_mut(&number)?))) {
                Some((number, task)) => {
                    task.main_process_ended(Some(exit), SystemTime::now(), now);
                    self.ending.insert(number);
                }
                // An orphan: perhaps the last process of a task that is ending.
                None => {
                    for number in &self.ending {
                        if let Some(Task { phase: Phase::Ending(ending), .. }) = self.tasks.get_mut(number) {
                            ending.next_try = now;
                        }
                    }
                }
            }
        }
    }

    pub(super) fn step_ending(&mut self, number: u64, now: Instant) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        if !matches!(&task.phase, Phase::Ending(ending) if ending.next_try <= now) || !task.try_to_end(now) {
            return;
        }
        if matches!(&task.phase, Phase::Ending(ending) if ending.draining.is_none()) {
            for (log, key) in task.logs.iter().zip([number << 1, number << 1 | 1]) {
                if log.as_ref().is_some_and(|log| log.is_followed) {
                    self.logs.ask(Job::Drain(key));
                }
            }
        }
        if !task.logs_are_done(now) {
            return;
        }
        if let Some(pidfd) = task.pidfd.take() {
            let _ = epoll::delete(&self.epoll, &pidfd);
        }
        let Some(exit) = task.finish() else {
            return;
        };
        let event = task.exited(exit);
        let (name, cgroup) = (task.name.clone(), task.cgroup.take());
        self.ending.remove(&number);
        self.bury(name, cgroup);
        self.store_record(number);
        self.tell_keepers_gone(&event.task_id);
        self.publish(&event);
    }

    /// The main process of a task that an earlier supervisor had started has ended.
    pub(super) fn adopted_ended(&mut self, number: u64) {
        let Some(task) = self.tasks.get_mut(&number) else { return };
        if let Some(pidfd) = &task.pidfd {
            let _ = epoll::delete(&self.epoll, pidfd);
        }
        if matches!(task.phase, Phase::Running) {
            task.kill_what_main_left();
            task.main_process_ended(None, SystemTime::now(), Instant::now());
            if task.cgroup.is_none() {
                let task_id = task.id.clone();
                self.end_sessions_of(&task_id);
            }
            self.ending.insert(number);
        }
    }

    /// Stores what another supervisor would have to know of a task.
    pub(super) fn store_record(&mut self, number: u64) {
        let Some(task) = self.tasks.get(&number) else { return };
        if let Ok(name) = std::ffi::CString::new(task.name.as_str()) {
            let data = Some(task.record(&self.boot_id).encode());
            self.logs.ask(Job::Record(Box::new(RecordFile { number, name, data })));
        }
    }

    /// Says that a task runs, if that was not said so far.
    pub(super) fn answer_start(&mut self, number: u64) {
        if let Some(Answer { asked_by: (connection, id), started, .. }) = self.answers.remove(&number) {
            self.reply(connection, &Reply { id, body: Ok(ReplyBody::Started(started)) });
        }
    }

    /// Takes back what the thread of the logs is done with.
    pub(super) fn take_back(&mut self) {
        while let Some(done) = self.logs.take() {
            let pipe = match done {
                Done::Log(pipe) => pipe,
                Done::Record(record) => {
                    self.answer_start(record.number);
                    continue;
                }
            };
            let number = pipe.key >> 1;
            let Some(task) = self.tasks.get_mut(&number) else { continue };
            let place = usize::from(pipe.key & 1 == 1);
            if let Some(log) = task.logs.get_mut(place).and_then(Option::as_mut) {
                log.is_followed = false;
            }
            let now = Instant::now();
            if let Phase::Ending(ending) = &mut task.phase
                && ending.draining.is_some()
            {
                ending.next_try = now;
                self.step_ending(number, now);
            }
        }
    }

    /// Removes a cgroup, later when it is not empty yet.
    pub(super) fn bury(&mut self, name: String, cgroup: Option<TaskCgroup>) {
        if let Some(cgroup) = cgroup {
            if !cgroup.is_empty() {
                cgroup.kill_round();
            } else if cgroup.remove() {
                return;
            }
            self.graves.push(Grave::new(name, cgroup, Instant::now() + Duration::from_millis(2)));
        }
    }

    /// A child that failed to start may need a moment to be gone; its name is wanted again only when a start is repeated at once.
    fn wait_for_grave(&mut self, name: &str) {
        let until = Instant::now() + GRAVE_WAIT_MAX;
        while self.graves.iter().any(|grave| grave.name == name) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
            self.try_graves(Instant::now(), true);
        }
    }

    /// Drops all that is held of a task.
    pub(super) fn forget(&mut self, number: u64) {
        if let Some(mut task) = self.tasks.remove(&number) {
            for (log, key) in task.logs.iter().zip([number << 1, number << 1 | 1]) {
                if log.as_ref().is_some_and(|log| log.is_followed) {
                    self.logs.ask(Job::Drain(key));
                }
            }
            if let Ok(name) = std::ffi::CString::new(task.name.as_str()) {
                self.logs.ask(Job::Record(Box::new(RecordFile { number, name, data: None })));
            }
            self.tell_keepers_gone(&task.id);
            self.by_id.remove(&task.id);
            self.starting.remove(&number);
            self.ending.remove(&number);
            if task.is_contained {
                remove_files(&self.containers_dir, &task.name);
            }
            let (name, cgroup) = (std::mem::take(&mut task.name), task.cgroup.take());
            self.bury(name, cgroup);
        }
    }
}

fn open_null() -> Result<OwnedFd, String> {
    std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map(OwnedFd::from)
        .map_err(|err| format!("open /dev/null: {}", errno_text(&err)))
}

/// What is kept here of one output, and what the thread of the logs gets.
type Output = (TaskLog, Box<LogPipe>);

/// The writing end that a task gets as its output, and what becomes of it.
fn open_output(log: Option<&LogSpec>, key: u64) -> Result<(OwnedFd, Option<Output>), String> {
    let Some(spec) = log else {
        return Ok((open_null()?, None));
    };
    let (read, write) = log_pipe().map_err(|err| format!("make pipe: {}", errno_text(&err)))?;
    Ok((write, Some(follow(spec, read, key)?)))
}

/// Opens the log in which the bytes of a pipe are to go on.
pub(super) fn follow(spec: &LogSpec, pipe: OwnedFd, key: u64) -> Result<Output, String> {
    let dropped = Arc::default();
    let log = LogFile::open(spec, Arc::clone(&dropped))
        .map_err(|err| format!("open log {}.* in {}: {}", spec.prefix, spec.dir.display(), errno_text(&err)))?;
    let pipe_inode = rustix::fs::fstat(pipe.as_fd()).map(|stat| stat.st_ino).unwrap_or(0);
    let pipe = Arc::new(pipe);
    let recorded = RecordedLog { spec: spec.clone(), pipe_inode };
    let held = TaskLog { recorded, pipe: Arc::clone(&pipe), dropped, is_followed: true };
    Ok((held, Box::new(LogPipe { key, pipe, log })))
}
