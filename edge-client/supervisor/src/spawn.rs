//! Starting a plain task (`raw_exec`): fork, and in the child join the cgroup, take on the user, exec.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit};

use crate::cgroup_files::errno_text;
use crate::report::{Report, Reporter, report_pipe};
use crate::spec::TaskSpec;
use crate::sys::{self, Forked};
use crate::users::User;

/// What a task gets back of the process that started the supervisor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inherited {
    /// Limit of open files before the supervisor raised its own.
    pub(crate) open_files: Rlimit,
    /// Score for the kernel's choice under want of memory.
    pub(crate) oom_score_adj: i32,
}

/// Standard input, output and error of a new process.
#[derive(Debug)]
pub(crate) struct Stdio {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// How a new process gets into its cgroup.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// Files to which it writes `0`.
    pub(crate) join: Vec<File>,
    /// A cgroup v2 directory that it can be born in, which is faster.
    pub(crate) born_in: Option<File>,
}

impl Entry {
    /// Splits the process. In the child that has to join what is returned beside it; nothing when it was born there.
    pub(crate) fn fork(&self) -> (io::Result<Forked>, &[File]) {
        match self.born_in.as_ref().and_then(|dir| sys::fork_into(dir).ok()) {
            Some(born) => (Ok(born), &[]),
            None => (sys::fork(), &self.join),
        }
    }
}

/// Forks a plain task; its success or failure comes through the report.
pub(crate) fn start_plain(
    spec: &TaskSpec,
    user: Option<&User>,
    entry: &Entry,
    stdio: &Stdio,
    inherited: Inherited,
) -> Result<(i32, Report), String> {
    let program = Program::find(spec, user)?;
    let (report, mut reporter) = report_pipe().map_err(|err| format!("make pipe: {}", errno_text(&err)))?;
    let (forked, join) = entry.fork();
    match forked.map_err(|err| format!("fork/exec {}: {}", program.path, errno_text(&err)))? {
        Forked::Parent(pid) => Ok((pid, report)),
        Forked::Child => {
            sys::reset_signals();
            if let Err(err) = enter(join) {
                fail(&mut reporter, &format!("fork/exec {}: {}", program.path, errno_text(&err)));
            }
            program.become_it(spec, user, stdio, inherited, &Rights::default(), &mut reporter)
        }
    }
}

/// In a child: a session of its own, and the cgroup.
pub(crate) fn enter(join: &[File]) -> io::Result<()> {
    rustix::process::setsid()?;
    join_all(join)
}

/// In a child, which has one thread: the cgroup.
pub(crate) fn join_all(join: &[File]) -> io::Result<()> {
    join.iter().try_for_each(|mut file| io::Write::write_all(&mut file, b"0"))
}

/// In a child: the last words.
pub(crate) fn fail(reporter: &mut Reporter, text: &str) -> ! {
    reporter.failed(text);
    sys::exit_now(127)
}

/// What else a process has, or has not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rights {
    /// Its standard input is the terminal of its session.
    pub(crate) is_terminal: bool,
    /// The only capabilities that it may have; none leaves them as they are.
    pub(crate) capabilities: Option<u64>,
    /// As in a container of an image: only root has them from the start, and programs may give them.
    pub(crate) has_image: bool,
}

/// What is to be executed, in the kernel's form.
pub(crate) struct Program {
    path: String,
    c_path: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// Finds the file and prepares arguments and environment.
    pub(crate) fn find(spec: &TaskSpec, user: Option<&User>) -> Result<Program, String> {
        let path = find_file(spec)?.to_string_lossy().into_owned();
        let to_c = |text: &str| CString::new(text).map_err(|_| "an argument contains a NUL byte".to_owned());
        let env = environment(&spec.env, user);
        Ok(Program {
            c_path: to_c(&path)?,
            argv: spec.argv.iter().map(|arg| to_c(arg)).collect::<Result<_, _>>()?,
            env: env.iter().map(|(key, value)| to_c(&format!("{key}={value}"))).collect::<Result<_, _>>()?,
            path,
        })
    }

