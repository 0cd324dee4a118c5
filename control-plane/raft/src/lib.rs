//! The region's log: openraft, its log on disk, and the state that follows from it.
//!
//! The only crate that names openraft and surrealkv. Above it there are commands, answers and snapshots
//! ([`node::RaftNode`]); a dead raft core or a failed disk ends the process, it never hangs. Other servers are reached
//! through [`peers::Peers`], which somebody above implements.

pub mod node;

pub mod leadership;
pub mod members;
pub mod pace;
pub mod peers;
pub mod propose;
pub mod recovery;
pub mod restore;
pub mod serve;
mod session;

mod awake;
mod codec;
mod growth;
mod log_store;
mod machine;
mod measured;
mod network;
mod origin;
mod recent;
mod snapshot_file;
mod staged;
mod store;
mod threads;
mod types;
mod wire;

pub use leadership::Leadership;
pub use members::{MemberError, PeerProgress, Progress, RaftMember};
pub use node::{LogLength, RaftNode, Settings, StartError, snapshot_interval};
pub use pace::{MULTIPLIER_MAX, Pace};
pub use peers::{Alone, FRAME_BYTES_MAX, FrameReceiver, FrameSender, Link, Peer, PeerError, Peers};
pub use propose::ProposeError;
pub use recovery::RecoveryError;
pub use restore::{
    RestoreError, SnapshotInfo, check_snapshot, copy_snapshot, file_digest, read_snapshot, write_snapshot,
};
pub use serve::ServeError;
pub use snapshot_file::{SNAPSHOT_BYTES_MAX, SnapshotError};

#[cfg(test)]
mod memory_log;
#[cfg(test)]
mod pressure;
#[cfg(test)]
mod storage_suite;
