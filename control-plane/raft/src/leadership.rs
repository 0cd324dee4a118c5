//! Who leads, from raft's metrics; the watch over raft's death; and rest for a server that is alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{ChangeMembers, Instant as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::machine::OF_LATER;
use crate::members::{self, RaftMember};
use crate::pace::Pace;
use crate::types::{Metrics, Raft, TypeConfig};

/// Who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader's number and RPC address. Nothing when none was heard just now, or when this server would lead and its
    /// quorum is silent.
    pub leader: Option<(u64, String)>,
    /// It is this server, and a quorum has answered it just now.
    pub is_leader: bool,
    /// The term.
    pub term: u64,
}

/// True when the region has no server but this one: nobody has to hear that it lives.
fn is_alone(metrics: &Metrics) -> bool {
    let members = metrics.membership_config.membership();
    members.nodes().count() == 1 && members.voter_ids().eq([metrics.id])
}

/// Until when this server leads, from what its quorum has said. Nothing when it does not lead.
fn leads_until(metrics: &Metrics, pace: Pace) -> Option<Instant> {
    if metrics.current_leader != Some(metrics.id) || !metrics.state.is_leader() {
        return None;
    }
    if metrics.membership_config.membership().voter_ids().eq([metrics.id]) {
        // Its own word is its quorum.
        return Some(Instant::now() + Duration::from_secs(3600));
    }
    let silence = metrics.last_quorum_acked.as_ref()?.elapsed();
    Instant::now().checked_sub(silence).map(|acked| acked + pace.quorum_silence_max())
}

/// What `follow` knows of this server.
pub struct Own {
    /// Where it takes RPCs.
    pub address: String,
    /// How fast a leader is missed.
    pub pace: Pace,
}

/// Turns raft's metrics into who leads and who belongs to the region, and watches for its death.
pub fn follow(
    raft: &Raft,
    own: Own,
    mut heard: watch::Receiver<Option<Instant>>,
    stopping: Arc<AtomicBool>,
    fatal: impl FnOnce(String) + Send + 'static,
) -> (watch::Receiver<Leadership>, watch::Receiver<Vec<RaftMember>>) {
    let (leadership, leadership_receiver) = watch::channel(Leadership::default());
    let (members, members_receiver) = watch::channel(Vec::new());
    let raft = raft.clone();
    tokio::spawn(async move {
        let mut metrics = raft.metrics();
        let (mut is_ticking, mut led) = (true, false);
        let reason = loop {
            let now = metrics.borrow_watched().clone();
            if let Err(error) = &now.running_state
                && !(matches!(error, Fatal::Stopped) && stopping.load(Ordering::Relaxed))
            {
                break Some(match error {
                    Fatal::StorageError(error) if error.to_string().contains(OF_LATER) => {
                        format!("the log can't be applied: {error}")
                    }
                    Fatal::StorageError(error) => format!("the log's disk has failed: {error}"),
                    other => other.to_string(),
                });
            }
            let until = leads_until(&now, own.pace);
            let is_leader = until.is_some_and(|until| until > Instant::now());
            // Raft itself never forgets a leader before it hears of another.
            let known_until = if now.current_leader == Some(now.id) {
                until
            } else {
                heard.borrow_and_update().map(|at| at + own.pace.leader_silence_max())
            };
            let is_known = known_until.is_some_and(|until| until > Instant::now());
            let leader = now.current_leader.filter(|_| is_known);
            let leader = leader.map(|id| (id, members::address_of(&now, id, &own.address)));
            set(&leadership, Leadership { leader, is_leader, term: now.current_term });
            set(&members, members::of(&now, &own.address));
            // A leader that is alone has nobody to send heartbeats to and no rival to watch for: raft's clock, which wakes
            // a hundred times a second, rests until somebody joins.
            let shall_tick = !(is_leader && is_alone(&now));
            if shall_tick != is_ticking {
                raft.runtime_config().tick(shall_tick);
                is_ticking = shall_tick;
            }
            if is_leader && !led && members::is_half_way(&now) {
                tokio::spawn(end_half_change(raft.clone()));
            }
            led = is_leader;
            let silence = async {
                match known_until.filter(|_| is_known) {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                is_there = changed(&mut metrics, &now, is_leader) => if !is_there {
                    // The core is gone. It says so before it goes, unless it was told to or it panicked.
                    break (!stopping.load(Ordering::Relaxed)).then(|| "raft's core has ended".to_owned());
                },
                () = silence => {}
                // A sender that is gone goes with raft itself, whose end the metrics tell.
                Ok(()) = heard.changed(), if !is_known && !is_leader => {}
            }
        };
        leadership.send_modify(|now| *now = Leadership { leader: None, is_leader: false, term: now.term });
        if let Some(reason) = reason {
            fatal(reason);
        }
    });
    (leadership_receiver, members_receiver)
}

/// Waits until raft says something else than `seen` about who leads and who belongs; the quorum's word only until this server
/// leads by it. False when raft is gone. Raft counts every step of every entry in the same place: who looked at all of it each time would take part in
/// every write.
async fn changed(metrics: &mut WatchReceiverOf<TypeConfig, Metrics>, seen: &Metrics, is_leader: bool) -> bool {
    while metrics.changed().await.is_ok() {
        let now = metrics.borrow_watched();
        let is_same = now.running_state == seen.running_state
            && now.current_term == seen.current_term
            && now.current_leader == seen.current_leader
            && now.state == seen.state
            && now.membership_config == seen.membership_config
            && now.committed_membership_config == seen.committed_membership_config;
        if !is_same || (seen.state.is_leader() && !is_leader) {
            return true;
        }
    }
    false
}

/// A leader that died half-way through a change of members leaves two sets of voters behind, and both must agree to
/// everything: its successor goes on to the second.
async fn end_half_change(raft: Raft) {
    // The empty change is openraft's way to say so. Without a quorum it waits, and ends when this server leads no more.
    if let Err(error) = raft.change_membership(ChangeMembers::AddVoterIds(BTreeSet::new()), false).await {
        tracing::warn!(%error, "a change of members is still half-way");
    }
}

fn set<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|current| {
        let changed = *current != value;
        *current = value;
        changed
    });
}
