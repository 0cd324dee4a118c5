//! The words between agent and supervisor: length-prefixed MessagePack over a Unix socket.
//!
//! ```text
//! client: Hello                      supervisor: Welcome
//! client: Request { id, body } ...   supervisor: Reply { id, body } ...    (in any order; purpose "requests")
//!                                    supervisor: TaskExited ...            (purpose "events"; unacknowledged exits first)
//!                                    supervisor: Kept ...                  (purpose "keep")
//! client: SessionSpec                supervisor: SessionNews ...           (purpose "session")
//! ```
//! Fields are named on the wire, so one with a default can be added without a new [`VERSION`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::spec::TaskSpec;

/// Version of the protocol; the supervisor refuses any other.
pub const VERSION: u16 = 1;
/// Largest message a client may send, in bytes.
pub const REQUEST_BYTES_MAX: usize = 2 << 20;
/// Largest message the supervisor sends, in bytes.
pub const REPLY_BYTES_MAX: usize = 8 << 20;
/// Most tasks one supervisor holds, ended ones that are not acknowledged included.
pub const TASKS_MAX: usize = 8192;

/// The first message of a connection.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) version: u16,
    pub(crate) node_id: String,
    pub(crate) purpose: Purpose,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    Requests,
    Events,
    /// Copies of everything for the case that the supervisor dies: see [`crate::keeper`].
    Keep,
    /// One command inside a running task: see [`crate::session`].
    Session,
}

/// The answer to [`Hello`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Welcome {
    Accepted {
        pid: i32,
        /// Limits that can't be had here, and why.
        #[serde(default)]
        unenforced: BTreeMap<String, String>,
        /// It can be asked for an audit.
        #[serde(default)]
        audits: bool,
    },
    Refused {
        reason: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) body: RequestBody,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum RequestBody {
    Start(Box<TaskSpec>),
    Signal {
        task_id: String,
        signal: i32,
    },
    KillAll {
        task_id: String,
    },
    Remove {
        task_id: String,
    },
    List,
    Stats {
        task_id: String,
    },
    Shutdown {
        end_tasks: bool,
    },
    Replace {
        program: PathBuf,
    },
    /// Only where the greeting says that it can be asked.
    Audit,
}

/// One command to be run inside a task, with the descriptors of its standard input, output and error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSpec {
    /// The task.
    pub task_id: String,
    /// The command and its arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Working directory; inside the container where there is one.
    pub cwd: PathBuf,
    /// As in [`TaskSpec`].
    pub user: Option<String>,
    /// Its standard input is a terminal, which becomes that of its session.
    pub is_terminal: bool,
    /// The task's root is that of an image, whose files name the user.
    #[serde(default)]
    pub has_image: bool,
}

/// What is told of a session, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SessionNews {
    Started,
    Refused(Refusal),
    Ended { exit_code: i32, signal: i32 },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) id: u64,
    pub(crate) body: Result<ReplyBody, Refusal>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ReplyBody {
    Started(Started),
    Done,
    Tasks(Vec<TaskStatus>),
    Stats(Stats),
    Audited(Audited),
}

/// Why the supervisor did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No task has this id.
    #[error("unknown task")]
    UnknownTask,
    /// A task with this id is there already (running, or ended and not acknowledged).
    #[error("task exists already")]
    TaskExists,
    /// The task has ended (or has not started yet).
    #[error("task is not running")]
    NotRunning,
    /// The task has not ended yet, so its exit cannot be acknowledged.
    #[error("task is still running")]
    StillRunning,
    /// The request makes no sense.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// The command could not be started; nothing of it is left.
    #[error("{0}")]
    StartFailed(String),
    /// The figures could not be read.
    #[error("no figures: {0}")]
    NoStats(String),
    /// A bound was reached.
    #[error("too many {0}")]
    TooMany(String),
    /// The supervisor is ending.
    #[error("supervisor is shutting down")]
    ShuttingDown,
    /// The kernel refused.
    #[error("{0}")]
    Failed(String),
}

/// A task that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its process, in the supervisor's pid namespace.
    pub pid: i32,
    /// When the kernel started that process, in clock ticks since boot: with `pid` its identity until the next boot.
    pub start_ticks: u64,
    /// When it was started, by the wall clock.
    pub started_at: SystemTime,
    /// Whether all limits asked for are in force.
    pub limits_applied: bool,
    /// Why not, where they are not.
    pub limits_reason: Option<String>,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskState {
    /// Being started.
    Starting,
    /// Its process runs.
    Running,
    /// Its process has ended; what it left behind is being ended.
    Ending,
    /// All of it has ended; kept until acknowledged.
    Exited(Exit),
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 + signal when a signal ended it.
    pub exit_code: i32,
    /// The signal that ended it, 0 for none.
    pub signal: i32,
    /// The kernel ended a process of it for want of memory.
    pub oom_killed: bool,
    /// When, by the wall clock.
    pub at: SystemTime,
    /// Nobody was there to be told how: the supervisor had died, and the kernel does not say.
    #[serde(default)]
    pub is_unknown: bool,
}

