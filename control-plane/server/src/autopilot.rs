//! What a leader does with the servers of its region: take new ones in, let them vote once they have proved steady, forget
//! dead ones, follow those that moved. Pure: it sees, it says what to do; the time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use drover_membership::{Member, MemberStatus};
use drover_model::Timestamp;
use drover_protocol::server::{RegionHealth, ServerHealth};
use drover_state::autopilot::AutopilotConfig;

use crate::links::number_of_text;

/// A server in the log's membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMember {
    /// Its number.
    pub number: u64,
    /// Where the log says that it takes RPCs.
    pub address: String,
    /// It votes.
    pub is_voter: bool,
    /// What the leader has heard of it; none when nothing yet.
    pub contact: Option<Contact>,
}

/// What a leader has heard of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    /// How long ago.
    pub ago: Duration,
    /// Its last entry.
    pub last_index: u64,
}

/// All that a step looks at.
pub struct Seen<'a> {
    /// The leader's own number.
    pub leader: u64,
    /// The leader's term.
    pub term: u64,
    /// The leader's last entry.
    pub last_index: u64,
    /// The log's membership, the leader included.
    pub log: &'a [LogMember],
    /// The region's members by gossip.
    pub members: &'a [Member],
    /// The rules.
    pub config: &'a AutopilotConfig,
    /// On a clock that never jumps.
    pub now: Timestamp,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take a server in; it does not vote yet.
    Add {
        /// Its number.
        number: u64,
        /// Where it takes RPCs.
        address: String,
    },
    /// Let it vote.
    Promote {
        /// Its number.
        number: u64,
    },
    /// Take it out.
    Remove {
        /// Its number.
        number: u64,
    },
    /// It takes RPCs elsewhere now.
    Move {
        /// Its number.
        number: u64,
        /// Where.
        address: String,
    },
}

/// A dead server is forgotten after this many times the time in which a new one proves itself: an ordinary restart must
/// not take its vote.
const DEAD_TIMES: u32 = 3;
/// One that has answered the leader within this time is not dead, whatever gossip says.
const HEARD_LATELY: Duration = Duration::from_secs(2);

/// What a leader remembers from step to step; a new leader begins with nothing.
#[derive(Debug, Default)]
pub struct Autopilot {
    /// Since when each server is as well or unwell as it is.
    since: BTreeMap<u64, (bool, Timestamp)>,
    /// Servers that an operator has taken out: not taken in again while they stay.
    removed: BTreeSet<u64>,
}

impl Autopilot {
    /// An operator has taken this server out.
    pub fn removed_by_operator(&mut self, number: u64) {
        self.removed.insert(number);
    }

    /// Looks at the servers; gives what is to be done now.
    pub fn step(&mut self, seen: &Seen<'_>) -> Vec<Action> {
        let by_number = members_by_number(seen.members);
        self.removed.retain(|number| by_number.get(number).is_some_and(|member| member.status.is_live()));
        self.look(seen, &by_number);
        let mut actions = Vec::new();
        for (number, member) in &by_number {
            let in_log = seen.log.iter().find(|other| other.number == *number);
            let address = member.rpc.to_string();
            match in_log {
                None if member.status == MemberStatus::Alive && !self.removed.contains(number) => {
                    actions.push(Action::Add { number: *number, address });
                }
                Some(known) if member.status == MemberStatus::Alive && known.address != address => {
                    actions.push(Action::Move { number: *number, address });
                }
                _ => {}
            }
        }
        for other in seen.log.iter().filter(|other| !other.is_voter && other.number != seen.leader) {
            if self.is_steady(other.number, seen) {
                actions.push(Action::Promote { number: other.number });
            }
        }
        actions.extend(self.removals(seen, &by_number).into_iter().map(|number| Action::Remove { number }));
        actions
    }

    /// When something may be due although nothing happens: a server has been well for long enough.
    pub fn next_deadline(&self, seen: &Seen<'_>) -> Option<Timestamp> {
        let waiting = seen.log.iter().filter(|other| !other.is_voter);
        let due = waiting.filter_map(|other| match self.since.get(&other.number) {
            Some((true, since)) => Some(since.plus(seen.config.server_stabilization_time)),
            _ => None,
        });
        due.min()
    }

    fn look(&mut self, seen: &Seen<'_>, by_number: &BTreeMap<u64, &Member>) {
        self.since.retain(|number, _| seen.log.iter().any(|other| other.number == *number));
        for other in seen.log {
            let is_healthy = is_healthy(other, by_number.get(&other.number).copied(), seen);
            match self.since.get_mut(&other.number) {
                Some((before, _)) if *before == is_healthy => {}
                _ => {
                    self.since.insert(other.number, (is_healthy, seen.now));
                }
            }
        }
    }

