//! Becoming the supervisor: the first thing in main, before any runtime or thread exists.
//!
//! ```text
//! agent (listens on the socket) --> `__supervisor detach` (new session) --> `__supervisor run`
//!                                    ends at once, so the supervisor belongs to no agent
//! ```
//! The listening socket travels as standard input, so it takes connections from before the supervisor is up.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cgroup_home::Home;
use crate::daemon;
use crate::own_program::OwnProgram;

/// First argument of a process that is to be a supervisor.
pub(crate) const SUPERVISOR_ARG: &str = "__supervisor";

/// What the supervisor is started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunOptions {
    pub(crate) node_id: String,
    pub(crate) socket: PathBuf,
    pub(crate) linger: Option<Duration>,
    pub(crate) remove_dir: Option<PathBuf>,
    /// What the program is run with before that.
    #[serde(default)]
    pub(crate) at_end: Vec<String>,
    pub(crate) cgroup_parent: String,
    /// Below which cgroup they stand, where an earlier program of this process has found that.
    #[serde(default)]
    pub(crate) cgroup_home: Option<Home>,
    /// Standard output is a socket on which the agent hands over what it kept of a dead supervisor.
    #[serde(default)]
    pub(crate) takes_kept: bool,
    /// The soft limit of open files that tasks get, where it is not that of the caller.
    #[serde(default)]
    pub(crate) open_files: Option<u64>,
}

/// Call this first in `main`: when the process was started as a supervisor it becomes one and never returns.
pub fn main_if_supervisor() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == SUPERVISOR_ARG) {
        let code = run_supervisor(args);
        std::process::exit(i32::from(code != ExitCode::SUCCESS));
    }
}

/// Runs as a supervisor with the arguments after `__supervisor`. Must be called while the process has one thread.
pub fn run_supervisor(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["detach", options] => detach(options),
        ["run", options] => serde_json::from_str(options).map_err(|err| err.to_string()).and_then(daemon::run),
        ["try"] => daemon::try_state(),
        ["resume", state] => daemon::resume(state),
        _ => Err("the supervisor is started by the agent, not by hand".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "supervisor: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn detach(options: &str) -> Result<(), String> {
    // Fails only for a leader of a group, whose child is free of it anyway.
    let _ = rustix::process::setsid();
    let own = OwnProgram::of(Path::new("/proc/self/exe"));
    if own.is_none() && rustix::process::geteuid().is_root() {
        let _ = writeln!(std::io::stderr(), "supervisor: its program file can't be kept from what runs in containers");
    }
    Command::new(own.as_ref().map_or_else(|| PathBuf::from("/proc/self/exe"), OwnProgram::path))
        .arg0("drover-supervisor")
        .args([SUPERVISOR_ARG, "run", options])
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .spawn()
        .map(drop)
        .map_err(|err| format!("start the supervisor: {err}"))
}
