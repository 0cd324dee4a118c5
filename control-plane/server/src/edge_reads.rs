//! The words between servers and edges that whoever stands above a [`crate::Server`] uses.

pub use drover_protocol::edge::{AllocStats, HttpHead, HttpRequest, LogChunk, ReadLogs, RpcError, TaskStats};

pub use crate::edge_calls::LogStream;
