//! What servers say to each other about the log: the frames of a stream, in a form of our own.
//!
//! One call is one stream, and its first frame says which: a vote, a pre-vote, entries to append (then many requests
//! and as many answers, in order), a snapshot (then pieces of the file, then one answer), a transfer of leadership.
//! What comes in is checked before openraft sees it: openraft trusts its callers.

use std::io;

use openraft::raft::{AppendEntriesRequest, StreamAppendError, TransferLeaderRequest, VoteRequest, VoteResponse};
use serde::{Deserialize, Serialize};

use crate::codec::{self, EntryRecord, LogIdRecord, VoteRecord};
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// Entries in one request, at most. openraft sends fewer.
pub const APPEND_ENTRIES_MAX: usize = 4096;

/// The first frame of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// What is asked.
    pub call: Call,
    /// For which region's log the caller speaks (`origin.rs`).
    #[serde(default)]
    pub origin: Option<u64>,
}

/// What is asked on a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Asks for a vote. One answer follows.
    Vote(Ballot),
    /// Asks whether a vote would be granted. One answer follows.
    PreVote(Ballot),
    /// Requests to append follow, each with its answer.
    Append,
    /// The pieces of a snapshot follow, then one answer.
    Snapshot {
        /// The leader's.
        vote: VoteRecord,
        /// The length of the file.
        len: u64,
        /// The version of the state's form in it; 0 from a caller that does not say.
        #[serde(default)]
        image: u8,
    },
    /// The receiver is to lead. One answer follows.
    Transfer {
        /// The leader's.
        vote: VoteRecord,
        /// Who is to lead.
        to: u64,
        /// How far its log must go.
        last: Option<LogIdRecord>,
    },
    /// Asks whether the receiver could take part in the caller's log. One answer follows.
    Belong,
}

/// The answer to [`Call::Belong`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BelongAnswer {
    /// It belongs to that log, or to none yet.
    pub could: bool,
}

/// A candidate's question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    vote: VoteRecord,
    last: Option<LogIdRecord>,
    /// The leader itself asked for this election.
    transfer: bool,
}

/// The answer to a [`Ballot`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BallotAnswer {
    vote: VoteRecord,
    granted: bool,
    last: Option<LogIdRecord>,
}

/// Entries to append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    vote: VoteRecord,
    prev: Option<LogIdRecord>,
    commit: Option<LogIdRecord>,
    entries: Vec<EntryRecord>,
}

/// The answer to an [`Append`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendAnswer {
    /// On disk up to here.
    Done(Option<LogIdRecord>),
    /// There is another entry at this place. Nothing follows.
    Conflict(LogIdRecord),
    /// The receiver knows of a later leader. Nothing follows.
    HigherVote(VoteRecord),
}

/// The answer to a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotAnswer {
    /// It was taken, or the receiver knows of a later leader: its vote tells.
    Vote(VoteRecord),
    /// It was not taken.
    Refused(String),
}

/// The answer to a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferAnswer {
    /// The receiver campaigns.
    Done,
    /// It does not.
    Refused(String),
}

/// A call that breaks the rules: its stream ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The frame can't be read.
    #[error("frame can't be read: {reason}")]
    Frame {
        /// Why.
        reason: String,
    },
    /// It speaks in another server's name.
    #[error("server {from} speaks for server {named}")]
    OtherServer {
        /// Who sent it.
        from: u64,
        /// For whom it speaks.
        named: u64,
    },
    /// It says what no server would.
    #[error("frame makes no sense: {reason}")]
    Nonsense {
        /// Why.
        reason: &'static str,
    },
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        Self::Frame { reason: error.to_string() }
    }
}

fn nonsense<T>(reason: &'static str) -> Result<T, WireError> {
    Err(WireError::Nonsense { reason })
}

/// A frame.
pub fn encode<T: Serialize>(message: &T) -> bytes::Bytes {
    codec::encode(message).into()
}

/// What a frame says.
pub fn decode<T: serde::de::DeserializeOwned>(frame: &[u8]) -> Result<T, WireError> {
    Ok(codec::decode("message", frame)?)
}

