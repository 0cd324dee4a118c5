//! What the core wants done, and what it has to tell.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::member::Member;

/// Whom to send something: the server with this id in its certificate, by a connection that exists or by dialling the address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contact {
    /// Its region, as its certificate must say.
    pub region: String,
    /// Its id, as its certificate must say.
    pub id: String,
    /// Where it takes gossip.
    pub address: SocketAddr,
}

/// Who has sent a packet, as a handshake has proved it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    /// The region in its certificate.
    pub region: String,
    /// The id in its certificate.
    pub id: String,
}

/// One thing to do or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes. They may get lost; nothing is to be retried.
    Send {
        /// To whom.
        to: Contact,
        /// What.
        packet: Bytes,
    },
    /// Something is known that was not.
    Changed(MemberEvent),
    /// This server has taken us in, in answer to a join.
    Welcomed(Sender),
    /// This server does not take us in.
    Refused {
        /// Who.
        by: Sender,
        /// Why.
        why: Refusal,
    },
}

/// Why a server was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A member of this name lives, under another id.
    #[error("another server of this name and region is a member, at {at}")]
    NameTaken {
        /// Where it lives.
        at: SocketAddr,
    },
}

/// What happened to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberChange {
    /// It is there, for the first time or again.
    Joined,
    /// It says something else of itself. Its status may be `Leaving` now.
    Updated,
    /// It said goodbye and is gone, or was declared gone.
    Left,
    /// It does not answer.
    Failed,
    /// It was gone for long and is forgotten.
    Forgotten,
    /// Somebody speaks of a second server of its name and region, which is not believed while the first one lives.
    Conflict,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberEvent {
    /// What.
    pub change: MemberChange,
    /// To whom, as it is now.
    pub member: Member,
}
