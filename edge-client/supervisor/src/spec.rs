//! What the agent hands over to have one task started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::image_spec::{Device, ImageSpec};

/// Longest task id, in bytes (it becomes a directory name, escaped).
pub const TASK_ID_BYTES_MAX: usize = 180;
/// Most arguments plus environment variables of one task.
pub const STRINGS_MAX: usize = 10_000;

/// One task, complete: nothing is inherited from the supervisor except what this names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Unique on this edge; usually the alloc id and the task's name. Also the name of its cgroup.
    pub id: String,
    /// The command and its arguments. A command without a slash is looked up in `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment. `HOME`, `USER` and `LOGNAME` are added when `user` is set and they are absent.
    pub env: BTreeMap<String, String>,
    /// Working directory, absolute; inside the container where there is one.
    pub cwd: PathBuf,
    /// `name`, `uid`, `name:group` or `uid:gid`; none means the supervisor's own user.
    pub user: Option<String>,
    /// Where standard output goes; none discards it.
    pub stdout: Option<LogSpec>,
    /// Where standard error goes; none discards it.
    pub stderr: Option<LogSpec>,
    /// Limits put on the task's cgroup.
    pub resources: Resources,
    /// The kernel's oom_score_adj for the task; none means that of the agent, but 0 if that spares the agent.
    #[serde(default)]
    pub oom_score_adj: Option<i32>,
    /// A network namespace that a plain task joins; a contained one has it in its [`ContainerSpec`].
    #[serde(default)]
    pub network_namespace: Option<PathBuf>,
    /// How much of the host the task sees.
    pub isolation: Isolation,
}

/// One rotated log: files `<dir>/<prefix>.<n>`, n rising from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// Directory of the files; made when it is missing.
    pub dir: PathBuf,
    /// File name before the number, for example `web.stdout`.
    pub prefix: String,
    /// Most files kept; 0 counts as 1.
    pub max_files: u32,
    /// A file that has reached this size is followed by a new one; 0 means never.
    pub max_file_size_bytes: u64,
}

/// Limits of a task. None leaves a limit out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Share of the processor, in MHz (becomes cpu.shares, or cpu.weight on cgroup v2).
    pub cpu_mhz: Option<u64>,
    /// Memory reserved, in bytes. The hard limit too, where `memory_max_bytes` is none.
    pub memory_bytes: Option<u64>,
    /// Hard limit of memory, in bytes.
    pub memory_max_bytes: Option<u64>,
    /// Most processes and threads.
    pub pids_max: Option<u64>,
    /// The cores that it may run on, such as `0,2-3`; empty means all.
    #[serde(default)]
    pub cores: String,
}

/// How much of the host a task sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Isolation {
    /// All of it (`raw_exec`).
    None,
    /// Namespaces and a root directory of its own (`exec`).
    Container(ContainerSpec),
}

/// The namespaces and the file system of a contained task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Becomes `/`, writable. Mount points missing in it are created.
    pub rootfs_dir: PathBuf,
    /// Host paths shown inside. A source that does not exist is skipped when `optional`; one that is a symbolic link becomes a
    /// link in the rootfs.
    pub binds: Vec<Bind>,
    /// Names such as `CAP_CHOWN`; an unprivileged user has them too (ambient).
    pub capabilities: Vec<String>,
    /// Whether the task is process 1 of its own pid namespace.
    pub pid_mode: NamespaceMode,
    /// Whether the task has System V IPC and message queues of its own.
    pub ipc_mode: NamespaceMode,
    /// A network namespace to join, for example `/var/run/netns/x`; none means the host's network.
    pub network_namespace: Option<PathBuf>,
    /// The root is changed by chroot: where the host's root is in memory the usual way is refused.
    #[serde(default)]
    pub no_pivot_root: bool,
    /// Devices of the host that it was given.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// The root is that of an image, mounted on `rootfs_dir`, which is empty otherwise. The user is the image's then.
    #[serde(default)]
    pub image: Option<Box<ImageSpec>>,
}

impl ContainerSpec {
    /// The usual container: private namespaces, the default capabilities, the host's network.
    pub fn new(rootfs_dir: PathBuf, binds: Vec<Bind>) -> ContainerSpec {
        ContainerSpec {
            rootfs_dir,
            binds,
            capabilities: default_capabilities().iter().map(|name| (*name).to_owned()).collect(),
            pid_mode: NamespaceMode::Private,
            ipc_mode: NamespaceMode::Private,
            network_namespace: None,
            no_pivot_root: false,
            devices: Vec::new(),
            image: None,
        }
    }
}

/// A namespace of the task's own, or the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// Its own.
    Private,
    /// The host's.
    Host,
}

/// One host path shown inside a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    /// Writes are refused inside.
    pub read_only: bool,
    /// A missing source is skipped instead of failing the start.
    pub optional: bool,
    /// What is mounted below the source later on is seen inside too.
    #[serde(default)]
    pub follows_host: bool,
}

/// The capabilities of a contained task unless the job says otherwise.
pub fn default_capabilities() -> &'static [&'static str] {
    &[
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    ]
}

impl TaskSpec {
    /// Says what is wrong with the specification before anything is made for it.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.id.is_empty() || self.id.len() > TASK_ID_BYTES_MAX || self.id.contains(['\0', '/']) {
            return Err(format!("task id must have 1 to {TASK_ID_BYTES_MAX} bytes, without slash or NUL"));
        }
        // An escaped byte takes three; a file name ends at 255 bytes.
        if crate::cgroup::escape(&self.id).len() > 250 {
            return Err("task id has too many unusual characters".to_owned());
        }
        if self.argv.first().is_none_or(String::is_empty) {
            return Err("command is empty".to_owned());
        }
        if self.argv.len() + self.env.len() > STRINGS_MAX {
            return Err(format!("more than {STRINGS_MAX} arguments and environment variables"));
        }
        if self.argv.iter().any(|arg| arg.contains('\0')) {
            return Err("an argument contains a NUL byte".to_owned());
        }
        for (key, value) in &self.env {
            if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
                return Err(format!("environment variable {key:?} cannot be passed on"));
            }
        }
        check_path("working directory", &self.cwd)?;
        if let Some(path) = &self.network_namespace {
            check_path("network namespace", path)?;
        }
        for log in [&self.stdout, &self.stderr].into_iter().flatten() {
            check_path("log directory", &log.dir)?;
            if log.prefix.is_empty() || log.prefix.len() > 200 || log.prefix.contains(['/', '\0']) {
                return Err(format!("log name {:?} is not a file name", log.prefix));
            }
        }
        if let Isolation::Container(container) = &self.isolation {
            check_path("root directory", &container.rootfs_dir)?;
            if let Some(image) = &container.image {
                image.check()?;
            }
            for device in &container.devices {
                check_path("device", &device.host_path)?;
                check_path("device path", &device.path)?;
            }
            for bind in &container.binds {
                check_path("bind source", &bind.source)?;
                check_path("bind target", &bind.target)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn check_path(what: &str, path: &Path) -> Result<(), String> {
    use std::os::unix::ffi::OsStrExt;
    let dots = path.components().any(|part| matches!(part, std::path::Component::ParentDir));
    if !path.is_absolute() || dots || path.as_os_str().as_bytes().contains(&0) {
        return Err(format!("{what} {} must be an absolute path without \"..\"", path.display()));
    }
    Ok(())
}
