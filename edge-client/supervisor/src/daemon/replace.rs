//! Becoming another program, a newer one mostly, without losing a child: what is known goes along in a memfd, descriptors stay
//! open. The other program shows in a trial that it reads the state; if it does not, everything stays as it is.

use std::ffi::CString;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Daemon;
use crate::cgroup_files::errno_text;
use crate::entry::{RunOptions, SUPERVISOR_ARG};
use crate::own_program::OwnProgram;
use crate::protocol::Refusal;
use crate::record::Record;
use crate::sys;
use crate::task::Phase;

/// The form of the state. A program reads this one and the one before.
const STATE_VERSION: u16 = 2;
/// Largest state, in bytes.
const STATE_BYTES_MAX: u64 = 256 << 20;
/// How long the other program may take for its trial.
const TRIAL_MAX: Duration = Duration::from_secs(2);
/// How long the thread of the logs may take for what it is at.
const SETTLE_MAX: Duration = Duration::from_millis(500);
/// What a program says that can go on.
pub(super) const TRIAL_WORD: &str = "drover-supervisor can go on with tasks:";

/// What one program hands to the next. Fields that are added have defaults.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handover {
    pub(super) version: u16,
    pub(super) options: RunOptions,
    pub(super) open_files: (Option<u64>, Option<u64>),
    pub(super) oom_score_adj: i32,
    pub(super) listener: i32,
    pub(super) tasks: Vec<HandedTask>,
}

/// One task in it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HandedTask {
    pub(super) record: Record,
    /// Numbers of descriptors.
    pub(super) logs: [Option<i32>; 2],
}

impl Handover {
    pub(super) fn read(fd: impl AsFd) -> Result<Handover, String> {
        let fd = fd.as_fd().try_clone_to_owned().map_err(|err| format!("take the state: {err}"))?;
        let mut file = std::fs::File::from(fd);
        let mut text = Vec::new();
        // The trial shares the place in the file with whoever has written it.
        file.rewind().map_err(|err| format!("read the state: {err}"))?;
        file.take(STATE_BYTES_MAX).read_to_end(&mut text).map_err(|err| format!("read the state: {err}"))?;
        Handover::parse(&text)
    }

    fn parse(text: &[u8]) -> Result<Handover, String> {
        let handover: Handover = serde_json::from_slice(text).map_err(|err| format!("read the state: {err}"))?;
        let readable = STATE_VERSION.saturating_sub(1).max(1)..=STATE_VERSION;
        match readable.contains(&handover.version) {
            true => Ok(handover),
            false => Err(format!("state has version {}, this program reads {STATE_VERSION}", handover.version)),
        }
    }
}

impl Daemon {
    /// Becomes that program. Comes back only with the reason why not.
    pub(super) fn replace(&mut self, program: &Path) -> Refusal {
        if !self.starting.is_empty()
            || !self.answers.is_empty()
            || self.closing.is_some()
            || self.has_beginning_session()
        {
            return Refusal::TooMany("things going on at once".to_owned());
        }
        match self.try_to_replace(program) {
            Ok(never) => match never {},
            Err(reason) => {
                self.log(&format!("stays as it is: {reason}"));
                Refusal::Failed(reason)
            }
        }
    }

    fn try_to_replace(&mut self, program: &Path) -> Result<std::convert::Infallible, String> {
        let text = |what: &'static str| move |err: std::io::Error| format!("{what}: {}", errno_text(&err));
        let c_program = CString::new(program.to_string_lossy().into_owned()).map_err(|err| err.to_string())?;
        // Ends that have happened are part of the state.
        self.reap_all();
        let state = self.state();
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let memfd =
            rustix::fs::memfd_create("drover-supervisor", flags).map_err(|err| text("make a memfd")(err.into()))?;
        let mut file = std::fs::File::from(memfd);
        let bytes = serde_json::to_vec(&state).map_err(|err| err.to_string())?;
        file.write_all(&bytes).map_err(text("write the state"))?;
        let memfd = OwnedFd::from(file);
        self.trial(program, &memfd)?;
        // The kernel ends the thread of the logs before it executes anything: one that is stuck in a disk would hold up all else.
        if !self.logs.settle(SETTLE_MAX) {
            return Err("logs wait for a disk which does not answer".to_owned());
        }

        // Sessions and the spare would be nobody's; copies are asked for anew by whoever keeps them.
        self.end_sessions();
        self.drop_spare();
        let mut kept = vec![memfd.as_raw_fd(), self.listener.as_raw_fd()];
        let logs = self.tasks.values().flat_map(|task| task.logs.iter().flatten());
        kept.extend(logs.map(|log| log.pipe.as_raw_fd()));
        for fd in &kept {
            sys::set_close_on_exec(fd, false).map_err(text("keep a descriptor"))?;
        }
        let words = ["drover-supervisor", SUPERVISOR_ARG, "resume", &memfd.as_raw_fd().to_string()];
        let argv: Vec<CString> = words.iter().filter_map(|word| CString::new(*word).ok()).collect();
        let own = OwnProgram::of(program);
        let why = match own.as_ref().and_then(OwnProgram::c_path) {
            // A script can't be executed that way: its interpreter would look for a descriptor that is closed by then.
            Some(own) => errno_text(&sys::exec(&own, &argv, &[])),
            None => "no read-only mount of it can be had".to_owned(),
        };
        // Without root nothing runs in containers.
        if rustix::process::geteuid().is_root() {
            let program = program.display();
            self.log(&format!("executes {program} itself, which is not kept from what runs in containers: {why}"));
        }
        let err = sys::exec(&c_program, &argv, &[]);
        for fd in &kept {
            let _ = sys::set_close_on_exec(fd, true);
        }
        self.wants_spare = self.cgroups.wants_spare();
        Err(format!("execute {}: {}", program.display(), errno_text(&err)))
    }

