//! What comes in: who may say it, and which of it is believed.

use std::time::Duration;

use super::{Core, changed};
use crate::ident::Ident;
use crate::member::Member;
use crate::output::{Contact, MemberChange, Output, Refusal, Sender};
use crate::packet::{self, Packet, Swim};
use foca::{Message, State};

/// The most members, alive or down, that are believed to exist. More would be no federation but an attack.
const MEMBERS_MAX: usize = 1024;

/// What is to be done with a piece of news.
enum Judged {
    Believe,
    Ignore,
    /// It speaks of this server as gone, or as something newer than it is: come back above that.
    Outdo(u64),
    /// It speaks of a second server with the name of this one.
    Conflict(Box<Member>),
}

impl Core {
    /// Reads a packet that `from` has sent, as its handshake has proved. Anything that is not as it should be changes nothing.
    pub fn on_packet(&mut self, now: Duration, from: &Sender, bytes: &[u8]) -> Vec<Output> {
        let mut out = Vec::new();
        let Ok(packet) = packet::read(bytes) else { return out };
        if self.has_said_goodbye {
            return out;
        }
        match packet {
            Packet::Swim(swim) => self.on_swim(now, from, swim, &mut out),
            Packet::Join(ident) => {
                if self.admit(from, &ident, &mut out) {
                    self.believe_alive(now, ident.clone(), &mut out);
                    let packet = packet::welcome(self.foca.identity(), &self.everybody_but(&ident));
                    out.push(Output::Send { to: ident.contact(), packet });
                }
            }
            Packet::Here(ident) => {
                if self.admit(from, &ident, &mut out) {
                    self.believe_alive(now, ident, &mut out);
                }
            }
            Packet::Welcome { own, known } => {
                if self.admit(from, &own, &mut out) {
                    self.believe_alive(now, own, &mut out);
                    self.on_known(now, known, &mut out);
                    out.push(Output::Welcomed(from.clone()));
                }
            }
            Packet::Stale { incarnation, is_down, by } => {
                let own = self.foca.identity().incarnation();
                if incarnation > own || (incarnation == own && is_down) {
                    self.outdo(now, incarnation, &mut out);
                    // Whoever said so is asked again, as the one that this server is now.
                    let Sender { region, id } = from.clone();
                    self.ask(Contact { region, id, address: by }, &mut out);
                }
            }
            Packet::NameTaken { at } => {
                out.push(Output::Refused { by: from.clone(), why: Refusal::NameTaken { at } });
            }
        }
        out
    }

    /// Whether `ident` may speak: it is who the handshake has proved, its name is not that of another server that lives, and it is not
    /// older than what is known of it. It is told why not, where it can do something about it.
    fn admit(&self, from: &Sender, ident: &Ident, out: &mut Vec<Output>) -> bool {
        if !is_proved(from, ident) {
            return false;
        }
        let member = &*ident.member;
        let own = self.foca.identity();
        let key = ident.key();
        let mut answer = |packet| out.push(Output::Send { to: ident.contact(), packet });
        if key == own.key() {
            if member.id != own.member.id {
                answer(packet::name_taken(own.member.gossip));
            }
            return false;
        }
        let Some(known) = self.known(&key) else {
            return self.foca.iter_membership_state().len() < MEMBERS_MAX;
        };
        let is_down = known.state() == State::Down;
        if !is_down && known.id().member.id != member.id {
            answer(packet::name_taken(known.id().member.gossip));
            return false;
        }
        if known.id() > ident || (known.id() == ident && is_down) {
            answer(packet::stale(known, own.member.gossip));
            return false;
        }
        true
    }

    fn believe_alive(&mut self, now: Duration, ident: Ident, out: &mut Vec<Output>) {
        let news = foca::Member::alive(ident);
        self.with_foca(now, out, |foca, runtime| foca.apply_many([news].into_iter(), true, runtime));
    }

    /// Those whom a new member should know, first those who live.
    fn everybody_but(&self, ident: &Ident) -> Vec<foca::Member<Ident>> {
        let live = self.foca.iter_members().filter(|member| member.id().key() != ident.key()).cloned();
        live.chain(self.departed.iter().cloned().map(foca::Member::down)).collect()
    }