/// One task in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// The id it was started with.
    pub task_id: String,
    /// Where it stands.
    pub state: TaskState,
    /// What it was started as; none while starting.
    pub started: Option<Started>,
    /// Log bytes that could not be written (disk full) and were discarded, so that the task went on.
    pub log_bytes_dropped: u64,
}

/// What the supervisor has found that should not be, or is not and should be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Audited {
    /// Cgroups that belong to no task. They end if they are there at another look two seconds later.
    pub strays: Vec<String>,
    /// Such cgroups that were there before, and were ended.
    pub ended: Vec<String>,
    /// Tasks whose process was gone without a word. They have ended, and nobody knows how.
    pub missing: Vec<String>,
}

/// A task has ended: its main process was reaped, all others of it are gone, its logs are complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskExited {
    /// The id it was started with.
    pub task_id: String,
    /// How it ended.
    pub exit: Exit,
    /// Its main process and when the kernel had started that: another task may have had this id before. None from supervisors that
    /// do not say it.
    #[serde(default)]
    pub process: Option<(i32, u64)>,
}

/// What a task uses, from its cgroup, or from its processes where it has none. A figure that the kernel does not give is 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Processor time, in nanoseconds.
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
    /// The most it had.
    pub memory_max_usage_bytes: u64,
    /// Anonymous memory.
    pub memory_rss_bytes: u64,
    /// Page cache.
    pub memory_cache_bytes: u64,
    /// Swap.
    pub memory_swap_bytes: u64,
    /// Mapped files.
    pub memory_mapped_file_bytes: u64,
    /// Kernel memory.
    pub memory_kernel_bytes: u64,
    /// Processes.
    pub processes: u64,
}

/// A message that could not be read or is too large.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Longer than its bound.
    #[error("message of {0} bytes is too large")]
    TooLarge(usize),
    /// Not what was expected.
    #[error("unreadable message: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    /// Could not be written.
    #[error("unwritable message: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

/// One message as bytes, its length (u32, little endian) in front.
pub(crate) fn encode<T: Serialize>(message: &T, bytes_max: usize) -> Result<Vec<u8>, WireError> {
    let mut frame = vec![0; 4];
    rmp_serde::encode::write_named(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > bytes_max {
        return Err(WireError::TooLarge(length));
    }
    let prefix = u32::try_from(length).map_err(|_| WireError::TooLarge(length))?;
    frame.splice(..4, prefix.to_le_bytes());
    Ok(frame)
}

/// Takes the first whole message out of `buffer`; none when more bytes are needed.
pub(crate) fn decode<T: DeserializeOwned>(buffer: &mut Vec<u8>, bytes_max: usize) -> Result<Option<T>, WireError> {
    let Some(prefix) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*prefix) as usize;
    if length > bytes_max {
        return Err(WireError::TooLarge(length));
    }
    let Some(body) = buffer.get(4..4 + length) else {
        return Ok(None);
    };
    let message = rmp_serde::from_slice(body)?;
    buffer.drain(..4 + length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_or_not_at_all() {
        let hello = Hello { version: VERSION, node_id: "n".to_owned(), purpose: Purpose::Events };
        let bytes = encode(&hello, 100).unwrap();
        for cut in 0..bytes.len() {
            let mut part = bytes[..cut].to_vec();
            assert!(decode::<Hello>(&mut part, 100).unwrap().is_none(), "cut at {cut}");
        }
        let mut two = [bytes.clone(), bytes].concat();
        for left in [1, 0] {
            let read = decode::<Hello>(&mut two, 100).unwrap().unwrap();
            assert_eq!((read.node_id.as_str(), read.purpose), ("n", Purpose::Events));
            assert_eq!(two.is_empty(), left == 0);
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert!(matches!(decode::<Hello>(&mut vec![255; 8], 100), Err(WireError::TooLarge(_))));
        assert!(matches!(decode::<Hello>(&mut vec![1, 0, 0, 0, 0xc1], 100), Err(WireError::Decode(_))));
        assert!(matches!(encode(&"x".repeat(200), 100), Err(WireError::TooLarge(_))));
    }
}
