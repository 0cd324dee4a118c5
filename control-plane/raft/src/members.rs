//! The servers of the region as the log has them, and changes to them. Changes are made by the leader, one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, InitializeError, RaftError};
use openraft::{BasicNode, ChangeMembers, Instant as _};
use tokio::time::{Instant, timeout, timeout_at};

use crate::node::RaftNode;
use crate::origin;
use crate::types::{Metrics, TypeConfig};

/// How long a change of members may take.
const CHANGE_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long the next leader may take.
const TRANSFER_WAIT_MAX: Duration = Duration::from_secs(8);
/// A learner this close behind the log is caught up.
const CAUGHT_UP_ENTRIES: u64 = 1000;
/// Servers of one region, at most.
const MEMBERS_MAX: usize = 64;

/// A server of the region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftMember {
    /// Its number.
    pub number: u64,
    /// Where it takes RPCs.
    pub address: String,
    /// Its vote counts.
    pub is_voter: bool,
    /// It leads.
    pub is_leader: bool,
}

/// How far another server is, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// Its number.
    pub number: u64,
    /// The last log index that it is known to have on disk.
    pub last_index: u64,
    /// How long ago it last answered; nothing when it never has.
    pub since_contact: Option<Duration>,
}

/// How far the region is, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The term.
    pub term: u64,
    /// The leader's own last log index.
    pub last_index: u64,
    /// All servers but the leader.
    pub peers: Vec<PeerProgress>,
}

/// Why a change of members was not made, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// Another server leads, or none.
    #[error("this server does not lead")]
    NotLeader {
        /// The leader's RPC address, when known.
        leader: Option<String>,
    },
    /// Another change is under way.
    #[error("another change of members is under way")]
    InProgress,
    /// There is no such server.
    #[error("server {number} does not belong to the region")]
    Unknown {
        /// Which.
        number: u64,
    },
    /// The region would be left without a voter.
    #[error("server {number} is the last voter")]
    LastVoter {
        /// Which.
        number: u64,
    },
    /// There are too many.
    #[error("the region has {MEMBERS_MAX} servers already")]
    TooMany,
    /// The new server has not caught up in time. It stays a learner.
    #[error("server {number} has not caught up in {waited:?}")]
    Behind {
        /// Which.
        number: u64,
        /// How long it had.
        waited: Duration,
    },
    /// There is nobody who could lead.
    #[error("no other voter could lead")]
    NoSuccessor,
    /// Raft does not allow it.
    #[error("raft does not allow it: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// It was begun and is not known to have ended.
    #[error("nobody knows whether it was done: {reason}")]
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

/// Where a server takes RPCs. The log knows the address of the first start, this server its own of today.
pub fn address_of(metrics: &Metrics, number: u64, own_address: &str) -> String {
    if number == metrics.id {
        return own_address.to_owned();
    }
    metrics.membership_config.membership().get_node(&number).map(|node| node.addr.clone()).unwrap_or_default()
}

/// The servers of the region.
pub fn of(metrics: &Metrics, own_address: &str) -> Vec<RaftMember> {
    let members = metrics.membership_config.membership();
    let voters: BTreeSet<u64> = members.voter_ids().collect();
    let member = |number: &u64| RaftMember {
        number: *number,
        address: address_of(metrics, *number, own_address),
        is_voter: voters.contains(number),
        is_leader: metrics.current_leader == Some(*number),
    };
    members.nodes().map(|(number, _)| member(number)).collect()
}

/// True between the two steps of a change: the old and the new voters both count.
pub fn is_half_way(metrics: &Metrics) -> bool {
    metrics.membership_config.membership().get_joint_config().len() > 1
}

impl RaftNode {
    /// Forms a region of this server alone, unless it is part of one already.
    ///
    /// # Errors
    /// Raft has stopped.
    pub async fn bootstrap(&self) -> Result<(), MemberError> {
        let settings = self.settings();
        self.initialize(BTreeMap::from([(settings.node_id, settings.address.clone())])).await
    }

