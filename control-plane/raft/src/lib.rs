//! The region's log: openraft, its log on disk, and the state that follows from it.
//!
//! The only crate that names openraft and surrealkv. Above it there are commands, answers and snapshots
//! ([`node::RaftNode`]); a dead raft core or a failed disk ends the process, it never hangs.
//!
//! A region of one server is what this crate runs today; there is no network in it yet.

pub mod node;

mod codec;
mod log_store;
mod machine;
mod network;
mod snapshot_file;
mod store;
mod types;

pub use node::{Leadership, ProposeError, RaftNode, Settings, StartError};

#[cfg(test)]
mod storage_suite;