    fn is_steady(&self, number: u64, seen: &Seen<'_>) -> bool {
        match self.since.get(&number) {
            Some((true, since)) => seen.now.since(*since) >= seen.config.server_stabilization_time,
            _ => false,
        }
    }

    /// Servers that are gone: those that said so, and the dead as far as the others stay a safe majority.
    fn removals(&self, seen: &Seen<'_>, by_number: &BTreeMap<u64, &Member>) -> Vec<u64> {
        let status = |number: u64| by_number.get(&number).map(|member| member.status);
        let mut gone = Vec::new();
        let voters = seen.log.iter().filter(|other| other.is_voter).count();
        let dead_max = voters.saturating_sub(1) / 2;
        let mut removed_voters = 0;
        for other in seen.log.iter().filter(|other| other.number != seen.leader) {
            let is_gone = match status(other.number) {
                Some(MemberStatus::Left) => true,
                // Gossip knows nothing of one whose name another has by now: it came back with an empty disk.
                Some(MemberStatus::Failed) | None => seen.config.cleanup_dead_servers && self.is_dead(other, seen),
                Some(MemberStatus::Alive | MemberStatus::Leaving) => false,
            };
            let is_safe = !other.is_voter
                || (removed_voters < dead_max
                    && voters - removed_voters > usize::try_from(seen.config.min_quorum).unwrap_or(usize::MAX));
            if is_gone && is_safe {
                removed_voters += usize::from(other.is_voter);
                gone.push(other.number);
            }
        }
        gone
    }

    /// Gossip has lost it, the log has not heard it either, and both for long enough.
    fn is_dead(&self, other: &LogMember, seen: &Seen<'_>) -> bool {
        let is_heard = other.contact.is_some_and(|contact| contact.ago < HEARD_LATELY);
        let silent_since = match self.since.get(&other.number) {
            Some((false, since)) => *since,
            _ => return false,
        };
        !is_heard && seen.now.since(silent_since) >= seen.config.server_stabilization_time * DEAD_TIMES
    }

    /// How well the servers are. `wall` is now as a date.
    pub fn health(&mut self, seen: &Seen<'_>, wall: Timestamp) -> RegionHealth {
        let by_number = members_by_number(seen.members);
        self.look(seen, &by_number);
        let mut servers: Vec<ServerHealth> = seen
            .log
            .iter()
            .map(|other| {
                let member = by_number.get(&other.number);
                let (is_healthy, since) = self.since.get(&other.number).copied().unwrap_or((false, seen.now));
                let own = other.number == seen.leader;
                let contact = if own {
                    Some(Contact { ago: Duration::ZERO, last_index: seen.last_index })
                } else {
                    other.contact
                };
                ServerHealth {
                    id: member.map(|member| member.id.clone()).unwrap_or_default(),
                    name: member.map(|member| member.full_name()).unwrap_or_default(),
                    address: other.address.clone(),
                    status: member.map_or("none", |member| member.status.as_str()).to_owned(),
                    version: member.map(|member| member.version.clone()).unwrap_or_default(),
                    is_leader: own,
                    is_voter: other.is_voter,
                    is_healthy,
                    last_contact: contact.map(|contact| contact.ago),
                    last_term: seen.term,
                    last_index: contact.map_or(0, |contact| contact.last_index),
                    stable_since: wall.0.saturating_sub(i64::try_from(seen.now.since(since).as_nanos()).unwrap_or(0)),
                }
            })
            .collect();
        servers.sort_by(|a, b| a.id.cmp(&b.id));
        let voters = servers.iter().filter(|server| server.is_voter).count();
        let well = servers.iter().filter(|server| server.is_voter && server.is_healthy).count();
        let quorum = voters / 2 + 1;
        RegionHealth {
            is_healthy: servers.iter().all(|server| server.is_healthy),
            failure_tolerance: well.saturating_sub(quorum),
            servers,
        }
    }
}

fn members_by_number(members: &[Member]) -> BTreeMap<u64, &Member> {
    let mut by_number: BTreeMap<u64, &Member> = BTreeMap::new();
    for member in members {
        let Some(number) = number_of_text(&member.id) else { continue };
        // A server that came back under another name is two members: the one that lives counts.
        let replace = by_number.get(&number).is_none_or(|other| {
            (member.status.is_live(), member.incarnation) > (other.status.is_live(), other.incarnation)
        });
        if replace {
            by_number.insert(number, member);
        }
    }
    by_number
}

fn is_healthy(other: &LogMember, member: Option<&Member>, seen: &Seen<'_>) -> bool {
    if member.is_none_or(|member| member.status != MemberStatus::Alive) {
        return false;
    }
    if other.number == seen.leader {
        return true;
    }
    other.contact.is_some_and(|contact| {
        contact.ago <= seen.config.last_contact_threshold
            && seen.last_index.saturating_sub(contact.last_index) <= seen.config.max_trailing_logs
    })
}

#[cfg(test)]
mod tests;