    /// Forms a region of these servers, by number and RPC address. All of them may say so, with the same servers; a
    /// server that is part of a region already takes no notice.
    ///
    /// # Errors
    /// This server is not among them, or raft has stopped.
    pub async fn initialize(&self, members: BTreeMap<u64, String>) -> Result<(), MemberError> {
        let mark = origin::of(members.keys().copied());
        let members: BTreeMap<u64, BasicNode> =
            members.into_iter().map(|(number, addr)| (number, BasicNode { addr })).collect();
        let _one = self.origin().adopting().await;
        let before = self.origin().known();
        if self.is_initialized().await? {
            return Ok(());
        }
        if before.is_some_and(|before| before != mark) {
            let reason = "this server takes part in another region of this name".to_owned();
            return Err(MemberError::Refused { reason });
        }
        // The first candidate may speak before this returns.
        self.origin().show(Some(mark));
        let initialized = self.raft().initialize(members).await;
        if initialized.is_err() {
            self.origin().show(before);
        }
        match initialized {
            Ok(()) => {
                let kept = self.origin().keep(mark).await;
                kept.map_err(|error| MemberError::Stopped { reason: error.to_string() })
            }
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(error)) => Err(MemberError::Refused { reason: error.to_string() }),
            Err(RaftError::Fatal(error)) => Err(MemberError::Stopped { reason: error.to_string() }),
        }
    }

    /// True when this server is part of a region: its log has begun.
    ///
    /// # Errors
    /// Raft has stopped.
    pub async fn is_initialized(&self) -> Result<bool, MemberError> {
        let is_initialized = self.raft().is_initialized().await;
        is_initialized.map_err(|error| MemberError::Stopped { reason: error.to_string() })
    }

    fn metrics(&self) -> Metrics {
        self.raft().metrics().borrow_watched().clone()
    }

    /// The servers of the region.
    pub fn members(&self) -> Vec<RaftMember> {
        of(&self.metrics(), &self.settings().address)
    }

    /// How far the other servers are. Nothing when this server does not lead.
    pub fn progress(&self) -> Option<Progress> {
        let metrics = self.metrics();
        let (replication, heard) = (metrics.replication.as_ref()?, metrics.heartbeat.as_ref()?);
        let peers = replication.iter().filter(|(number, _)| **number != metrics.id);
        let progress = |(number, last): (&u64, &Option<crate::types::LogId>)| PeerProgress {
            number: *number,
            last_index: last.map_or(0, |id| id.index),
            since_contact: heard.get(number).and_then(Option::as_ref).map(|at| at.elapsed()),
        };
        Some(Progress {
            term: metrics.current_term,
            last_index: metrics.last_log_index.unwrap_or(0),
            peers: peers.map(progress).collect(),
        })
    }

    /// Adds a server whose vote does not count, and waits until it has caught up, at most `catch_up`. One that belongs to
    /// the region already stays what it is.
    ///
    /// # Errors
    /// This server does not lead, the change was not made, or the new one is [`MemberError::Behind`].
    pub async fn add_learner(&self, number: u64, address: &str, catch_up: Duration) -> Result<(), MemberError> {
        let members = self.members();
        if members.len() >= MEMBERS_MAX && !members.iter().any(|member| member.number == number) {
            return Err(MemberError::TooMany);
        }
        // One that can't be asked is as likely new as not; it would refuse every entry if it is not.
        if let Ok(false) = self.network().could_belong(number, address).await {
            let reason =
                format!("server {number} belongs to another region of this name, which was formed apart from this one");
            return Err(MemberError::Refused { reason });
        }
        let node = BasicNode { addr: address.to_owned() };
        self.bounded(|| self.raft().add_learner(number, node.clone(), false)).await?;
        self.wait_caught_up(number, catch_up).await
    }

    async fn wait_caught_up(&self, number: u64, wait: Duration) -> Result<(), MemberError> {
        let deadline = Instant::now() + wait;
        let mut metrics = self.raft().metrics();
        loop {
            {
                let now = metrics.borrow_watched();
                let Some(replication) = &now.replication else { return Err(MemberError::NotLeader { leader: None }) };
                let has = replication.get(&number).copied().flatten().map(|id| id.index);
                let wants = now.last_log_index.unwrap_or(0).saturating_sub(CAUGHT_UP_ENTRIES);
                if number == now.id || has.is_some_and(|has| has >= wants) {
                    return Ok(());
                }
            }
            match timeout_at(deadline, metrics.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(MemberError::Stopped { reason: "its core has ended".to_owned() }),
                Err(_) => return Err(MemberError::Behind { number, waited: wait }),
            }
        }
    }

    /// Lets a learner's vote count.
    ///
    /// # Errors
    /// This server does not lead, there is no such server, or the change was not made.
    pub async fn promote(&self, number: u64) -> Result<(), MemberError> {
        match self.member(number)?.is_voter {
            true => Ok(()),
            false => self.change(ChangeMembers::AddVoterIds(BTreeSet::from([number])), true).await,
        }
    }

    /// Lets a voter's vote count no longer; it stays as a learner.
    ///
    /// # Errors
    /// This server does not lead, there is no such server, it is the last voter, or the change was not made.
    pub async fn demote(&self, number: u64) -> Result<(), MemberError> {
        match self.member(number)?.is_voter {
            false => Ok(()),
            true => {
                self.check_not_last(number)?;
                self.change(ChangeMembers::RemoveVoters(BTreeSet::from([number])), true).await
            }
        }
    }

    /// Takes a server out of the region. A leader that takes out itself leads until that is committed.
    ///
    /// # Errors
    /// This server does not lead, there is no such server, it is the last voter, or the change was not made.
    pub async fn remove(&self, number: u64) -> Result<(), MemberError> {
        let one = BTreeSet::from([number]);
        match self.member(number)?.is_voter {
            false => self.change(ChangeMembers::RemoveNodes(one), false).await,
            true => {
                self.check_not_last(number)?;
                self.change(ChangeMembers::RemoveVoters(one), false).await
            }
        }
    }

    /// Writes down where a server takes RPCs now.
    ///
    /// # Errors
    /// This server does not lead, there is no such server, or the change was not made.
    pub async fn update_address(&self, number: u64, address: &str) -> Result<(), MemberError> {
        self.member(number)?;
        let metrics = self.metrics();
        let known = metrics.membership_config.membership().get_node(&number).map(|node| node.addr.as_str());
        if known == Some(address) {
            return Ok(());
        }
        let node = BasicNode { addr: address.to_owned() };
        self.change(ChangeMembers::SetNodes(BTreeMap::from([(number, node)])), true).await
    }

    fn member(&self, number: u64) -> Result<RaftMember, MemberError> {
        let found = self.members().into_iter().find(|member| member.number == number);
        found.ok_or(MemberError::Unknown { number })
    }

    fn check_not_last(&self, number: u64) -> Result<(), MemberError> {
        let others = self.members().into_iter().filter(|member| member.is_voter && member.number != number);
        if others.count() == 0 { Err(MemberError::LastVoter { number }) } else { Ok(()) }
    }

    async fn change(&self, change: ChangeMembers<u64, BasicNode>, retain: bool) -> Result<(), MemberError> {
        self.bounded(|| self.raft().change_membership(change.clone(), retain)).await
    }

    /// Makes a change as soon as no other is under way; the wait for both has an end.
    async fn bounded<T, F>(&self, change: impl Fn() -> F) -> Result<(), MemberError>
    where
        F: Future<Output = Result<T, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>>,
    {
        let deadline = Instant::now() + CHANGE_WAIT_MAX;
        loop {
            let mut metrics = self.raft().metrics();
            let undecided = |_| MemberError::Undecided { reason: format!("no quorum in {CHANGE_WAIT_MAX:?}") };
            match timeout_at(deadline, change()).await.map_err(undecided)? {
                Ok(_) => return Ok(()),
                Err(error) => match member_error(error) {
                    MemberError::InProgress => {}
                    other => return Err(other),
                },
            }
            // A region that was just formed has not committed its first members; another change may be half-way.
            let settled = async {
                loop {
                    {
                        let now = metrics.borrow_watched();
                        if now.membership_config == now.committed_membership_config && !is_half_way(&now) {
                            return true;
                        }
                    }
                    if metrics.changed().await.is_err() {
                        return false;
                    }
                }
            };
            match timeout_at(deadline, settled).await {
                Ok(true) => {}
                Ok(false) => return Err(MemberError::Stopped { reason: "its core has ended".to_owned() }),
                Err(_) => return Err(MemberError::InProgress),
            }
        }
    }

    /// Hands leadership to a voter, to the one that is furthest when none is named; gives its number. Writes are refused
    /// meanwhile, for a few milliseconds.
    ///
    /// # Errors
    /// This server does not lead, the named server is no voter, nobody else could lead, or nobody took it in time.
    pub async fn transfer_leadership(&self, to: Option<u64>) -> Result<u64, MemberError> {
        if !self.leadership().borrow().is_leader {
            return Err(MemberError::NotLeader { leader: self.leader_address() });
        }
        let own = self.settings().node_id;
        let to = match to {
            Some(number) if number == own => return Ok(own),
            Some(number) if self.member(number)?.is_voter => number,
            Some(number) => {
                return Err(MemberError::Refused { reason: format!("server {number} has no vote") });
            }
            None => self.best_successor().ok_or(MemberError::NoSuccessor)?,
        };
        let stopped = |error: openraft::errors::Fatal<TypeConfig>| MemberError::Stopped { reason: error.to_string() };
        let mut metrics = self.raft().metrics();
        self.raft().trigger().transfer_leader(to).await.map_err(stopped)?;
        let taken = async {
            loop {
                let leader = metrics.borrow_watched().current_leader.filter(|leader| *leader != own);
                if let Some(leader) = leader {
                    return Some(leader);
                }
                metrics.changed().await.ok()?;
            }
        };
        match timeout(TRANSFER_WAIT_MAX, taken).await {
            Ok(Some(leader)) => Ok(leader),
            Ok(None) => Err(MemberError::Stopped { reason: "its core has ended".to_owned() }),
            Err(_) => Err(MemberError::Undecided { reason: format!("nobody leads after {TRANSFER_WAIT_MAX:?}") }),
        }
    }

    fn leader_address(&self) -> Option<String> {
        self.leadership().borrow().leader.as_ref().map(|(_, address)| address.clone())
    }

    /// The voter that is furthest; of several, the one heard last. One that was not heard for as long as a leader is missed is gone,
    /// for all anybody knows: to wait until it leads would only hold up who asks.
    fn best_successor(&self) -> Option<u64> {
        let voters: BTreeSet<u64> =
            self.members().into_iter().filter(|member| member.is_voter).map(|member| member.number).collect();
        let peers = self.progress()?.peers.into_iter().filter(|peer| voters.contains(&peer.number));
        let recent = self.settings().pace.leader_silence_max();
        let heard = peers.filter(|peer| peer.since_contact.is_some_and(|silence| silence < recent));
        heard.max_by_key(|peer| (peer.last_index, std::cmp::Reverse(peer.since_contact))).map(|peer| peer.number)
    }
}

fn member_error(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> MemberError {
    match error {
        RaftError::Fatal(error) => MemberError::Stopped { reason: error.to_string() },
        RaftError::APIError(error) => match error {
            ClientWriteError::ForwardToLeader(forward) => {
                MemberError::NotLeader { leader: forward.leader_node.map(|node| node.addr) }
            }
            ClientWriteError::LogEntryDiscarded(_) => {
                MemberError::Undecided { reason: "leadership was lost".to_owned() }
            }
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => MemberError::InProgress,
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::LearnerNotFound(error)) => {
                MemberError::Unknown { number: error.node_id }
            }
            other => MemberError::Refused { reason: other.to_string() },
        },
    }
}
