//! The form of log entries, votes and snapshot heads on disk, and of their parts on the wire.
//!
//! openraft's own serde forms are not stable from one version to the next, so nothing of them reaches the disk: these
//! records are ours, MessagePack with field names, and each begins with a version.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use openraft::{BasicNode, EntryPayload, Membership};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::{Digest, Entry, LogId, Proposal, RestoreStep, StoredMembership, Vote};

/// The version this code writes. It reads all versions up to it.
const FORMAT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u8,
    r: T,
}

/// Term and index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogIdRecord {
    term: u64,
    index: u64,
}

/// A vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteRecord {
    term: u64,
    node: u64,
    committed: bool,
}

/// The servers of the region and where they take RPCs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipRecord {
    voters: Vec<BTreeSet<u64>>,
    addresses: BTreeMap<u64, String>,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum PayloadRecord {
    Blank,
    Command(#[serde(with = "serde_bytes")] Vec<u8>),
    Membership(MembershipRecord),
    Restore(RestoreRecord),
}

/// A step of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum RestoreRecord {
    Begin {
        len: u64,
        #[serde(with = "serde_bytes")]
        digest: Digest,
        index: u64,
    },
    Part {
        begun: u64,
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    Finish {
        begun: u64,
    },
}

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRecord {
    id: LogIdRecord,
    payload: PayloadRecord,
}

/// Up to where a snapshot goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotRecord {
    last: Option<LogIdRecord>,
    membership_at: Option<LogIdRecord>,
    membership: MembershipRecord,
    /// What is added to a log index to give the state's: a restore may bring a state that is ahead of the log.
    pub index_offset: u64,
    /// When it was made, in milliseconds since 1970.
    pub at_ms: u64,
    /// A restore under way.
    pub staged: Option<StagedRecord>,
}

/// A restore under way: the bytes that have come stand behind the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedRecord {
    /// The entry that began it.
    pub begun: u64,
    /// The entry that brought the newest part.
    pub touched: u64,
    /// The length of the whole image.
    pub len: u64,
    /// Of the whole image.
    #[serde(with = "serde_bytes")]
    pub digest: Digest,
    /// The greatest index in the image.
    pub index: u64,
    /// How much of it has come.
    pub have: u64,
}

impl SnapshotRecord {
    /// The log index it goes up to.
    pub fn index(&self) -> u64 {
        self.last.map_or(0, |id| id.index)
    }

    /// The term of that entry.
    pub fn term(&self) -> u64 {
        self.last.map_or(0, |id| id.term)
    }

    /// The length of what a restore under way has brought.
    pub fn staged_len(&self) -> u64 {
        self.staged.map_or(0, |staged| staged.have)
    }
}

pub fn encode<T: Serialize>(record: T) -> Vec<u8> {
    rmp_serde::to_vec_named(&Versioned { v: FORMAT, r: record })
        .expect("the records hold nothing that MessagePack can't express")
}

pub fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> io::Result<T> {
    let versioned: Versioned<T> = rmp_serde::from_slice(bytes)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{what} can't be read: {e}")))?;
    if versioned.v > FORMAT {
        let text = format!("{what} has format {}, this drover knows up to {FORMAT}", versioned.v);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(versioned.r)
}

pub fn log_id_record(id: &LogId) -> LogIdRecord {
    LogIdRecord { term: id.leader_id.term, index: id.index }
}

pub fn log_id(record: LogIdRecord) -> LogId {
    LogId::new_term_index(record.term, record.index)
}

fn membership_record(membership: &Membership<u64, BasicNode>) -> MembershipRecord {
    MembershipRecord {
        voters: membership.get_joint_config().clone(),
        addresses: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
    }
}

fn membership(record: MembershipRecord) -> io::Result<Membership<u64, BasicNode>> {
    if record.voters.is_empty() {
        return Ok(Membership::default());
    }
    let nodes: BTreeMap<u64, BasicNode> =
        record.addresses.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
    Membership::new(record.voters, nodes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))
}

pub fn decode_number(bytes: &[u8]) -> io::Result<u64> {
    decode("number", bytes)
}

pub fn encode_log_id(id: &LogId) -> Vec<u8> {
    encode(log_id_record(id))
}

pub fn decode_log_id(bytes: &[u8]) -> io::Result<LogId> {
    decode("log id", bytes).map(log_id)
}

