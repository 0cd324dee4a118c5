//! Between an edge and the servers of its region (ALPN `edge`).
//!
//! The edge dials and opens a bidirectional stream per request: the first frame is a [`ToServer`], the answer a
//! [`FromServer`]. `WatchAllocs` keeps its stream open: the server pushes one [`NodeAllocs`] frame per change, the first
//! one whole. The server opens streams on the same connection for [`ToEdge`] requests (logs, files, stats).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_model::alloc::{Alloc, AllocUpdate};
use drover_model::job::Job;
use drover_model::node::Node;
use drover_model::{AllocId, NodeId, Timestamp};
use serde::{Deserialize, Serialize};

pub use crate::edge_node::{ExecInput, ExecOutput, ExecRequest, FileInfo, FilesRequest, FilesWanted};

/// The longest request frame either side takes, in bytes.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Most files of a directory in one frame.
pub const FILES_OF_PAGE_MAX: usize = 4096;
/// Most files of a directory that are listed at all: more is refused.
pub const FILES_MAX: usize = 65_536;
/// The longest frame of pushed allocs, in bytes. A larger set is sent in several frames.
pub const NODE_ALLOCS_BYTES_MAX: usize = 16 << 20;
/// The longest chunk of a log or file, in bytes.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;

/// What an edge asks of a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToServer {
    /// Here I am. The node id must be that of the certificate.
    Register {
        /// The node as it describes itself.
        node: Box<Node>,
    },
    /// I live. The next heartbeats may follow on the same stream, in a shorter form: [`crate::heartbeat`].
    Heartbeat {
        /// Who.
        node_id: NodeId,
    },
    /// Tell me what I shall run, now and on each change. The stream stays open.
    WatchAllocs {
        /// Who.
        node_id: NodeId,
    },
    /// What became of my allocs. Applied idempotently.
    ReportAllocs {
        /// Who.
        node_id: NodeId,
        /// The reports.
        updates: Vec<AllocUpdate>,
    },
    /// A request to the HTTP API that a client agent got and hands on, judged by the caller's token alone.
    Forward(HttpRequest),
}

/// A server's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromServer {
    /// Registered or heard.
    Alive {
        /// The next heartbeat is due after this time.
        heartbeat_ttl: Duration,
        /// RPC addresses of the region's servers.
        servers: Vec<String>,
    },
    /// Reported.
    Reported {
        /// Raft index at which the reports were applied.
        index: u64,
    },
    /// The head of a forwarded answer; the body follows as frames of raw bytes until the stream ends.
    Forwarded(HttpHead),
    /// It was not done.
    Refused(RpcError),
}

/// What a node shall run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeAllocs {
    /// Raft index of the state it was read from.
    pub index: u64,
    /// Everything that the node knows and that is not in `upserts` of the frames up to `complete` is to go.
    pub whole: bool,
    /// The last frame of this change.
    pub complete: bool,
    /// New or changed allocs, each with the job version it runs.
    pub upserts: Vec<WantedAlloc>,
    /// Allocs that the servers have forgotten: end them and remove their directories.
    pub removals: Vec<AllocId>,
}

/// One alloc that a node shall run (or end, by its desired status).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WantedAlloc {
    /// The alloc.
    pub alloc: Alloc,
    /// The job version that it runs.
    pub job: Arc<Job>,
}

/// What a server asks of an edge, each on a stream that the server opens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToEdge {
    /// The bytes of a task's log, as [`LogChunk`] frames.
    ReadLogs(ReadLogs),
    /// What the tasks of an alloc use now; answered by [`AllocStats`].
    AllocStats {
        /// The alloc.
        alloc_id: AllocId,
    },
    /// Files of an alloc.
    Files(FilesRequest),
    /// A command inside a task: [`ExecInput`] and [`ExecOutput`] frames follow.
    Exec(ExecRequest),
    /// Ends tasks and starts them again.
    RestartTasks {
        /// The alloc.
        alloc_id: AllocId,
        /// Only this task; empty means those that run.
        task: String,
        /// All tasks, those included that have ended.
        all: bool,
    },
    /// Sends a signal.
    SignalTasks {
        /// The alloc.
        alloc_id: AllocId,
        /// Only this task; empty means all that run.
        task: String,
        /// Its name.
        signal: String,
    },
    /// What the node uses now; answered by [`crate::edge_node::NodeStats`].
    NodeStats,
    /// Removes what is left of ended allocs.
    CollectAllocs {
        /// Only this one; none means all.
        alloc_id: Option<AllocId>,
    },
    /// The node's metadata; answered by [`crate::edge_node::NodeMeta`].
    ReadMeta,
    /// Sets metadata of the node; keys without a value go. Answered by [`crate::edge_node::NodeMeta`].
    ApplyMeta {
        /// The keys.
        meta: std::collections::BTreeMap<String, Option<String>>,
    },
}

