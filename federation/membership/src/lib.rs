//! The gossip between servers as the rest of drover uses it: who is there, joining, leaving.
//!
//! [`Membership`] runs the pure core (`drover-gossip`) on a task, over QUIC connections of the protocol `gossip`. Nobody but a server
//! of the federation, proved by its certificate, gets a packet in; what members say of others is a hint.

mod actor;
mod handle;
mod join;
mod key;
mod link;
mod pool;

pub use drover_gossip::{Directory, Member, MemberError, MemberStatus, RouteError};
pub use handle::{ADDRESSES_MAX, ForceLeaveError, Membership, Options};
pub use join::{GOSSIP_PORT, JoinError, Joined, RetryJoin, RetryJoinError, Unanswered, resolve};
pub use key::{KeyError, gossip_key};