    /// In a child that is in its session and cgroup: takes on everything else of the task, then executes.
    pub(crate) fn become_it(
        &self,
        spec: &TaskSpec,
        user: Option<&User>,
        stdio: &Stdio,
        inherited: Inherited,
        rights: &Rights,
        reporter: &mut Reporter,
    ) -> ! {
        let err = match prepare(spec, user, stdio, inherited, rights) {
            Ok(()) => sys::exec(&self.c_path, &self.argv, &self.env),
            Err(err) => err,
        };
        fail(reporter, &format!("fork/exec {}: {}", self.path, errno_text(&err)))
    }
}

fn prepare(
    spec: &TaskSpec,
    user: Option<&User>,
    stdio: &Stdio,
    inherited: Inherited,
    rights: &Rights,
) -> io::Result<()> {
    // Refused to a plain user who wants less than it has: then it stays as it is.
    let score = spec.oom_score_adj.unwrap_or(inherited.oom_score_adj);
    let _ = std::fs::write("/proc/self/oom_score_adj", score.to_string());
    let _ = rustix::process::setrlimit(Resource::Nofile, inherited.open_files);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if let Some(path) = &spec.network_namespace {
        sys::join_namespace(&File::open(path)?, libc::CLONE_NEWNET)?;
    }
    rustix::stdio::dup2_stdin(&stdio.stdin)?;
    rustix::stdio::dup2_stdout(&stdio.stdout)?;
    rustix::stdio::dup2_stderr(&stdio.stderr)?;
    if rights.is_terminal {
        sys::take_terminal()?;
    }
    if let Some(mask) = rights.capabilities {
        sys::limit_capabilities(mask, rights.has_image);
    }
    if let Some(user) = user {
        sys::set_user(user.uid, user.gid, &user.groups)?;
    }
    if let Some(mask) = rights.capabilities {
        let is_root = user.is_none_or(|user| user.uid == 0);
        sys::hold_capabilities(mask, !rights.has_image, is_root || !rights.has_image)?;
    }
    std::env::set_current_dir(&spec.cwd)?;
    if rights.capabilities.is_some() {
        refuse_outside()?;
    }
    Ok(())
}

/// This process still has the supervisor's descriptors: by `/proc/self/fd` an image's working directory could be one of the
/// host's directories. The kernel has no path from the container's root to such a one.
fn refuse_outside() -> io::Result<()> {
    match rustix::process::getcwd(Vec::new()) {
        Ok(cwd) if cwd.as_bytes().starts_with(b"/") => Ok(()),
        _ => Err(io::Error::other("its working directory leads out of the container")),
    }
}

/// The task's environment with what a login would add.
pub(crate) fn environment(env: &BTreeMap<String, String>, user: Option<&User>) -> BTreeMap<String, String> {
    let mut env = env.clone();
    if let Some(user) = user {
        let name = user.name.clone().unwrap_or_else(|| user.uid.to_string());
        env.entry("HOME".to_owned()).or_insert_with(|| user.home.clone().unwrap_or_else(|| "/".to_owned()));
        env.entry("USER".to_owned()).or_insert_with(|| name.clone());
        env.entry("LOGNAME".to_owned()).or_insert(name);
    }
    env
}

/// The file to execute: as given when it has a slash, else the first on the task's `PATH`.
fn find_file(spec: &TaskSpec) -> Result<PathBuf, String> {
    let command = spec.argv.first().map(String::as_str).unwrap_or_default();
    if command.contains('/') {
        return Ok(PathBuf::from(command));
    }
    let path =
        spec.env.get("PATH").map_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", String::as_str);
    path.split(':')
        .filter(|dir| dir.starts_with('/'))
        .map(|dir| Path::new(dir).join(command))
        .find(|file| file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0))
        .ok_or_else(|| format!("exec: {command:?}: executable file not found in $PATH"))
}