pub fn vote_record(vote: &Vote) -> VoteRecord {
    VoteRecord { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
}

pub fn vote(record: VoteRecord) -> Vote {
    if record.committed { Vote::new_committed(record.term, record.node) } else { Vote::new(record.term, record.node) }
}

pub fn encode_vote(vote: &Vote) -> Vec<u8> {
    encode(vote_record(vote))
}

pub fn decode_vote(bytes: &[u8]) -> io::Result<Vote> {
    decode("vote", bytes).map(vote)
}

pub fn entry_record(entry: &Entry) -> EntryRecord {
    let payload = match &entry.payload {
        EntryPayload::Blank => PayloadRecord::Blank,
        EntryPayload::Normal(Proposal::Command(bytes)) => PayloadRecord::Command(bytes.to_vec()),
        EntryPayload::Normal(Proposal::Restore(step)) => PayloadRecord::Restore(match step.clone() {
            RestoreStep::Begin { len, digest, index } => RestoreRecord::Begin { len, digest, index },
            RestoreStep::Part { begun, bytes } => RestoreRecord::Part { begun, bytes: bytes.to_vec() },
            RestoreStep::Finish { begun } => RestoreRecord::Finish { begun },
        }),
        EntryPayload::Membership(membership) => PayloadRecord::Membership(membership_record(membership)),
    };
    EntryRecord { id: log_id_record(&entry.log_id), payload }
}

pub fn entry(record: EntryRecord) -> io::Result<Entry> {
    let payload = match record.payload {
        PayloadRecord::Blank => EntryPayload::Blank,
        PayloadRecord::Command(bytes) => EntryPayload::Normal(Proposal::Command(bytes.into())),
        PayloadRecord::Restore(record) => EntryPayload::Normal(Proposal::Restore(match record {
            RestoreRecord::Begin { len, digest, index } => RestoreStep::Begin { len, digest, index },
            RestoreRecord::Part { begun, bytes } => RestoreStep::Part { begun, bytes: bytes.into() },
            RestoreRecord::Finish { begun } => RestoreStep::Finish { begun },
        })),
        PayloadRecord::Membership(record) => EntryPayload::Membership(membership(record)?),
    };
    Ok(Entry { log_id: log_id(record.id), payload })
}

pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    encode(entry_record(entry))
}

pub fn decode_entry(bytes: &[u8]) -> io::Result<Entry> {
    decode("log entry", bytes).and_then(entry)
}

/// The head of a snapshot, and back.
pub fn snapshot_record(last: Option<&LogId>, stored: &StoredMembership) -> SnapshotRecord {
    SnapshotRecord {
        last: last.map(log_id_record),
        membership_at: stored.log_id().as_ref().map(log_id_record),
        membership: membership_record(stored.membership()),
        ..SnapshotRecord::default()
    }
}

pub fn snapshot_head(record: SnapshotRecord) -> io::Result<(Option<LogId>, StoredMembership)> {
    let stored = StoredMembership::new(record.membership_at.map(log_id), membership(record.membership)?);
    Ok((record.last.map(log_id), stored))
}

pub fn encode_snapshot_record(record: &SnapshotRecord) -> Vec<u8> {
    encode(record)
}

pub fn decode_snapshot_record(bytes: &[u8]) -> io::Result<SnapshotRecord> {
    decode("snapshot head", bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_the_disk() {
        let check = |payload| {
            let entry = Entry { log_id: LogId::new_term_index(3, 7), payload };
            let read = decode_entry(&encode_entry(&entry)).unwrap();
            assert_eq!((read.log_id, &read.payload), (entry.log_id, &entry.payload));
        };
        check(EntryPayload::Blank);
        check(EntryPayload::Normal(Proposal::Command(b"bytes".as_slice().into())));
        let restore = |step| check(EntryPayload::Normal(Proposal::Restore(step)));
        restore(RestoreStep::Begin { len: 7, digest: [3; 32], index: 5 });
        restore(RestoreStep::Part { begun: 9, bytes: b"part".as_slice().into() });
        restore(RestoreStep::Finish { begun: 9 });
        let nodes = BTreeMap::from([(1, BasicNode { addr: "127.0.0.1:4647".to_owned() })]);
        check(EntryPayload::Membership(Membership::new(vec![BTreeSet::from([1])], nodes).unwrap()));
    }

    #[test]
    fn a_format_of_the_future_is_refused_by_number() {
        let bytes = rmp_serde::to_vec_named(&Versioned { v: 9, r: LogIdRecord { term: 1, index: 1 } }).unwrap();
        let text = decode_log_id(&bytes).unwrap_err().to_string();
        assert_eq!(text, "log id has format 9, this drover knows up to 1");
    }
}
