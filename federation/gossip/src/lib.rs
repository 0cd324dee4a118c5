//! Who is a server of the federation, and which of them are alive: the pure core of the gossip between servers.
//!
//! [`Core`] is handed packets, the time and wishes, and answers with what to send and what has changed ([`Output`]). It has no clock,
//! no socket and no randomness of its own, so that whole federations run in one thread in the tests. What it knows is a
//! [`Directory`]: a list of hints. An address counts once a handshake with it has proved who lives there.
//!
//! The protocol is SWIM as foca has it; only this crate names foca.

pub mod core;
pub mod directory;
pub mod member;
pub mod output;
pub mod settings;

mod departed;
#[cfg(test)]
mod fixture;
mod ident;
mod packet;
mod rng;
mod timers;
mod wire;

pub use core::{Core, ForceLeaveError};
pub use directory::{Directory, RouteError};
pub use member::{Member, MemberError, MemberStatus};
pub use output::{Contact, MemberChange, MemberEvent, Output, Refusal, Sender};
pub use packet::PACKET_MAX;
pub use settings::Settings;
