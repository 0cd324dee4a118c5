//! Beginning: with nothing, with the tasks of a supervisor that died, or with those of the program that this process was before.
//!
//! ```text
//! died alone:          copies that the agent kept (record, pidfd, log pipes)
//! died with the agent: records beside the socket; pipes are found among the descriptors of the tasks' processes
//! replaced itself:     state in a memfd, everything else simply stays open
//! ```
//! A cgroup of this node that none of these names is ended.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use rustix::event::epoll::EventFlags;
use rustix::fs::{Mode, OFlags};
use rustix::process::Rlimit;

use super::replace::{Handover, TRIAL_WORD};
use super::tasks::follow;
use super::{Daemon, Source, raise_own_limits, watch};
use crate::cgroup::{TaskCgroup, escape};
use crate::entry::RunOptions;
use crate::keeper::{KeptTask, receive_all};
use crate::log_thread::Job;
use crate::record::{Record, RecordedLog, read_all};
use crate::spawn::Inherited;
use crate::sys;
use crate::task::{Phase, Task, hold};

/// Runs until the supervisor has nothing left to do.
pub(crate) fn run(options: RunOptions) -> Result<(), String> {
    let stdin = std::io::stdin();
    let listener = stdin.as_fd().try_clone_to_owned().map_err(|err| format!("take the socket: {err}"))?;
    let stdout = std::io::stdout();
    let kept = stdout.as_fd().try_clone_to_owned().map_err(|err| format!("take what is handed over: {err}"))?;
    let null = null()?;
    rustix::stdio::dup2_stdin(&null).map_err(|err| format!("replace standard input: {err}"))?;
    rustix::stdio::dup2_stdout(&null).map_err(|err| format!("replace standard output: {err}"))?;
    sys::close_on_exec_from(3);
    // Before the limit of open files could be the one that stops it.
    let inherited = raise_own_limits(options.open_files);
    let kept = if options.takes_kept { receive_all(&UnixStream::from(kept)) } else { BTreeMap::new() };
    let mut daemon = Daemon::new(options, listener, inherited)?;
    let mut found: BTreeMap<String, (Record, [Option<OwnedFd>; 3])> = BTreeMap::new();
    for record in read_all(&daemon.records_dir) {
        found.insert(record.task_id.clone(), (record, [None, None, None]));
    }
    for (task_id, KeptTask { record, fds }) in kept {
        let Some(record) = Record::decode(&record).filter(|record| record.boot_id == daemon.boot_id) else { continue };
        match found.get_mut(&task_id) {
            // What is on disk may know of the end already.
            Some(known) if known.0.started == record.started => known.1 = fds,
            _ => drop(found.insert(task_id, (record, fds))),
        }
    }
    if !found.is_empty() {
        daemon.log(&format!("takes over {} tasks", found.len()));
    }
    for (record, fds) in found.into_values() {
        daemon.take_up(record, fds);
    }
    daemon.clear_graves_at_start();
    daemon.work()
}

/// Goes on in a program that has taken the place of another one, with the state under that descriptor.
pub(crate) fn resume(state: &str) -> Result<(), String> {
    let fd = state.parse().ok().and_then(sys::inherited).ok_or("no state to go on with")?;
    let handover = Handover::read(&fd)?;
    drop(fd);
    let listener = sys::inherited(handover.listener).ok_or("no socket to go on with")?;
    let taken: Vec<_> = handover
        .tasks
        .into_iter()
        .map(|task| {
            let [stdout, stderr] = task.logs.map(|fd| fd.and_then(sys::inherited));
            (task.record, [None, stdout, stderr])
        })
        .collect();
    // Nothing else is to reach a task.
    sys::close_on_exec_from(3);
    let limit = |limits: (Option<u64>, Option<u64>)| Rlimit { current: limits.0, maximum: limits.1 };
    let inherited = Inherited { open_files: limit(handover.open_files), oom_score_adj: handover.oom_score_adj };
    let mut daemon = Daemon::new(handover.options, listener, inherited)?;
    daemon.log(&format!("goes on as {} with {} tasks", env!("CARGO_PKG_VERSION"), taken.len()));
    for (record, fds) in taken {
        daemon.take_up(record, fds);
    }
    // Whoever has ended meanwhile was told to the program before.
    daemon.reap_all();
    daemon.clear_graves_at_start();
    daemon.work()
}

/// Says whether this program could go on with the state on its standard input.
pub(crate) fn try_state() -> Result<(), String> {
    let handover = Handover::read(std::io::stdin())?;
    writeln!(std::io::stdout(), "{TRIAL_WORD} {}", handover.tasks.len()).map_err(|err| err.to_string())
}

fn null() -> Result<OwnedFd, String> {
    let file = std::fs::File::options().read(true).write(true).open("/dev/null");
    file.map(OwnedFd::from).map_err(|err| format!("open /dev/null: {err}"))
}

