//! The words between servers and edges that whoever stands above a [`crate::Server`] uses.

pub use drover_protocol::edge::{AllocStats, HttpHead, HttpRequest, LogChunk, ReadLogs, RpcError, TaskStats};

pub use drover_protocol::edge::{ExecInput, ExecOutput, ExecRequest, FileInfo, FilesRequest, FilesWanted};
pub use drover_protocol::edge_node::{
    CpuStats, DeviceGroupStats, DeviceState, DiskStats, EXEC_BYTES_MAX, NodeMeta, NodeStats,
};

pub use crate::edge_calls::{ExecReceiver, ExecSender, LogStream};
