//! A member as foca knows it: everything it says of itself, in a total order of newness.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::member::{INCARNATION_MAX, Member, MemberStatus};
use crate::output::Contact;

/// One state of one member. A change of any field is another identity, with a higher incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ident {
    /// It says, or was declared, to be going: its end is no failure.
    pub(crate) is_leaving: bool,
    /// Whoever sees it end forgets it at once.
    pub(crate) is_pruned: bool,
    /// The facts. Invariant: its status is `Alive`, whatever is true, so that equal facts are equal.
    pub(crate) member: Arc<Member>,
    /// Fields of a later version that this one does not know: handed on as they came.
    pub(crate) extra: Vec<u8>,
}

impl Ident {
    pub(crate) fn new(member: Member) -> Ident {
        let member = Member { status: MemberStatus::Alive, ..member };
        Ident { is_leaving: false, is_pruned: false, member: Arc::new(member), extra: Vec::new() }
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.member.incarnation
    }

    pub(crate) fn key(&self) -> Key {
        Key(self.member.clone())
    }

    pub(crate) fn with_incarnation(&self, incarnation: u64) -> Ident {
        let member = Member { incarnation: incarnation.min(INCARNATION_MAX), ..(*self.member).clone() };
        Ident { member: Arc::new(member), ..self.clone() }
    }

    /// The identity that follows this one.
    pub(crate) fn next(&self) -> Ident {
        self.with_incarnation(self.incarnation().saturating_add(1))
    }

    pub(crate) fn with_status(&self, status: MemberStatus) -> Member {
        Member { status, ..(*self.member).clone() }
    }

    /// How a member that answers is.
    pub(crate) fn live_status(&self) -> MemberStatus {
        if self.is_leaving { MemberStatus::Leaving } else { MemberStatus::Alive }
    }

    /// How a member that answers no more is.
    pub(crate) fn departed_status(&self) -> MemberStatus {
        if self.is_leaving { MemberStatus::Left } else { MemberStatus::Failed }
    }

    pub(crate) fn contact(&self) -> Contact {
        let Member { region, id, gossip, .. } = &*self.member;
        Contact { region: region.clone(), id: id.clone(), address: *gossip }
    }
}

impl Ord for Ident {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |ident: &Ident| (ident.incarnation(), ident.is_pruned, ident.is_leaving);
        // Two that differ and have one incarnation come from a fault; what follows only makes everybody choose the same.
        rank(self)
            .cmp(&rank(other))
            .then_with(|| self.member.cmp(&other.member))
            .then_with(|| self.extra.cmp(&other.extra))
    }
}

impl PartialOrd for Ident {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl foca::Identity for Ident {
    type Addr = Key;

    /// The others believe that this server is down: it comes back as its next identity, unless it has said goodbye.
    fn renew(&self) -> Option<Ident> {
        (!self.is_leaving && self.incarnation() < INCARNATION_MAX).then(|| self.next())
    }

    fn addr(&self) -> Key {
        self.key()
    }

    fn win_addr_conflict(&self, adversary: &Ident) -> bool {
        self > adversary
    }
}

/// What makes a member the same one over all its identities: region and name.
#[derive(Debug, Clone)]
pub(crate) struct Key(Arc<Member>);

impl Key {
    fn parts(&self) -> (&str, &str) {
        (&self.0.region, &self.0.name)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Key {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