/// The vote of a leader that this frame comes from.
pub fn leader_vote(from: u64, record: VoteRecord) -> Result<Vote, WireError> {
    let vote = spoken_by(from, record)?;
    if vote.committed { Ok(vote) } else { nonsense("it comes from no leader") }
}

fn spoken_by(from: u64, record: VoteRecord) -> Result<Vote, WireError> {
    let vote = codec::vote(record);
    let named = vote.leader_id.voted_for;
    if named == from { Ok(vote) } else { Err(WireError::OtherServer { from, named }) }
}

impl Ballot {
    /// For the wire.
    pub fn of(request: &VoteRequest<TypeConfig>) -> Self {
        Self {
            vote: codec::vote_record(&request.vote),
            last: request.last_log_id.as_ref().map(codec::log_id_record),
            transfer: request.leadership_transfer,
        }
    }

    /// Checked, for openraft.
    pub fn request(self, from: u64) -> Result<VoteRequest<TypeConfig>, WireError> {
        let vote = spoken_by(from, self.vote)?;
        let last_log_id = self.last.map(codec::log_id);
        if vote.committed {
            return nonsense("a candidate that leads already");
        }
        if last_log_id.is_some_and(|last| last.leader_id.term >= vote.leader_id.term) {
            return nonsense("a candidate of the past");
        }
        let mut request = VoteRequest::new(vote, last_log_id);
        request.leadership_transfer = self.transfer;
        Ok(request)
    }
}

impl BallotAnswer {
    /// For the wire.
    pub fn of(response: &VoteResponse<TypeConfig>) -> Self {
        Self {
            vote: codec::vote_record(&response.vote),
            granted: response.vote_granted,
            last: response.last_log_id.as_ref().map(codec::log_id_record),
        }
    }

    /// For openraft.
    pub fn response(self) -> VoteResponse<TypeConfig> {
        VoteResponse::new(codec::vote(self.vote), self.last.map(codec::log_id), self.granted)
    }
}

impl Append {
    /// For the wire.
    pub fn of(request: &AppendEntriesRequest<TypeConfig>) -> Self {
        Self {
            vote: codec::vote_record(&request.vote),
            prev: request.prev_log_id.as_ref().map(codec::log_id_record),
            commit: request.leader_commit.as_ref().map(codec::log_id_record),
            entries: request.entries.iter().map(codec::entry_record).collect(),
        }
    }

    /// Checked, for openraft: one entry after the other, none of a later term than the leader's.
    pub fn request(self, from: u64) -> Result<AppendEntriesRequest<TypeConfig>, WireError> {
        let vote = leader_vote(from, self.vote)?;
        if self.entries.len() > APPEND_ENTRIES_MAX {
            return nonsense("too many entries at once");
        }
        let prev_log_id = self.prev.map(codec::log_id);
        let leader_commit = self.commit.map(codec::log_id);
        let entries: Vec<Entry> = self.entries.into_iter().map(codec::entry).collect::<io::Result<_>>()?;
        let mut last = prev_log_id;
        for id in entries.iter().map(|entry| entry.log_id) {
            let follows = match last {
                None => id.index == 0,
                Some(last) => last.index.checked_add(1) == Some(id.index) && last.leader_id.term <= id.leader_id.term,
            };
            if !follows {
                return nonsense("an entry that does not follow the one before it");
            }
            last = Some(id);
        }
        let is_late = |id: Option<LogId>| id.is_some_and(|id| id.leader_id.term > vote.leader_id.term);
        if is_late(last) || is_late(leader_commit) {
            return nonsense("an entry of a later term than its leader's");
        }
        Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
    }
}

impl AppendAnswer {
    /// For the wire.
    pub fn of(result: &openraft::raft::StreamAppendResult<TypeConfig>) -> Self {
        match result {
            Ok(last) => Self::Done(last.as_ref().map(codec::log_id_record)),
            Err(StreamAppendError::Conflict(at)) => Self::Conflict(codec::log_id_record(at)),
            Err(StreamAppendError::HigherVote(vote)) => Self::HigherVote(codec::vote_record(vote)),
        }
    }

