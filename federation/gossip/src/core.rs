//! The core: foca, what is kept beside it, and what comes in and goes out.
//!
//! ```text
//!            join/Here          silence, suspicion           72 h
//!  unknown ------------> alive --------------------> failed ------> forgotten
//!                         | ^                          | |
//!                 goodbye | | a higher incarnation     | | force-leave
//!                         v |                          v v   24 h
//!                        left <------------------------left ------> forgotten
//! ```
//!
//! Foca calls a member down for good, per identity. One that is back has a higher incarnation: because its clock has moved on, because
//! it hears that it was called down, or because it is told so when it asks to be taken in.

use std::time::Duration;

use foca::{AccumulatingRuntime, Foca, NoCustomBroadcast, OwnedNotification, State};

use crate::departed::Departed;
use crate::directory::Directory;
use crate::ident::{Ident, Key};
use crate::member::{Member, MemberError, MemberStatus};
use crate::output::{Contact, MemberChange, MemberEvent, Output};
use crate::packet;
use crate::rng::Dice;
use crate::settings::Settings;
use crate::timers::{Due, Timers};
use crate::wire::Wire;

mod incoming;

/// How often a goodbye is said, and the time between two of them.
const FAREWELLS: u32 = 4;
const FAREWELL_INTERVAL: Duration = Duration::from_millis(100);
/// A process that is later than this was stopped: the time does not count, or answers that came meanwhile would count as silence.
const LATE_MAX: Duration = Duration::from_secs(1);
/// How often those who are gone for long are looked for.
const REAP_INTERVAL: Duration = Duration::from_secs(60);

type Swim = Foca<Ident, Wire, Dice, NoCustomBroadcast>;

/// One server's part in the gossip. See the module's documentation for a member's life.
pub struct Core {
    foca: Swim,
    timers: Timers,
    departed: Departed,
    settings: Settings,
    dice: Dice,
    has_said_goodbye: bool,
    is_finished: bool,
}

/// Why a member was not made to leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForceLeaveError {
    /// There is no such member, or a bare name fits several.
    #[error("no member is named {0:?}")]
    Unknown(String),
    /// It is this server.
    #[error("{0:?} is this server")]
    Own(String),
}

impl Core {
    /// A server that knows nobody yet. `now` is counted from any moment, the same for every call.
    pub fn new(own: Member, settings: Settings, now: Duration) -> Result<Core, MemberError> {
        own.check()?;
        let (swim, dice) = (Dice::new(settings.seed), Dice::new(settings.seed ^ 0x5eed));
        let foca = Foca::new(Ident::new(own), settings.foca(), swim, Wire);
        let mut timers = Timers::default();
        timers.add(now + settings.sync_interval, Due::Sync);
        timers.add(now + settings.reconnect_interval, Due::Reconnect);
        timers.add(now + REAP_INTERVAL, Due::Reap);
        let departed = Departed::default();
        Ok(Core { foca, timers, departed, settings, dice, has_said_goodbye: false, is_finished: false })
    }

    /// What this server says of itself.
    pub fn own(&self) -> Member {
        let own = self.foca.identity();
        own.with_status(if self.is_finished { MemberStatus::Left } else { own.live_status() })
    }

    /// Everybody who is known, this server included.
    pub fn directory(&self) -> Directory {
        let live = self.foca.iter_members().map(|member| member.id().with_status(member.id().live_status()));
        let departed = self.departed.iter().map(|ident| ident.with_status(ident.departed_status()));
        Directory::new(live.chain(departed).chain([self.own()]).collect())
    }

