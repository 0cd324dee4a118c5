//! The form of log entries, votes and snapshot heads on disk.
//!
//! openraft's own serde forms are not stable from one version to the next, so nothing of them reaches the disk: these
//! records are ours, MessagePack with field names, and each begins with a version.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use openraft::{BasicNode, EntryPayload, Membership};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::{Entry, LogId, Proposal, StoredMembership, Vote};

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
}

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct EntryRecord {
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
}

fn encode<T: Serialize>(record: T) -> Vec<u8> {
    rmp_serde::to_vec_named(&Versioned { v: FORMAT, r: record })
        .expect("the records hold nothing that MessagePack can't express")
}

fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> io::Result<T> {
    let versioned: Versioned<T> = rmp_serde::from_slice(bytes)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{what} can't be read: {e}")))?;
    if versioned.v > FORMAT {
        let text = format!("{what} has format {}, this drover knows up to {FORMAT}", versioned.v);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(versioned.r)
}

fn log_id_record(id: &LogId) -> LogIdRecord {
    LogIdRecord { term: id.leader_id.term, index: id.index }
}

fn log_id(record: LogIdRecord) -> LogId {
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

pub fn encode_log_id(id: &LogId) -> Vec<u8> {
    encode(log_id_record(id))
}

pub fn decode_log_id(bytes: &[u8]) -> io::Result<LogId> {
    decode("log id", bytes).map(log_id)
}

pub fn encode_vote(vote: &Vote) -> Vec<u8> {
    encode(VoteRecord { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed })
}

pub fn decode_vote(bytes: &[u8]) -> io::Result<Vote> {
    let record: VoteRecord = decode("vote", bytes)?;
    Ok(if record.committed {
        Vote::new_committed(record.term, record.node)
    } else {
        Vote::new(record.term, record.node)
    })
}

pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    let payload = match &entry.payload {
        EntryPayload::Blank => PayloadRecord::Blank,
        EntryPayload::Normal(proposal) => PayloadRecord::Command(proposal.0.to_vec()),
        EntryPayload::Membership(membership) => PayloadRecord::Membership(membership_record(membership)),
    };
    encode(EntryRecord { id: log_id_record(&entry.log_id), payload })
}

pub fn decode_entry(bytes: &[u8]) -> io::Result<Entry> {
    let record: EntryRecord = decode("log entry", bytes)?;
    let payload = match record.payload {
        PayloadRecord::Blank => EntryPayload::Blank,
        PayloadRecord::Command(bytes) => EntryPayload::Normal(Proposal(bytes.into())),
        PayloadRecord::Membership(record) => EntryPayload::Membership(membership(record)?),
    };
    Ok(Entry { log_id: log_id(record.id), payload })
}

/// The head of a snapshot, and back.
pub fn snapshot_record(last: Option<&LogId>, stored: &StoredMembership) -> SnapshotRecord {
    SnapshotRecord {
        last: last.map(log_id_record),
        membership_at: stored.log_id().as_ref().map(log_id_record),
        membership: membership_record(stored.membership()),
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
        check(EntryPayload::Normal(Proposal(b"bytes".as_slice().into())));
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
