//! What every driver can do, and the words for it.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use drover_model::Timestamp;
use drover_model::resources::AllocatedTask;
use drover_supervisor::Session;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;

/// Runs tasks of one kind. All calls may block for a short time.
pub trait Driver: Send + Sync {
    /// The word after `driver =`.
    fn name(&self) -> &'static str;

    /// Whether it is there and works on this machine.
    fn fingerprint(&self) -> Fingerprint;

    /// How its tasks see the file system.
    fn view(&self) -> View;

    /// Whether its tasks can be shown directories of the host.
    fn takes_mounts(&self) -> bool {
        false
    }

    /// Whether its tasks can be given devices of the host.
    fn takes_devices(&self) -> bool {
        false
    }

    /// What takes long before the start, such as getting an image. Dropped when the task is not wanted any more; `progress`
    /// gets a sentence whenever there is something new to say. None when there is nothing to wait for.
    fn prepare(&self, start: &TaskStart, progress: Progress) -> Option<Preparing> {
        let _ = (start, progress);
        None
    }

    /// Starts a task that was prepared. When it fails nothing of the task is left.
    fn start(&self, start: TaskStart) -> Result<TaskHandle, StartError>;

    /// Resolves with the task's end; with an error when that can't be learnt any more.
    fn wait(&self, handle: &TaskHandle) -> oneshot::Receiver<Exit>;

    /// By which signal the task wants to be asked to end, where its job does not say.
    fn stop_signal(&self, handle: &TaskHandle) -> Option<String> {
        let _ = handle;
        None
    }

    /// Sends a signal to the task's main process.
    fn signal(&self, handle: &TaskHandle, signal: i32) -> Result<(), TaskError>;

    /// Ends the task with all its processes, without asking them.
    fn kill(&self, handle: &TaskHandle) -> Result<(), TaskError>;

    /// Forgets an ended task: its exit is no longer kept for anybody.
    fn destroy(&self, handle: &TaskHandle) -> Result<(), TaskError>;

    /// What became of a task that was started before this agent.
    fn recover(&self, handle: &TaskHandle) -> Result<Recovered, TaskError>;

    /// Runs a command inside the running task, with these descriptors as its standard input, output and error.
    fn exec(&self, handle: &TaskHandle, command: TaskCommand, fds: [BorrowedFd<'_>; 3]) -> Result<Session, TaskError>;

    /// What it uses now.
    fn stats(&self, handle: &TaskHandle) -> Result<TaskUsage, TaskError>;
}

/// Hears how far a preparation is, for one task event that is updated.
pub type Progress = Arc<dyn Fn(String) + Send + Sync>;

/// What is under way before a start.
pub type Preparing = Pin<Box<dyn Future<Output = Result<(), StartError>> + Send>>;

/// A command to be run inside a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskCommand {
    /// The command and its arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The task's `user`; empty means the driver's default.
    pub user: String,
    /// The task's own directory on the host.
    pub task_dir: PathBuf,
    /// Its standard input is a terminal.
    pub is_terminal: bool,
    /// The task's root is that of an image; for its driver to say.
    pub has_image: bool,
}

/// How a task sees the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum View {
    /// As the host does; its directories have their full paths.
    Host,
    /// A root of its own with `/alloc`, `/local` and `/secrets`.
    Own,
    /// The same, and the root is that of an image: nothing of the agent's environment is for it.
    Image,
}

/// Whether a driver is there and works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// It is there.
    pub detected: bool,
    /// It works.
    pub healthy: bool,
    /// Why not, or `Healthy`.
    pub description: String,
    /// More about it: `driver.<name>` and what is below.
    pub attributes: BTreeMap<String, String>,
}

impl Fingerprint {
    /// A driver that works.
    pub fn healthy(name: &str) -> Fingerprint {
        Fingerprint {
            detected: true,
            healthy: true,
            description: "Healthy".to_owned(),
            attributes: BTreeMap::from([(format!("driver.{name}"), "true".to_owned())]),
        }
    }

    /// A driver that is not there.
    pub fn undetected(reason: &str) -> Fingerprint {
        Fingerprint { description: reason.to_owned(), ..Fingerprint::default() }
    }
}

/// Everything a driver needs to start one task. Text is interpolated already.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskStart {
    /// Unique on this edge: `<alloc id>.<task>`.
    pub id: String,
    /// The task's `config`.
    pub config: BTreeMap<String, Value>,
    /// The task's `user`; empty means the driver's default.
    pub user: String,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Its directories.
    pub dirs: TaskDirs,
    /// Its logs; none when they are disabled.
    pub logs: Option<TaskLogs>,
    /// What it was given.
    pub resources: AllocatedTask,
    /// Its ports: its own and those of its group.
    pub ports: Vec<TaskPort>,
    /// Directories of the host that it sees; only where [`Driver::takes_mounts`].
    pub mounts: Vec<TaskMount>,
    /// Devices that it was given; only where [`Driver::takes_devices`].
    pub devices: Vec<TaskDevice>,
    /// How it finds names, where its job says so.
    pub dns: Option<TaskDns>,
    /// The network of its alloc, where that is not the host's: the file of a namespace.
    pub network_namespace: Option<PathBuf>,
    /// Its host's name in such a network; empty leaves it as it would be.
    pub hostname: String,
}