    /// For openraft.
    pub fn result(self) -> openraft::raft::StreamAppendResult<TypeConfig> {
        match self {
            Self::Done(last) => Ok(last.map(codec::log_id)),
            Self::Conflict(at) => Err(StreamAppendError::Conflict(codec::log_id(at))),
            Self::HigherVote(vote) => Err(StreamAppendError::HigherVote(codec::vote(vote))),
        }
    }
}

/// For the wire.
pub fn transfer_call(request: &TransferLeaderRequest<TypeConfig>) -> Call {
    Call::Transfer {
        vote: codec::vote_record(request.from_leader()),
        to: *request.to_node_id(),
        last: request.last_log_id().map(codec::log_id_record),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::EntryPayload;

    fn entry(term: u64, index: u64) -> Entry {
        Entry { log_id: LogId::new_term_index(term, index), payload: EntryPayload::Blank }
    }

    fn append(vote: Vote, prev: Option<LogId>, entries: Vec<Entry>) -> Append {
        Append::of(&AppendEntriesRequest { vote, prev_log_id: prev, entries, leader_commit: None })
    }

    #[test]
    fn a_request_that_openraft_would_not_survive_is_refused() {
        let at = |term, index| Some(LogId::new_term_index(term, index));
        let check = |append: Append, expected: &str| {
            let read: Append = decode(&encode(&append)).unwrap();
            let result = read.request(7).map(|_| ());
            assert_eq!(result.map_err(|e| e.to_string()), Err(expected.to_owned()));
        };
        let leader = Vote::new_committed(3, 7);
        assert!(append(leader, at(2, 4), vec![entry(2, 5), entry(3, 6)]).request(7).is_ok());
        assert!(append(leader, None, vec![entry(0, 0), entry(1, 1)]).request(7).is_ok());
        check(append(Vote::new_committed(3, 8), None, vec![]), "server 7 speaks for server 8");
        check(append(Vote::new(3, 7), None, vec![]), "frame makes no sense: it comes from no leader");
        let gap = "frame makes no sense: an entry that does not follow the one before it";
        check(append(leader, at(2, 4), vec![entry(2, 6)]), gap);
        check(append(leader, at(2, 4), vec![entry(1, 5)]), gap);
        check(append(leader, at(2, u64::MAX), vec![entry(2, 0)]), gap);
        check(append(leader, None, vec![entry(1, 3)]), gap);
        let late = "frame makes no sense: an entry of a later term than its leader's";
        check(append(leader, at(3, 4), vec![entry(4, 5)]), late);
    }

    #[test]
    fn a_candidate_speaks_for_itself() {
        let check = |vote, last: Option<LogId>, expected: Result<(), &str>| {
            let ballot: Ballot = decode(&encode(&Ballot::of(&VoteRequest::new(vote, last)))).unwrap();
            let result = ballot.request(7).map(|_| ()).map_err(|e| e.to_string());
            assert_eq!(result, expected.map_err(str::to_owned));
        };
        check(Vote::new(3, 7), Some(LogId::new_term_index(2, 9)), Ok(()));
        check(Vote::new(3, 8), None, Err("server 7 speaks for server 8"));
        check(Vote::new_committed(3, 7), None, Err("frame makes no sense: a candidate that leads already"));
        check(Vote::new(3, 7), Some(LogId::new_term_index(3, 9)), Err("frame makes no sense: a candidate of the past"));
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused() {
        let whole = encode(&append(Vote::new_committed(3, 7), None, vec![entry(0, 0), entry(1, 1)]));
        for cut in 0..whole.len() {
            assert!(decode::<Append>(&whole[..cut]).is_err());
        }
        let mut seed = 1_u64;
        for _ in 0..20_000 {
            let mut bytes = whole.to_vec();
            for _ in 0..3 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (seed >> 33) as usize % bytes.len();
                bytes[at] = (seed >> 24) as u8;
            }
            // Must return, whatever it says.
            let _ = decode::<Append>(&bytes).and_then(|append| append.request(7));
            let _ = decode::<Opening>(&bytes);
        }
    }
}
