//! The types openraft is run with.

use std::fmt;
use std::sync::Arc;

use drover_state::Answer;

openraft::declare_raft_types!(
    /// Plain Raft: one leader per term, a log id is term and index. (Fixed by the format on disk.)
    pub TypeConfig:
        D = Proposal,
        R = Outcome,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
);

pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub type Metrics = openraft::RaftMetrics<TypeConfig>;
pub type Raft = openraft::Raft<TypeConfig, crate::machine::Machine>;

/// SHA-256.
pub type Digest = [u8; 32];

/// What a log entry asks of the state.
#[derive(Clone, PartialEq, Eq)]
pub enum Proposal {
    /// A command in the form of the log. It is encoded once, by whoever proposes, and decoded once per server.
    Command(Arc<[u8]>),
    /// A step of putting another state in this one's place.
    Restore(RestoreStep),
}

/// A restore goes through the log, so that each server takes it at the same place: the image in parts, then the word.
#[derive(Clone, PartialEq, Eq)]
pub enum RestoreStep {
    /// Makes room for an image. One that was begun before is forgotten.
    Begin {
        /// Its length.
        len: u64,
        /// Of the whole image.
        digest: Digest,
        /// The greatest index in it: the region goes on above it.
        index: u64,
    },
    /// The next part of the image begun at this entry.
    Part {
        /// Where it was begun.
        begun: u64,
        /// The bytes.
        bytes: Arc<[u8]>,
    },
    /// The image takes the state's place.
    Finish {
        /// Where it was begun.
        begun: u64,
    },
}

/// What an applied entry gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The index that the state knows it by.
    pub index: u64,
    /// The answer.
    pub answer: Answer,
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(bytes) => write!(f, "command of {} bytes", bytes.len()),
            Self::Restore(RestoreStep::Begin { len, .. }) => write!(f, "restore of {len} bytes"),
            Self::Restore(RestoreStep::Part { bytes, .. }) => write!(f, "restore part of {} bytes", bytes.len()),
            Self::Restore(RestoreStep::Finish { .. }) => write!(f, "restore end"),
        }
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