impl Daemon {
    /// Goes on with one task: `fds` are its pidfd, standard output and standard error, as far as there are copies.
    fn take_up(&mut self, record: Record, fds: [Option<OwnedFd>; 3]) {
        let (now, name) = (Instant::now(), escape(&record.task_id));
        if self.by_id.contains_key(&record.task_id) {
            return;
        }
        let [pidfd, stdout, stderr] = fds;
        let number = self.next_number();
        let has_ended = record.exit.is_some();
        let cgroup = (record.has_cgroup && !has_ended).then(|| self.cgroups.task(&name)).flatten();
        let limits_reason = record.started.as_ref().and_then(|started| started.limits_reason.clone());
        let mut task = Task {
            id: record.task_id,
            name,
            phase: Phase::Running,
            started: record.started,
            cgroup,
            limits_reason,
            is_contained: record.is_contained,
            logs: [None, None],
            log_bytes_dropped: record.log_bytes_dropped,
            pidfd: None,
        };
        let pid = task.pid().unwrap_or(0);
        let is_child = pid > 0 && sys::is_child(pid);
        match (record.exit, record.ended) {
            (Some(exit), _) => task.phase = Phase::Exited(exit),
            (None, Some((exit, at))) => task.main_process_ended(Some(exit), at, now),
            (None, None) if is_child => drop(self.by_pid.insert(pid, number)),
            (None, None) => match task.started.as_ref().and_then(hold) {
                Some(held) => {
                    let _ = watch(&self.epoll, &held, Source::Pidfd, number, EventFlags::IN);
                    task.pidfd = Some(held);
                }
                None => {
                    task.kill_what_main_left();
                    task.pidfd = pidfd;
                    task.main_process_ended(None, SystemTime::now(), now);
                }
            },
        }
        if !has_ended {
            for (place, (recorded, pipe)) in record.logs.into_iter().zip([stdout, stderr]).enumerate() {
                let Some(recorded) = recorded else { continue };
                let pipe = pipe.or_else(|| find_pipe(&processes(task.cgroup.as_ref(), pid), &recorded));
                let key = number << 1 | place as u64;
                match pipe.ok_or_else(|| "nobody has its pipe".to_owned()).and_then(|pipe| {
                    let _ = rustix::io::ioctl_fionbio(&pipe, true);
                    follow(&recorded.spec, pipe, key)
                }) {
                    Ok((held, pipe)) => {
                        self.logs.ask(Job::Follow(pipe));
                        if let Some(slot) = task.logs.get_mut(place) {
                            *slot = Some(held);
                        }
                    }
                    // One that has redirected its output has none.
                    Err(reason) => self.log(&format!("log {} of {}: {reason}", recorded.spec.prefix, task.id)),
                }
            }
        }
        if matches!(task.phase, Phase::Ending(_)) {
            self.ending.insert(number);
        }
        self.by_id.insert(task.id.clone(), number);
        self.tasks.insert(number, task);
        self.store_record(number);
    }
}

/// Those that may have a task's output.
fn processes(cgroup: Option<&TaskCgroup>, pid: i32) -> Vec<i32> {
    let mut found = vec![pid];
    found.extend(cgroup.map(TaskCgroup::processes).unwrap_or_default());
    found
}

/// Opens the pipe anew through a process that still has it.
fn find_pipe(pids: &[i32], log: &RecordedLog) -> Option<OwnedFd> {
    let wanted = format!("pipe:[{}]", log.pipe_inode);
    let of_process = |pid: &i32| -> Option<PathBuf> {
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let mut paths = fds.flatten().map(|entry| entry.path());
        paths.find(|path| std::fs::read_link(path).is_ok_and(|target| target.as_os_str() == wanted.as_str()))
    };
    let path = pids.iter().find_map(of_process)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let pipe = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let is_it = rustix::fs::fstat(&pipe).is_ok_and(|stat| stat.st_ino == log.pipe_inode);
    is_it.then_some(pipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_found_by_who_writes_to_it() {
        let (read, write) = crate::report::log_pipe().unwrap();
        let pipe_inode = rustix::fs::fstat(&read).unwrap().st_ino;
        let spec = crate::spec::LogSpec { dir: "/".into(), prefix: "x".into(), max_files: 1, max_file_size_bytes: 0 };
        drop(read);
        // Nobody reads, and yet the writer is not ended.
        rustix::io::write(&write, b"kept").unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let find = |pipe_inode: u64| find_pipe(&[own], &RecordedLog { spec: spec.clone(), pipe_inode });
        let mut buffer = [0; 8];
        assert_eq!(rustix::io::read(find(pipe_inode).unwrap(), &mut buffer), Ok(4));
        assert!(find(1).is_none());
    }
}
