//! The types openraft is run with.

use std::fmt;
use std::sync::Arc;

use drover_state::Answer;

openraft::declare_raft_types!(
    /// Plain Raft: one leader per term, a log id is term and index. (Fixed by the format on disk.)
    pub TypeConfig:
        D = Proposal,
        R = Answer,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
);

pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;

/// A command in the form of the log. It is encoded once, by whoever proposes, and decoded once per server.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal(pub Arc<[u8]>);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
