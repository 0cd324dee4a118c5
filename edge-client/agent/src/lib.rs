//! The edge: registers its node, learns what it shall run, runs it, reports, and remembers all of it across restarts.
//!
//! ```text
//! servers <--connection--> agent (one loop) --> runner per alloc --> drivers --> supervisor
//!                            |
//!                          store (fsynced)
//! ```
//! It dials out and never listens. [`EdgeAgent::start`] is all that `drover agent` and `drover-edge` need.

pub mod config;

pub mod logging;
pub mod telemetry;

pub mod agent;
pub mod audit;
pub mod gc;

pub mod connection;
pub mod credentials;
pub mod enrol;
pub mod heartbeats;
pub mod host_servers;
pub mod outbox;
pub mod requests;

pub mod log_files;
pub mod log_stream;

pub mod figures;

pub mod exec_stream;
pub mod files;
pub mod node_stats;
pub mod task_calls;

pub mod node_id;
pub mod store;

mod kept_keys;

mod cloud;
mod cni_plugins;
pub mod devices;
pub mod fingerprint;
pub mod interfaces;
mod kernel_events;
pub mod machine;
pub mod meta;
pub mod networks;
mod own_node;
mod refresh;

pub use agent::{EdgeAgent, EdgeHandle, EdgeStatus, Forwarder};
pub use config::{EdgeConfig, OwnTls, Reserved};
pub use drover_runner::drivers::exec::ExecConfig;
pub use drover_runner::drivers::raw_exec::RawExecConfig;
pub use drover_runner::drivers::resident;

/// Call this first in `main`: a process that was started for one of the edge's own errands never returns from it.
pub fn main_if_supervisor() {
    networks::main_if_removal();
    drover_runner::drivers::main_if_supervisor();
}