/// A directory of the host that a task sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskMount {
    /// Where it is on the host.
    pub source: PathBuf,
    /// Where the task sees it.
    pub target: PathBuf,
    /// The task can't write to it.
    pub is_read_only: bool,
    /// What is mounted below it on the host later on is seen too.
    pub follows_host: bool,
}

/// A file of a device that a task was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskDevice {
    /// Its path, on the host and inside.
    pub path: PathBuf,
    /// What may be done with it: of `r`, `w` and `m`.
    pub access: String,
}

/// How a task finds names. What is empty is as on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskDns {
    /// Addresses of servers.
    pub servers: Vec<String>,
    /// Domains that are tried for short names.
    pub searches: Vec<String>,
    /// Options of the resolver.
    pub options: Vec<String>,
}

/// A port that a task was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskPort {
    /// Its name.
    pub label: String,
    /// The host's address.
    pub host_ip: String,
    /// The number on the host.
    pub value: u16,
    /// The number inside a network of its own; 0 means the same.
    pub to: u16,
}

/// The directories of a task on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDirs {
    /// Shared by the tasks of the alloc.
    pub alloc_dir: PathBuf,
    /// The task's own.
    pub task_dir: PathBuf,
}

/// Where a task's output goes: `<dir>/<task>.stdout.<n>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLogs {
    /// The directory.
    pub dir: PathBuf,
    /// The task's name.
    pub task: String,
    /// How many files are kept per stream.
    pub files_max: u32,
    /// When a file is followed by the next one.
    pub file_bytes_max: u64,
}

/// A task that was started, in a form that survives the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskHandle {
    /// The driver that started it.
    pub driver: String,
    /// The id it was started with.
    pub id: String,
    /// Its main process.
    pub pid: i32,
    /// When the kernel started that process, in clock ticks since boot.
    pub start_ticks: u64,
    /// When it was started.
    pub started_at: Timestamp,
    /// Why a limit is not in force; empty when all are.
    pub limits_reason: String,
}

/// How a task ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exit {
    /// The exit code; 128 + signal when a signal ended it.
    pub exit_code: i64,
    /// The signal that ended it, or 0.
    pub signal: i64,
    /// The kernel ended it for want of memory.
    pub oom_killed: bool,
    /// What went wrong beyond the code; mostly empty.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

impl Exit {
    /// It did what it was meant to.
    pub fn is_success(&self) -> bool {
        self.exit_code == 0 && self.signal == 0 && !self.oom_killed && self.message.is_empty()
    }
}

/// What became of a task that was started before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// It runs, under this handle (which may know more than the one asked with).
    Running(TaskHandle),
    /// It has ended.
    Exited(Exit),
    /// Nobody knows it.
    Unknown,
}

/// Figures of a task; 0 where the kernel does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskUsage {
    /// Nanoseconds of processor time.
    pub cpu_total_ns: u64,
    /// Of that, in user mode.
    pub cpu_user_ns: u64,
    /// Of that, in the kernel.
    pub cpu_system_ns: u64,
    /// How often it was throttled.
    pub throttled_periods: u64,
    /// For how long, in nanoseconds.
    pub throttled_ns: u64,
    /// All memory charged to it, in bytes.
    pub memory_usage_bytes: u64,
    /// The most there ever was.
    pub memory_max_usage_bytes: u64,
    /// Swap.
    pub memory_swap_bytes: u64,
    /// Anonymous memory.
    pub memory_rss_bytes: u64,
    /// Page cache.
    pub memory_cache_bytes: u64,
}

/// Why a task did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The job's `config` is wrong; trying again changes nothing. One line per problem.
    #[error("{}", multierror(.0))]
    Config(Vec<String>),
    /// Trying again changes nothing.
    #[error("{0}")]
    Final(String),
    /// It may work another time.
    #[error("{0}")]
    Failed(String),
}

/// Several problems as the API's texts list them.
fn multierror(problems: &[String]) -> String {
    let mut text = format!("{} error{} occurred:\n", problems.len(), if problems.len() == 1 { "" } else { "s" });
    for problem in problems {
        text.push_str("\t* ");
        text.push_str(problem);
        text.push('\n');
    }
    text.push('\n');
    text
}

/// Why something could not be done with a task that was started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It has ended or was never there.
    #[error("task is not running")]
    Gone,
    /// The supervisor does not answer.
    #[error("{0}")]
    Failed(String),
}
