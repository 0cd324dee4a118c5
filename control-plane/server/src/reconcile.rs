//! The leader looks after the servers of its region: drives [`crate::autopilot`], and does what operators ask of the log's
//! membership.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drover_protocol::server::{FromPeer, RegionHealth, ToPeer};
use drover_state::Command;
use drover_state::autopilot::AutopilotConfig;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::autopilot::{Action, Autopilot, Contact, LogMember, Seen};
use crate::clock;
use crate::error::Error;
use crate::links::number_of_text;
use crate::server::Server;

/// How often a leader looks how well the others follow.
const LOOK: Duration = Duration::from_secs(1);
/// How long a new server may take to catch up before others are looked after; it goes on after that.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);
/// The longest time for one change of the log's membership.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(20);
/// How long the goodbye of a server that leaves may take.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(5);

/// What the leader remembers, shared with those who ask for it.
#[derive(Default)]
pub struct Reconcile {
    autopilot: Mutex<Autopilot>,
    nudge: Notify,
}

impl Reconcile {
    fn with<T>(&self, f: impl FnOnce(&mut Autopilot) -> T) -> T {
        f(&mut self.autopilot.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A server as the log's membership has it, with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: String,
    /// Its name among the members; its address while gossip does not know it.
    pub name: String,
    /// Where it takes RPCs.
    pub address: String,
    /// It leads.
    pub is_leader: bool,
    /// It votes.
    pub is_voter: bool,
}

/// Runs for as long as the server does; idle while another leads.
pub async fn run(server: Server) {
    let mut leadership = server.inner.raft.leadership();
    loop {
        if leadership.wait_for(|now| now.is_leader).await.is_err() {
            return;
        }
        let term = leadership.borrow().term;
        server.inner.reconcile.with(|autopilot| *autopilot = Autopilot::default());
        tokio::select! {
            () = lead(&server) => return,
            result = leadership.wait_for(|now| !now.is_leader || now.term != term) => if result.is_err() { return },
        }
    }
}

async fn lead(server: &Server) {
    let mut directory = server.inner.membership.watch();
    loop {
        directory.mark_unchanged();
        let actions = server.with_seen(|autopilot, seen| autopilot.step(seen));
        for action in actions {
            perform(server, action).await;
        }
        let is_alone = server.fellows().is_empty();
        tokio::select! {
            changed = directory.changed() => if changed.is_err() { return },
            () = server.inner.reconcile.nudge.notified() => {}
            () = tokio::time::sleep(LOOK), if !is_alone => {}
        }
    }
}

async fn perform(server: &Server, action: Action) {
    let raft = &server.inner.raft;
    let change = async {
        match &action {
            Action::Add { number, address } => raft.add_learner(*number, address, CATCH_UP_MAX).await,
            Action::Promote { number } => raft.promote(*number).await,
            Action::Remove { number } => raft.remove(*number).await,
            Action::Move { number, address } => raft.update_address(*number, address).await,
        }
    };
    let (number, change_name) = match &action {
        Action::Add { number, .. } => (*number, "taken in, without a vote yet"),
        Action::Promote { number } => (*number, "votes"),
        Action::Remove { number } => (*number, "taken out"),
        Action::Move { number, .. } => (*number, "has a new address"),
    };
    let directory = server.inner.membership.directory();
    let members = directory.of_region(&server.inner.info.region).iter();
    let known = members.filter(|member| number_of_text(&member.id) == Some(number));
    let known = known.max_by_key(|member| (member.status.is_live(), member.incarnation));
    let name = known.map_or_else(|| id_of_number(number), |member| member.full_name());
    match timeout(CHANGE_TIME_MAX, change).await {
        Ok(Ok(())) => tracing::info!(server = %name, change = change_name, "servers of the region changed"),
        Ok(Err(error)) => {
            tracing::warn!(server = %name, change = change_name, %error, "servers of the region not changed, trying again");
        }
        Err(_) => {
            tracing::warn!(server = %name, change = change_name, "servers of the region not changed in time, trying again");
        }
    }
}

impl Server {
    fn with_seen<T>(&self, f: impl FnOnce(&mut Autopilot, &Seen<'_>) -> T) -> T {
        let raft = &self.inner.raft;
        let progress = raft.progress();
        let peers = progress.as_ref().map(|progress| progress.peers.as_slice()).unwrap_or_default();
        let log: Vec<LogMember> = raft
            .members()
            .into_iter()
            .map(|member| LogMember {
                number: member.number,
                address: member.address,
                is_voter: member.is_voter,
                contact: peers
                    .iter()
                    .find(|known| known.number == member.number)
                    .and_then(|known| Some(Contact { ago: known.since_contact?, last_index: known.last_index })),
            })
            .collect();
        let directory = self.inner.membership.directory();
        let mut config = AutopilotConfig::clone(&self.autopilot_config());
        // A slow pace is no illness: two heartbeats may be late.
        config.last_contact_threshold =
            config.last_contact_threshold.max(self.inner.settings.raft_pace.heartbeat() * 3);
        let seen = Seen {
            leader: self.inner.number,
            term: progress.as_ref().map_or(0, |progress| progress.term),
            last_index: progress.as_ref().map_or(0, |progress| progress.last_index),
            log: &log,
            members: directory.of_region(&self.inner.info.region),
            config: &config,
            now: clock::steady(),
        };
        self.inner.reconcile.with(|autopilot| f(autopilot, &seen))
    }

    /// The rules for looking after servers: those that were set, else this server's own.
    pub fn autopilot_config(&self) -> Arc<AutopilotConfig> {
        let snapshot = self.reading().snapshot;
        snapshot.autopilot().cloned().unwrap_or_else(|| Arc::new(self.inner.settings.autopilot.clone()))
    }

    /// Sets the rules; false when they have another index than `cas`.
    ///
    /// # Errors
    /// Nobody leads.
    pub async fn set_autopilot_config(&self, config: AutopilotConfig, cas: Option<u64>) -> Result<bool, Error> {
        match self.propose(Command::SetAutopilotConfig { config: Box::new(config), cas }).await {
            Ok(_) => {
                self.inner.reconcile.nudge.notify_one();
                Ok(true)
            }
            Err(Error::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How well the servers are; none when this server does not lead.
    pub(crate) fn health_here(&self) -> Option<RegionHealth> {
        self.is_leader().then(|| self.with_seen(|autopilot, seen| autopilot.health(seen, clock::now())))
    }

    /// The servers in the log's membership, as this server has it.
    pub fn raft_peers(&self) -> Vec<Peer> {
        let directory = self.inner.membership.directory();
        let members = directory.of_region(&self.inner.info.region);
        let leader = self.inner.raft.leadership().borrow().leader.as_ref().map(|(number, _)| *number);
        let mut peers: Vec<Peer> = self
            .inner
            .raft
            .members()
            .into_iter()
            .map(|peer| {
                let of_number = members.iter().filter(|member| number_of_text(&member.id) == Some(peer.number));
                let known = of_number.max_by_key(|member| (member.status.is_live(), member.incarnation));
                Peer {
                    id: known.map_or_else(|| id_of_number(peer.number), |member| member.id.clone()),
                    name: known.map_or_else(|| "(unknown)".to_owned(), |member| member.full_name()),
                    address: peer.address,
                    is_leader: leader == Some(peer.number),
                    is_voter: peer.is_voter,
                }
            })
            .collect();
        peers.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        peers
    }

    fn number_in_log(&self, id: &str) -> Result<u64, Error> {
        let unknown = || Error::NotFound(format!("id \"{id}\" was not found in the Raft configuration"));
        let number = number_of_text(id).ok_or_else(unknown)?;
        let is_known = self.inner.raft.members().iter().any(|member| member.number == number);
        if is_known { Ok(number) } else { Err(unknown()) }
    }

    /// Takes a server out of the log's membership. One that lives is not taken in again before it was away.
    ///
    /// # Errors
    /// It is not in it, or nobody leads.
    pub async fn remove_server(&self, id: &str) -> Result<(), Error> {
        self.number_in_log(id)?;
        if self.is_leader() {
            return self.remove_server_here(id).await;
        }
        self.ask_leader(&ToPeer::RemoveServer { id: id.to_owned() }, LEAVE_TIME_MAX)
            .await
            .map_err(Error::from)
            .map(drop)
    }

    pub(crate) async fn remove_server_here(&self, id: &str) -> Result<(), Error> {
        let number = self.number_in_log(id)?;
        self.inner.reconcile.with(|autopilot| autopilot.removed_by_operator(number));
        self.inner.raft.remove(number).await.map_err(Error::from)
    }

    /// Hands leadership to that server, or to any that is fit.
    ///
    /// # Errors
    /// It is not in the log's membership, can't lead, or nobody leads.
    pub async fn transfer_leadership(&self, to: Option<&str>) -> Result<(), Error> {
        if let Some(id) = to {
            self.number_in_log(id)?;
        }
        if self.is_leader() {
            return self.transfer_leadership_here(to).await;
        }
        let request = ToPeer::TransferLeadership { to: to.map(str::to_owned) };
        match self.ask_leader(&request, LEAVE_TIME_MAX).await? {
            FromPeer::Done => Ok(()),
            _ => Err(crate::peer_service::unexpected()),
        }
    }

    pub(crate) async fn transfer_leadership_here(&self, to: Option<&str>) -> Result<(), Error> {
        let number = to.map(|id| self.number_in_log(id)).transpose()?;
        if number == Some(self.inner.number) {
            return Ok(());
        }
        self.inner.raft.transfer_leadership(number).await.map_err(Error::from).map(drop)
    }

    /// Leaves the region for good: out of the log, out of gossip. The server is to be stopped then.
    pub async fn leave(&self) {
        self.hand_over().await;
        let id = self.inner.info.id.clone();
        if !self.fellows().is_empty() && !self.is_leader() {
            match timeout(LEAVE_TIME_MAX, self.remove_server(&id)).await {
                Ok(Ok(())) => tracing::info!("left the region's log"),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "this server stays in the region's log until it is cleaned up")
                }
                Err(_) => tracing::warn!("this server stays in the region's log until it is cleaned up"),
            }
        }
        if timeout(LEAVE_TIME_MAX, self.inner.membership.leave()).await.is_err() {
            tracing::warn!("the goodbye was not sent in time");
        }
    }
}

/// An id with that number, for a server of which gossip knows nothing.
fn id_of_number(number: u64) -> String {
    let digits = format!("{number:016x}");
    format!("{}-{}-{}-0000-000000000000", &digits[..8], &digits[8..12], &digits[12..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_server_has_an_id_that_leads_back_to_its_number() {
        let number = 0x0123_4567_89ab_cdef;
        assert_eq!(number_of_text(&id_of_number(number)), Some(number));
    }
}
