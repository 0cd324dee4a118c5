//! A server of a region: wires log, leader duties, edges and the requests of the HTTP API together.
//!
//! It holds the threads, timers and sockets; what is decided is decided in the pure crates below.

pub mod error;
pub mod settings;

pub mod server;
pub mod watch;

pub mod event_buffer;

pub mod allocs;
pub mod deployments;
pub mod edge_reads;
pub mod forward;
pub mod job_tags;
pub mod jobs;
pub mod join_tokens;
pub mod launches;
pub mod namespaces;
pub mod nodes;
pub mod plan;
pub mod scaling;
pub mod scheduler_config;
pub mod snapshots;

pub mod kept_snapshots;

pub mod autopilot;
pub mod forming;
pub mod reconcile;

pub mod metrics;

mod accept;
mod authority;
mod chance;
mod clock;
mod copied;
mod edge_calls;
mod edge_service;
mod ended;
pub mod endpoints;
mod enrol_service;
mod founded;
mod garbage;
mod host_file;
mod joining;
mod leader_loop;
mod leader_wait;
mod links;
pub mod own_tls;
mod peer_calls;
mod peer_service;
mod raft_links;
mod region;
pub mod region_forward;
mod region_renewal;
mod region_token;
mod reschedule;
mod usable_token;
mod waiting_tokens;

pub use authority::reachable as loopback_of;
pub use drover_membership::{Member, MemberStatus, gossip_key};
pub use drover_raft::{LogLength, Pace, snapshot_interval};
pub use drover_state::autopilot::AutopilotConfig;
pub use drover_state::scheduler_config::{PreemptionConfig, SchedulerAlgorithm, SchedulerConfig};
pub use error::Error;
pub use server::{Reading, Server};
pub use settings::{JoinSettings, ServerInfo, Settings, StartError};
pub use watch::Watch;
