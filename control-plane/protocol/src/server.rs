//! Between the servers of a region (ALPN `server`): what a follower hands to the leader.

use serde::{Deserialize, Serialize};

use crate::edge::RpcError;

/// The longest message between servers, in bytes.
pub const SERVER_BYTES_MAX: usize = 64 << 20;

/// What a server asks of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToPeer {
    /// Commit this command (in the form of the log).
    Propose {
        /// The command's bytes.
        #[serde(with = "serde_bytes")]
        command: Vec<u8>,
    },
    /// The index up to which a read is linearizable.
    ReadIndex,
}

/// The answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromPeer {
    /// Committed and applied.
    Proposed {
        /// Raft index.
        index: u64,
        /// The answer's bytes.
        #[serde(with = "serde_bytes")]
        answer: Vec<u8>,
    },
    /// Wait for this index, then read.
    ReadIndex {
        /// Raft index.
        index: u64,
    },
    /// It was not done.
    Refused(RpcError),
}
