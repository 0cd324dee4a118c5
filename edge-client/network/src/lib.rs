//! Networks of allocs on an edge: a namespace each, wires to one bridge of the node, addresses, and ports of the host that
//! lead inside.
//!
//! Everything is asked of the kernel directly: no program of the host is needed. Knows allocs by their ids only; what a job
//! wants of its network is settled by the caller.

#![deny(unsafe_code)]

mod netlink;

mod link;
mod namespace;
mod nft;
mod subnet;

mod bridge;
mod conntrack;
mod networks;
mod rules;

mod probe;
mod published;
mod taken_ports;

pub use networks::{Connected, Forward, Mode, NetworkError, Networks, Request, Settings};
pub use probe::probe;
pub use published::{Published, published_elsewhere};
pub use subnet::{DEFAULT_RANGE, InvalidSubnet, Subnet};
pub use taken_ports::{Holder, Taken, holder};
