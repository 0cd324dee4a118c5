//! A server of a region: wires log, leader duties, edges and the requests of the HTTP API together.
//!
//! It holds the threads, timers and sockets; what is decided is decided in the pure crates below.

pub mod error;
pub mod settings;

pub mod server;
pub mod watch;

pub mod allocs;
pub mod deployments;
pub mod edge_reads;
pub mod forward;
pub mod jobs;
pub mod join_tokens;
pub mod nodes;
pub mod plan;

mod authority;
mod chance;
mod clock;
mod edge_calls;
mod edge_service;
mod enrol_service;
mod host_file;
mod leader_loop;
mod reschedule;

pub use authority::reachable as loopback_of;
pub use error::Error;
pub use server::{Reading, Server};
pub use settings::{ServerInfo, Settings, StartError};
pub use watch::Watch;
