//! A command inside a running task: in its cgroup and, where it has any, its namespaces and its root, with its rights.
//!
//! One connection is one session: it brings the command with its descriptors, is told how it goes, and ends it when it closes.

use std::fs::File;
use std::os::fd::OwnedFd;

use std::path::Path;

use crate::cgroup::TaskCgroup;
use crate::cgroup_files::errno_text;
use crate::image_root;
use crate::protocol::SessionSpec;
use crate::report::{Report, Reporter, report_pipe};
use crate::spawn::{Entry, Inherited, Program, Stdio, enter, fail};
use crate::spec::{Isolation, Resources, TaskSpec};
use crate::sys::{self, Forked};
use crate::users::{self, User};

/// The namespaces that a task may have of its own, in the order in which they are joined.
const NAMESPACES: [(&str, libc::c_int); 5] = [
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("net", libc::CLONE_NEWNET),
    ("pid", libc::CLONE_NEWPID),
    ("mnt", libc::CLONE_NEWNS),
];

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    /// The forked child: the command itself, or the helper that forks it.
    pub(crate) child: i32,
    /// None when it has started.
    pub(crate) report: Option<Report>,
    pub(crate) is_contained: bool,
    /// The task that it runs in.
    pub(crate) task_id: String,
    /// Whoever asked for it is gone: it ends as soon as its process is known.
    pub(crate) is_left: bool,
}

/// The inside of a contained task.
struct Inside {
    namespaces: Vec<(File, libc::c_int)>,
    capabilities: u64,
}

impl Inside {
    fn of(pid: i32) -> Result<Inside, String> {
        let open = |(name, kind): (&str, libc::c_int)| {
            let path = format!("/proc/{pid}/ns/{name}");
            File::open(&path).map(|file| (file, kind)).map_err(|err| format!("open {path}: {}", errno_text(&err)))
        };
        let namespaces = NAMESPACES.into_iter().map(open).collect::<Result<_, _>>()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let bounds = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
        // Without a word none: never more than the task has.
        let capabilities = bounds.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        Ok(Inside { namespaces, capabilities })
    }

    fn join(&self) -> std::io::Result<()> {
        self.namespaces.iter().try_for_each(|(file, kind)| sys::join_namespace(file, *kind))
    }
}

/// The network of a plain task, where it is not this process's own.
fn other_network(pid: i32) -> Option<std::path::PathBuf> {
    let path = std::path::PathBuf::from(format!("/proc/{pid}/ns/net"));
    let (its, own) = (std::fs::read_link(&path).ok()?, std::fs::read_link("/proc/self/ns/net").ok()?);
    (its != own).then_some(path)
}

/// Forks the command of a session. `pid` is the task's main process.
pub(crate) fn begin(
    spec: &SessionSpec,
    pid: i32,
    is_contained: bool,
    cgroup: Option<&TaskCgroup>,
    fds: [OwnedFd; 3],
    inherited: Inherited,
) -> Result<Session, String> {
    let [stdin, stdout, stderr] = fds;
    let stdio = Stdio { stdin, stdout, stderr };
    let user = match &spec.user {
        // Read by the child: a task may have put anything in the place of these files.
        _ if spec.has_image => None,
        user => user.as_deref().map(users::lookup).transpose().map_err(|err| err.to_string())?,
    };
    let entry = cgroup.map(TaskCgroup::session_entry).transpose()?.unwrap_or_default();
    let inside = if is_contained { Some(Inside::of(pid)?) } else { None };
    let task = TaskSpec {
        id: spec.task_id.clone(),
        argv: spec.argv.clone(),
        env: spec.env.clone(),
        cwd: spec.cwd.clone(),
        user: spec.user.clone(),
        stdout: None,
        stderr: None,
        resources: Resources::default(),
        oom_score_adj: None,
        network_namespace: if is_contained { None } else { other_network(pid) },
        isolation: Isolation::None,
    };
    task.check()?;
    let (report, reporter) = report_pipe().map_err(|err| format!("make pipe: {}", errno_text(&err)))?;
    match sys::fork().map_err(|err| format!("fork: {}", errno_text(&err)))? {
        Forked::Parent(child) => {
            Ok(Session { child, report: Some(report), is_contained, task_id: task.id, is_left: false })
        }
        Forked::Child => {
            sys::reset_signals();
            let mut command = SessionCommand {
                task,
                user,
                stdio,
                inherited,
                is_terminal: spec.is_terminal,
                has_image: spec.has_image,
            };
            let mut reporter = reporter;
            if spec.has_image {
                match image_root::user(Path::new(&format!("/proc/{pid}/root")), spec.user.as_deref().unwrap_or(""), &[])
                {
                    Ok(user) => command.user = Some(user),
                    Err(text) => fail(&mut reporter, &text),
                }
            }
            match inside {
                None => command.become_it(entry, None, reporter),
                Some(inside) => command.fork_inside(entry, &inside, reporter),
            }
        }
    }
}

/// In a child: what it is to become.
struct SessionCommand {
    task: TaskSpec,
    user: Option<User>,
    stdio: Stdio,
    inherited: Inherited,
    is_terminal: bool,
    has_image: bool,
}

impl SessionCommand {
    /// Only a child of who has joined a pid namespace is in it.
    fn fork_inside(self, entry: Entry, inside: &Inside, mut reporter: Reporter) -> ! {
        // Until it executes its program it has the supervisor's descriptors, which are not for the container to look into.
        let hidden = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
        let entered = hidden.map_err(std::io::Error::from).and_then(|()| enter(&entry.join));
        if let Err(err) = entered.and_then(|()| inside.join()) {
            fail(&mut reporter, &format!("enter the task: {}", errno_text(&err)));
        }
        match sys::fork() {
            Err(err) => fail(&mut reporter, &format!("fork: {}", errno_text(&err))),
            Ok(Forked::Parent(pid)) => {
                reporter.contained(pid);
                sys::exit_now(0)
            }
            Ok(Forked::Child) => self.become_it(Entry::default(), Some(inside.capabilities), reporter),
        }
    }

    fn become_it(self, entry: Entry, capabilities: Option<u64>, mut reporter: Reporter) -> ! {
        if let Err(err) = enter(&entry.join) {
            fail(&mut reporter, &format!("enter the task: {}", errno_text(&err)));
        }
        match Program::find(&self.task, self.user.as_ref()) {
            Ok(program) => program.become_it(
                &self.task,
                self.user.as_ref(),
                &self.stdio,
                self.inherited,
                &crate::spawn::Rights { is_terminal: self.is_terminal, capabilities, has_image: self.has_image },
                &mut reporter,
            ),
            Err(text) => fail(&mut reporter, &text),
        }
    }
}