/// Which part of a log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadLogs {
    /// The alloc.
    pub alloc_id: AllocId,
    /// The task.
    pub task: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Offset from the origin, in bytes.
    pub offset: u64,
    /// Count the offset back from the end instead of forward from the start.
    pub from_end: bool,
    /// Go on as the log grows.
    pub follow: bool,
}

/// An edge's first frame on a stream that the server opened: an answer or an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromEdge {
    /// Frames of [`LogChunk`] follow until the stream ends.
    Logs,
    /// Statistics.
    AllocStats(Box<AllocStats>),
    /// Files of a directory, at most [`FILES_OF_PAGE_MAX`]. The others follow, as many a frame, until the stream ends.
    Files(Vec<FileInfo>),
    /// One file.
    File(FileInfo),
    /// The command runs; [`ExecOutput`] frames follow.
    Exec,
    /// It was done.
    Done,
    /// Statistics of the node.
    NodeStats(Box<crate::edge_node::NodeStats>),
    /// Metadata of the node.
    NodeMeta(Box<crate::edge_node::NodeMeta>),
    /// It was not done.
    Refused(RpcError),
}

/// A part of a log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogChunk {
    /// The bytes; empty for a sign of life.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
    /// The file inside the alloc's directory: `alloc/logs/<task>.<stream>.<n>`.
    pub file: String,
    /// Where the data ends in that file.
    pub offset: u64,
    /// What became of the file (`file deleted`, `file truncated`); mostly empty.
    pub event: String,
}

/// What the tasks of an alloc use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllocStats {
    /// When it was read.
    pub at: Timestamp,
    /// Per task.
    pub tasks: BTreeMap<String, TaskStats>,
}

/// What a task uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskStats {
    /// Bytes of memory in all.
    pub memory_usage_bytes: u64,
    /// Bytes of anonymous memory.
    pub memory_rss_bytes: u64,
    /// Bytes of page cache.
    pub memory_cache_bytes: u64,
    /// The most bytes there ever were.
    pub memory_max_usage_bytes: u64,
    /// Nanoseconds of processor time in all.
    pub cpu_total_ns: u64,
    /// In user mode.
    pub cpu_user_ns: u64,
    /// In the kernel.
    pub cpu_system_ns: u64,
    /// Share of one core since the last reading, in percent.
    pub cpu_percent: f64,
    /// The same in MHz.
    pub cpu_ticks_mhz: f64,
    /// How often it was throttled.
    pub throttled_periods: u64,
    /// For how long.
    pub throttled_ns: u64,
    /// Bytes of swap.
    pub memory_swap_bytes: u64,
}

/// An HTTP request on its way to a server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpRequest {
    /// `GET` …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// The head of an HTTP answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpHead {
    /// The status.
    pub status: u16,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RpcError {
    /// This server does not lead its region; try the leader.
    #[error("no leader here")]
    NotLeader {
        /// The leader's RPC address, when known.
        leader: Option<String>,
    },
    /// There is no such thing.
    #[error("{message}")]
    NotFound {
        /// What.
        message: String,
    },
    /// The request is wrong.
    #[error("{message}")]
    Invalid {
        /// Why.
        message: String,
    },
    /// The caller may not.
    #[error("{message}")]
    Forbidden {
        /// Why.
        message: String,
    },
    /// Not now: try again.
    #[error("{message}")]
    Unavailable {
        /// Why.
        message: String,
    },
}