    /// When [`Core::on_timer`] is wanted next.
    pub fn next_timer(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// How many pieces of news are still being told to the others.
    pub fn news_to_tell(&self) -> usize {
        self.foca.updates_backlog()
    }

    /// Whether the goodbye was said as often as it is going to be.
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Does what is due. Being late is no harm: after a long stop, what is due begins its time anew.
    pub fn on_timer(&mut self, now: Duration) -> Vec<Output> {
        let mut out = Vec::new();
        let late = self.timers.next().map_or(Duration::ZERO, |due| now.saturating_sub(due));
        if late > LATE_MAX {
            self.timers.put_off(late);
        }
        while let Some(due) = self.timers.pop(now) {
            match due {
                Due::Foca(timer) => self.with_foca(now, &mut out, |foca, runtime| foca.handle_timer(timer, runtime)),
                Due::Sync => {
                    self.timers.add(now + self.settings.sync_interval, Due::Sync);
                    let live = self.foca.iter_members().map(|member| member.id().contact()).collect();
                    self.dice.pick(live).into_iter().for_each(|to| self.ask(to, &mut out));
                }
                Due::Reconnect => {
                    self.timers.add(now + self.settings.reconnect_interval, Due::Reconnect);
                    let failed = self.departed.failed().into_iter().map(Ident::contact).collect();
                    self.dice.pick(failed).into_iter().for_each(|to| self.ask(to, &mut out));
                }
                Due::Reap => {
                    self.timers.add(now + REAP_INTERVAL, Due::Reap);
                    let over = self.departed.reap(now, self.settings.failed_max, self.settings.left_max);
                    out.extend(over.into_iter().map(|member| changed(MemberChange::Forgotten, member)));
                }
                Due::Farewell { left } => {
                    self.with_foca(now, &mut out, |foca, runtime| foca.gossip(runtime));
                    match left.checked_sub(1) {
                        Some(left) => self.timers.add(now + FAREWELL_INTERVAL, Due::Farewell { left }),
                        None => {
                            self.is_finished = true;
                            out.push(changed(MemberChange::Left, self.own()));
                        }
                    }
                }
            }
        }
        out
    }

    /// Asks a server to take this one in. The answer is [`Output::Welcomed`] or [`Output::Refused`], or none.
    pub fn join(&mut self, to: Contact) -> Vec<Output> {
        let mut out = Vec::new();
        if !self.has_said_goodbye {
            self.ask(to, &mut out);
        }
        out
    }

    /// Says goodbye, which takes some timers more: [`Core::is_finished`].
    pub fn leave(&mut self, now: Duration) -> Vec<Output> {
        let mut out = Vec::new();
        if self.has_said_goodbye {
            return out;
        }
        let own = Ident { is_leaving: true, ..self.foca.identity().next() };
        self.has_said_goodbye = true;
        self.take_on(now, own, &mut out);
        self.timers.clear();
        self.with_foca(now, &mut out, |foca, runtime| foca.leave_cluster(runtime));
        self.timers.add(now + FAREWELL_INTERVAL, Due::Farewell { left: FAREWELLS });
        out
    }

    /// Declares a member gone for good, by its name or `name.region`. With `prune` everybody forgets it. One that is alive objects
    /// and stays.
    pub fn force_leave(&mut self, now: Duration, name: &str, prune: bool) -> Result<Vec<Output>, ForceLeaveError> {
        let directory = self.directory();
        let unknown = || ForceLeaveError::Unknown(name.to_owned());
        let member = directory.find_display(name).ok_or_else(unknown)?;
        let key = Ident::new(member.clone()).key();
        if key == self.foca.identity().key() {
            return Err(ForceLeaveError::Own(name.to_owned()));
        }
        let known = self.known(&key).map(|known| known.id().clone());
        let known = known.or_else(|| self.departed.get(&key).cloned()).ok_or_else(unknown)?;
        let gone = Ident { is_leaving: true, is_pruned: prune, ..known.next() };
        let mut out = Vec::new();
        let news = foca::Member::down(gone.clone());
        self.with_foca(now, &mut out, |foca, runtime| foca.apply_many([news].into_iter(), true, runtime));
        self.depart(now, gone, &mut out);
        self.with_foca(now, &mut out, |foca, runtime| foca.gossip(runtime));
        Ok(out)
    }

    /// Changes what this server says of itself and tells the others. Name, region, id, gossip address and incarnation in `own` do not
    /// count: they stay.
    pub fn update_own(&mut self, now: Duration, own: Member) -> Result<Vec<Output>, MemberError> {
        let ident = self.foca.identity().clone();
        let Member { name, region, id, gossip, incarnation, status, .. } = (*ident.member).clone();
        let member = Member { name, region, id, gossip, incarnation, status, ..own };
        member.check()?;
        let mut out = Vec::new();
        if member != *ident.member && !self.has_said_goodbye {
            self.take_on(now, Ident { member: member.into(), ..ident }.next(), &mut out);
        }
        Ok(out)
    }

    /// Takes on another identity and tells of it.
    fn take_on(&mut self, now: Duration, own: Ident, out: &mut Vec<Output>) {
        self.with_foca(now, out, |foca, runtime| foca.change_identity(own, runtime));
        // Foca stands still after this until something comes in. It need not: the members are the same.
        self.with_foca(now, out, |foca, runtime| foca.apply_many(std::iter::empty(), false, runtime));
        out.push(changed(MemberChange::Updated, self.own()));
    }

    fn ask(&self, to: Contact, out: &mut Vec<Output>) {
        out.push(Output::Send { to, packet: packet::join(self.foca.identity()) });
    }

    /// What foca knows of a member, alive or down.
    fn known(&self, key: &Key) -> Option<&foca::Member<Ident>> {
        self.foca.iter_membership_state().find(|member| member.id().key() == *key)
    }

    /// The same, if it answers.
    fn alive(&self, key: &Key) -> Option<&foca::Member<Ident>> {
        self.known(key).filter(|member| member.state() != State::Down)
    }

    /// Remembers a member that is gone, and tells of it if that is news.
    fn depart(&mut self, now: Duration, gone: Ident, out: &mut Vec<Output>) {
        let key = gone.key();
        let before = self.departed.get(&key).map(|ident| (ident.departed_status(), ident.is_pruned));
        let member = gone.with_status(gone.departed_status());
        let (is_pruned, status) = (gone.is_pruned, gone.departed_status());
        if is_pruned {
            self.departed.remove(&key);
            out.push(changed(MemberChange::Forgotten, member));
            return;
        }
        self.departed.insert(gone, now);
        if before != Some((status, false)) {
            let change = if status == MemberStatus::Left { MemberChange::Left } else { MemberChange::Failed };
            out.push(changed(change, member));
        }
    }

    /// Runs something of foca's and does what it wants done.
    fn with_foca(
        &mut self,
        now: Duration,
        out: &mut Vec<Output>,
        run: impl FnOnce(&mut Swim, &mut AccumulatingRuntime<Ident>) -> Result<(), foca::Error>,
    ) {
        let mut runtime = AccumulatingRuntime::new();
        // An error leaves the members as they were. Packets are checked before foca sees them, and timers are its own; what is left
        // is a message between two that have just changed.
        let _ = run(&mut self.foca, &mut runtime);
        while let Some((to, data)) = runtime.to_send() {
            out.push(Output::Send { to: to.contact(), packet: packet::swim(&data) });
        }
        while let Some((after, timer)) = runtime.to_schedule() {
            self.timers.add(now + after, Due::Foca(timer));
        }
        while let Some(note) = runtime.to_notify() {
            self.on_note(now, note, out);
        }
    }

    fn on_note(&mut self, now: Duration, note: OwnedNotification<Ident>, out: &mut Vec<Output>) {
        match note {
            OwnedNotification::MemberUp(ident) => {
                self.departed.remove(&ident.key());
                out.push(changed(MemberChange::Joined, ident.with_status(ident.live_status())));
            }
            OwnedNotification::MemberDown(ident) => self.depart(now, ident, out),
            OwnedNotification::Rename(_, ident) => {
                // One that is down is followed by news of its own, if it comes back.
                if self.alive(&ident.key()).is_some() && self.departed.get(&ident.key()).is_none() {
                    out.push(changed(MemberChange::Updated, ident.with_status(ident.live_status())));
                }
            }
            OwnedNotification::Rejoin(_) => out.push(changed(MemberChange::Updated, self.own())),
            OwnedNotification::Active | OwnedNotification::Idle | OwnedNotification::Defunct => {}
        }
    }
}

fn changed(change: MemberChange, member: Member) -> Output {
    Output::Changed(MemberEvent { change, member })
}
