//! Writing to the region's log and reading what is surely in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drover_state::{Answer, Command, command};
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::{LinearizerOption, ReadPolicy};
use tokio::time::timeout;

use crate::measured;
use crate::node::{COMMAND_BYTES_MAX, RaftNode};
use crate::types::{Outcome, Proposal, TypeConfig};

/// How often a proposal is tried again when a new leader has not heard its quorum yet.
const LEASE_RETRIES_MAX: u32 = 20;
const LEASE_RETRY_WAIT: Duration = Duration::from_millis(5);
/// How long a proposal may take.
const PROPOSE_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a read may wait for the quorum and for its own state.
const READ_WAIT_MAX: Duration = Duration::from_secs(5);

/// Why a proposal was not committed, or nobody knows whether it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another server leads, or none. Nothing was written.
    #[error("this server does not lead")]
    NotLeader {
        /// The leader's RPC address, when known.
        leader: Option<String>,
    },
    /// The command is longer than the log takes.
    #[error("command of {len} bytes is over the limit of {COMMAND_BYTES_MAX}")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// It was written, but leadership was lost or time ran out before it was committed: it may still be, or never.
    #[error("nobody knows whether it was committed: {reason}")]
    Undecided {
        /// What happened.
        reason: String,
    },
    /// Raft has died; the process is about to end.
    #[error("raft has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

impl RaftNode {
    /// Commits a command and applies it; gives its index, as the state counts it, and its answer.
    ///
    /// # Errors
    /// This server does not lead, the command is too long, nobody knows, or raft has stopped. A refusal by the state is
    /// an answer.
    pub async fn propose(&self, command: &Command) -> Result<(u64, Answer), ProposeError> {
        let (_, outcome) = self.commit_encoded(command::encode(command).into()).await?;
        Ok((outcome.index, outcome.answer))
    }

    /// As [`Self::propose`], for a command that another server has encoded (`drover_state::command::encode`), which waits
    /// until its own state has applied it.
    ///
    /// # Errors
    /// As [`Self::propose`].
    pub async fn propose_encoded(&self, bytes: Arc<[u8]>) -> Result<(u64, Answer), ProposeError> {
        let (log_index, outcome) = self.commit_encoded(bytes).await?;
        self.network().hurry(log_index);
        Ok((outcome.index, outcome.answer))
    }

    async fn commit_encoded(&self, bytes: Arc<[u8]>) -> Result<(u64, Outcome), ProposeError> {
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLong { len: bytes.len() });
        }
        self.commit(Proposal::Command(bytes)).await
    }

    /// Commits an entry; gives its index in the log and what came of it.
    pub(crate) async fn commit(&self, proposal: Proposal) -> Result<(u64, Outcome), ProposeError> {
        let (mut retries, began) = (0, Instant::now());
        loop {
            let Ok(written) = timeout(PROPOSE_WAIT_MAX, self.raft().client_write(proposal.clone())).await else {
                return Err(ProposeError::Undecided { reason: format!("no quorum in {PROPOSE_WAIT_MAX:?}") });
            };
            match written {
                Ok(response) => {
                    measured::committed(began.elapsed());
                    return Ok((response.log_id.index, response.data));
                }
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                    // A new leader has no lease until a quorum has answered it once: that is no missing leader.
                    let own_lease = forward.leader_id.is_none() && self.raft().is_leader();
                    if own_lease && retries < LEASE_RETRIES_MAX {
                        retries += 1;
                        tokio::time::sleep(LEASE_RETRY_WAIT).await;
                        continue;
                    }
                    return Err(ProposeError::NotLeader { leader: forward.leader_node.map(|node| node.addr) });
                }
                Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => {
                    return Err(ProposeError::Undecided { reason: "leadership was lost".to_owned() });
                }
                Err(error) => return Err(ProposeError::Stopped { reason: error.to_string() }),
            }
        }
    }

    /// Waits until a read of [`Self::snapshot`] sees every write that was acknowledged before this call.
    ///
    /// # Errors
    /// This server does not lead or has lost its quorum, or raft has stopped. On a follower use [`Self::wait_applied`]
    /// with the leader's [`Self::read_index`].
    pub async fn read_barrier(&self) -> Result<(), ProposeError> {
        let index = self.own_read_index().await?;
        match self.wait_applied(index, READ_WAIT_MAX).await {
            true => Ok(()),
            false => Err(ProposeError::NotLeader { leader: None }),
        }
    }

    /// The log index that a state must have applied, on any server, to hold every write that was acknowledged before
    /// this call.
    ///
    /// # Errors
    /// This server does not lead or has lost its quorum, or raft has stopped.
    pub async fn read_index(&self) -> Result<u64, ProposeError> {
        let index = self.own_read_index().await?;
        // Whoever asks for it waits for it.
        self.network().hurry(index);
        Ok(index)
    }

    /// The same for this server's own reads, for which nobody else has to hear of anything.
    async fn own_read_index(&self) -> Result<u64, ProposeError> {
        let age_max = self.settings().pace.lease_read_age_max();
        let fresh = LinearizerOption::new(Some(age_max), false).with_wait_timeout(Duration::ZERO);
        let asked = async {
            if !self.awake().has_slept_within(age_max)
                && let Ok(read) = self.raft().get_read_log_id(fresh).await
            {
                return Ok(read);
            }
            // The quorum has not spoken just now: ask it.
            self.raft().get_read_log_id(ReadPolicy::ReadIndex).await
        };
        match timeout(READ_WAIT_MAX, asked).await {
            Ok(Ok((read, _))) => Ok(read.index()),
            Ok(Err(error)) => Err(read_error(error)),
            Err(_) => Err(ProposeError::NotLeader { leader: None }),
        }
    }

    /// Waits until this server's state has applied the entry at a log index; false when that takes longer than `wait`.
    pub async fn wait_applied(&self, index: u64, wait: Duration) -> bool {
        let mut applied = self.applied();
        timeout(wait, applied.wait_for(|applied| *applied >= index)).await.is_ok_and(|result| result.is_ok())
    }

    /// As [`Self::wait_applied`], for an index that [`Self::propose`] gave, here or on another server.
    pub async fn wait_shown(&self, index: u64, wait: Duration) -> bool {
        let mut shown = self.shown();
        timeout(wait, shown.wait_for(|shown| *shown >= index)).await.is_ok_and(|result| result.is_ok())
    }
}

fn read_error(error: RaftError<TypeConfig, LinearizableReadError<TypeConfig>>) -> ProposeError {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
            ProposeError::NotLeader { leader: forward.leader_node.map(|node| node.addr) }
        }
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => ProposeError::NotLeader { leader: None },
        RaftError::Fatal(error) => ProposeError::Stopped { reason: error.to_string() },
    }
}
