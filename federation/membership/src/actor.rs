//! The task that runs the core: one loop, one `select`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use drover_gossip::{
    Contact, Core, Directory, ForceLeaveError, Member, MemberChange, MemberEvent, Output, Refusal, Sender,
};
use drover_transport::{Accepted, Candidate, CloseCode, Endpoint, Peer};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::link::sender;
use crate::pool::Pool;

/// Packets that wait for the core.
pub(crate) const PACKETS_MAX: usize = 1024;
/// Wishes that wait for the core.
pub(crate) const WISHES_MAX: usize = 64;
/// Joins that wait for an answer.
const JOINS_MAX: usize = 256;
/// How often one fault of the configuration is logged.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(30);

/// What the handle asks of the task.
pub(crate) enum Wish {
    /// A server was dialled and is to be asked to take this one in.
    Join { peer: Peer, answer: oneshot::Sender<Result<(), Refusal>> },
    /// Say goodbye and end.
    Leave { done: oneshot::Sender<()> },
    /// Make somebody leave.
    ForceLeave { name: String, prune: bool, answer: oneshot::Sender<Result<(), ForceLeaveError>> },
    /// Say something else of this server.
    UpdateOwn(Box<dyn FnOnce(&mut Member) + Send>),
}

pub(crate) struct Actor {
    pub(crate) core: Core,
    pub(crate) pool: Pool,
    pub(crate) endpoint: Endpoint,
    pub(crate) packets: mpsc::Receiver<(Sender, Bytes)>,
    pub(crate) wishes: mpsc::Receiver<Wish>,
    pub(crate) directory: watch::Sender<Arc<Directory>>,
    /// The moment from which the core's time counts.
    pub(crate) began: Instant,
    pub(crate) joins: BTreeMap<Sender, Vec<oneshot::Sender<Result<(), Refusal>>>>,
    pub(crate) leaving: Vec<oneshot::Sender<()>>,
    pub(crate) complained_at: Option<Instant>,
    pub(crate) candidates: Option<mpsc::Sender<Candidate>>,
}

impl Actor {
    /// Runs until this server has left, or nobody holds a handle any more.
    pub(crate) async fn run(mut self) {
        loop {
            let timer = self.core.next_timer().map(|at| self.began + at);
            let mut round = None;
            let out = tokio::select! {
                wish = self.wishes.recv() => match wish {
                    Some(wish) => self.on_wish(wish),
                    None => break,
                },
                Some((from, packet)) = self.packets.recv() => {
                    let now = self.now();
                    self.core.on_packet(now, &from, &packet)
                }
                accepted = self.endpoint.accept() => match accepted {
                    Some(Accepted::Candidate(candidate)) => {
                        // One that finds no place is dropped, which closes its connection: it comes back.
                        if let Some(candidates) = &self.candidates {
                            let _ = candidates.try_send(candidate);
                        }
                        Vec::new()
                    }
                    Some(accepted) => {
                        self.pool.accept(accepted);
                        Vec::new()
                    }
                    // The endpoint was shut down: there is no way to anybody.
                    None => break,
                },
                ended = self.pool.ended() => {
                    self.pool.settle(ended);
                    Vec::new()
                }
                () = sleep_until(timer) => {
                    round = Some(Instant::now());
                    let now = self.now();
                    self.core.on_timer(now)
                }
            };
            let speaks = out.iter().any(|output| matches!(output, Output::Send { .. }));
            self.carry_out(out);
            if let Some(began) = round.filter(|_| speaks) {
                drover_metrics::duration("nomad.memberlist.gossip", &[], began.elapsed());
                drover_metrics::sample("nomad.memberlist.queue.broadcasts", &[], self.core.news_to_tell() as f64);
            }
            if self.core.is_finished() {
                // What was sent last is on its way before the port closes.
                self.endpoint.shutdown(CloseCode::DONE, "this server has left").await;
                break;
            }
        }
        for done in self.leaving {
            let _ = done.send(());
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn on_wish(&mut self, wish: Wish) -> Vec<Output> {
        let now = self.now();
        match wish {
            Wish::Join { peer, answer } => {
                let who = sender(&peer);
                self.joins.values_mut().for_each(|waiting| waiting.retain(|answer| !answer.is_closed()));
                self.joins.retain(|_, waiting| !waiting.is_empty());
                if self.joins.len() < JOINS_MAX {
                    self.joins.entry(who.clone()).or_default().push(answer);
                }
                self.pool.put(&peer, true);
                self.core.join(Contact { region: who.region, id: who.id, address: peer.connection.remote_address() })
            }
            Wish::Leave { done } => {
                self.leaving.push(done);
                self.core.leave(now)
            }
            Wish::ForceLeave { name, prune, answer } => match self.core.force_leave(now, &name, prune) {
                Ok(out) => {
                    let _ = answer.send(Ok(()));
                    out
                }
                Err(error) => {
                    let _ = answer.send(Err(error));
                    Vec::new()
                }
            },
            Wish::UpdateOwn(change) => {
                let mut own = self.core.own();
                change(&mut own);
                self.core.update_own(now, own).unwrap_or_else(|error| {
                    tracing::error!(%error, "this server can't say this of itself");
                    Vec::new()
                })
            }
        }
    }

    fn carry_out(&mut self, out: Vec<Output>) {
        let mut has_changed = false;
        for output in out {
            match output {
                Output::Send { to, packet } => self.pool.send(to, packet),
                Output::Changed(event) => {
                    has_changed |= event.change != MemberChange::Conflict;
                    self.on_event(&event);
                }
                Output::Welcomed(by) => self.answer_joins(&by, || Ok(())),
                Output::Refused { by, why } => {
                    if self.may_complain() {
                        tracing::error!(by = %by.id, %why, "this server is not taken in");
                    }
                    self.answer_joins(&by, || Err(why.clone()));
                }
            }
        }
        if has_changed {
            self.directory.send_replace(Arc::new(self.core.directory()));
        }
    }

    fn answer_joins(&mut self, by: &Sender, answer: impl Fn() -> Result<(), Refusal>) {
        for waiting in self.joins.remove(by).unwrap_or_default() {
            let _ = waiting.send(answer());
        }
    }

    fn on_event(&mut self, event: &MemberEvent) {
        let MemberEvent { change, member } = event;
        let (name, address) = (member.full_name(), member.gossip);
        match change {
            MemberChange::Joined => tracing::info!(%name, %address, "member joined"),
            MemberChange::Updated => tracing::debug!(%name, status = %member.status, "member updated"),
            MemberChange::Left => tracing::info!(%name, %address, "member left"),
            MemberChange::Failed => tracing::warn!(%name, %address, "member failed"),
            MemberChange::Forgotten => tracing::info!(%name, "member forgotten"),
            MemberChange::Conflict => {
                if self.may_complain() {
                    tracing::error!(%name, %address, id = member.id, "two servers have this name");
                }
            }
        }
        if matches!(change, MemberChange::Failed | MemberChange::Left | MemberChange::Forgotten) {
            self.pool.forget(&Sender { region: member.region.clone(), id: member.id.clone() });
        }
    }

    fn may_complain(&mut self) -> bool {
        let may = self.complained_at.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL);
        if may {
            self.complained_at = Some(Instant::now());
        }
        may
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
