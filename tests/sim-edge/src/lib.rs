//! Simulated edges: thousands of nodes in one process, for measures and tests of servers.
//!
//! Each has an identity, a certificate, a UDP port and a connection of its own, and speaks the real protocol with the edge
//! agent's own code: it enrols, registers, sends heartbeats, follows its assignments, reports, renews and reconnects. What it lacks
//! is tasks: [`work`] decides at once what became of an alloc.

pub mod fleet;
pub mod work;

pub use fleet::{Fleet, FleetSettings};