    fn state(&self) -> Handover {
        let tasks = self.tasks.values().filter(|task| !matches!(task.phase, Phase::Starting(_)));
        Handover {
            version: STATE_VERSION,
            options: RunOptions { takes_kept: false, ..self.options.clone() },
            open_files: (self.inherited.open_files.current, self.inherited.open_files.maximum),
            oom_score_adj: self.inherited.oom_score_adj,
            listener: self.listener.as_raw_fd(),
            tasks: tasks
                .map(|task| HandedTask {
                    record: task.record(&self.boot_id),
                    logs: [0, 1].map(|place: usize| {
                        task.logs.get(place).and_then(Option::as_ref).map(|log| log.pipe.as_raw_fd())
                    }),
                })
                .collect(),
        }
    }

    /// Has the other program read a copy of the state.
    fn trial(&self, program: &Path, state: &OwnedFd) -> Result<(), String> {
        let failed = |reason: String| format!("trial of {}: {reason}", program.display());
        let stdin = state.try_clone().map_err(|err| failed(errno_text(&err)))?;
        let mut child = Command::new(program)
            .args([SUPERVISOR_ARG, "try"])
            .env_clear()
            // What it may have started ends with it.
            .process_group(0)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|err| failed(errno_text(&err)))?;
        let until = Instant::now() + TRIAL_MAX;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
                _ => {
                    let _ = i32::try_from(child.id()).map(|pid| sys::kill(-pid, libc::SIGKILL));
                    let _ = child.wait();
                    return Err(failed("it takes too long".to_owned()));
                }
            }
        };
        let mut said = String::new();
        if let Some(stdout) = child.stdout.take() {
            // It has ended, so everything it had to say is there; what it has left behind may hold the pipe for ever.
            let _ = rustix::io::ioctl_fionbio(&stdout, true);
            let _ = stdout.take(1024).read_to_string(&mut said);
        }
        match status.success() && said.starts_with(TRIAL_WORD) {
            true => Ok(()),
            false => Err(failed(format!("it does not read the state ({status})"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the first version has written it. Never to be edited: a later program must read it.
    const FIRST: &str = r#"{"version":1,"options":{"node_id":"n","socket":"/s","linger":null,"remove_dir":null,
        "cgroup_parent":"/drover","takes_kept":false,"open_files":null},"open_files":[1024,4096],"oom_score_adj":0,
        "listener":3,"tasks":[{"record":{"version":1,"boot_id":"b","task_id":"a.t","started":{"pid":7,"start_ticks":9,
        "started_at":{"secs_since_epoch":1,"nanos_since_epoch":2},"limits_applied":true,"limits_reason":null},
        "has_cgroup":true,"is_contained":false,"logs":[{"spec":{"dir":"/d","prefix":"t.stdout","max_files":1,
        "max_file_size_bytes":5},"pipe_inode":77},null],"ended":null,"exit":null,"log_bytes_dropped":0},
        "logs":[8,null]}]}"#;

    #[test]
    fn the_first_form_of_the_state_is_read() {
        let state = Handover::parse(FIRST.as_bytes()).unwrap();
        assert_eq!((state.listener, state.tasks.len()), (3, 1));
        assert_eq!((state.tasks[0].record.task_id.as_str(), state.tasks[0].logs), ("a.t", [Some(8), None]));
        let later = FIRST.replacen("\"version\":1", "\"version\":3", 1);
        assert!(Handover::parse(later.as_bytes()).is_err());
        assert!(Handover::parse(b"{}").is_err());
    }
}