    fn on_known(&mut self, now: Duration, known: Vec<foca::Member<Ident>>, out: &mut Vec<Output>) {
        for member in known {
            if !self.weigh(now, &member, out) {
                continue;
            }
            if member.state() != State::Down {
                self.with_foca(now, out, |foca, runtime| foca.apply_many([member].into_iter(), true, runtime));
            } else if self.known(&member.id().key()).is_none() {
                // Only who is unknown here is taken over as gone: nobody dies by a list.
                self.depart(now, member.id().clone(), out);
            }
        }
    }

    fn on_swim(&mut self, now: Duration, from: &Sender, mut swim: Swim<'_>, out: &mut Vec<Output>) {
        let mut complaints = Vec::new();
        if !self.admit(from, &swim.header.src, &mut complaints) {
            // Two who call each other down would complain for ever: who is told that it is down believes it of one it calls down itself.
            let says_down = swim.header.message == Message::TurnUndead && is_proved(from, &swim.header.src);
            let known = self.known(&swim.header.src.key()).is_some_and(|known| *known.id() == swim.header.src);
            if !(says_down && known) {
                out.extend(complaints);
                return;
            }
        }
        let own = self.foca.identity();
        if swim.header.dst != *own {
            if swim.header.dst.key() == own.key() {
                let packet = packet::here(own);
                out.push(Output::Send { to: swim.header.src.contact(), packet });
            }
            return;
        }
        // Nobody makes this server send to, and so dial, an address that it would not send to by itself.
        if let Message::PingReq { target, .. } | Message::IndirectAck { target, .. } = &swim.header.message
            && self.alive(&target.key()).is_none_or(|known| known.id() != target)
        {
            return;
        }
        let updates = std::mem::take(&mut swim.updates);
        swim.updates = updates.into_iter().filter(|(member, _)| self.weigh(now, member, out)).collect();
        let bytes = swim.to_bytes();
        self.with_foca(now, out, |foca, runtime| foca.handle_data(&bytes, runtime));
    }

    /// Whether a piece of news is for foca; what else it means is done here.
    fn weigh(&mut self, now: Duration, news: &foca::Member<Ident>, out: &mut Vec<Output>) -> bool {
        match self.judge(news) {
            Judged::Believe => {
                let key = news.id().key();
                if news.state() == State::Down && self.departed.get(&key).is_some_and(|known| known < news.id()) {
                    self.depart(now, news.id().clone(), out);
                }
                true
            }
            Judged::Ignore => false,
            Judged::Outdo(incarnation) => {
                let (own, other) = (&self.foca.identity().member, &news.id().member);
                // Who runs on a copy of this server's data says that it is this server, elsewhere and later.
                if other.gossip != own.gossip && other.id == own.id && news.state() == State::Alive {
                    out.push(changed(MemberChange::Conflict, news.id().with_status(news.id().live_status())));
                }
                self.outdo(now, incarnation, out);
                false
            }
            Judged::Conflict(member) => {
                out.push(changed(MemberChange::Conflict, *member));
                false
            }
        }
    }

    fn judge(&self, news: &foca::Member<Ident>) -> Judged {
        let (own, ident) = (self.foca.identity(), news.id());
        let is_down = news.state() == State::Down;
        if ident.key() == own.key() {
            return match () {
                () if ident == own => Judged::Believe,
                () if ident.member.id != own.member.id && !is_down => {
                    Judged::Conflict(Box::new(ident.with_status(ident.live_status())))
                }
                () if ident.incarnation() >= own.incarnation() => Judged::Outdo(ident.incarnation()),
                () => Judged::Ignore,
            };
        }
        let Some(known) = self.known(&ident.key()) else {
            let has_place = self.foca.iter_membership_state().len() < MEMBERS_MAX;
            return if has_place { Judged::Believe } else { Judged::Ignore };
        };
        let other_lives = known.state() != State::Down && known.id().member.id != ident.member.id;
        match (other_lives, is_down) {
            (false, _) => Judged::Believe,
            (true, false) => Judged::Conflict(Box::new(ident.with_status(ident.live_status()))),
            // An earlier server of this name is gone; that is nothing to the one that lives.
            (true, true) => Judged::Ignore,
        }
    }

    fn outdo(&mut self, now: Duration, incarnation: u64, out: &mut Vec<Output>) {
        let next = self.foca.identity().with_incarnation(incarnation).next();
        if next.incarnation() > self.foca.identity().incarnation() {
            self.take_on(now, next, out);
        }
    }
}

/// Whether the handshake has proved that it is `ident` who speaks.
fn is_proved(from: &Sender, ident: &Ident) -> bool {
    ident.member.region == from.region && ident.member.id == from.id
}
