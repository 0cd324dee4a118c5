//! The HTTP API: paths, parameters, JSON and status codes in front of [`drover_server::Server`].
//!
//! It decides nothing: each handler reads a snapshot or makes one call of the server, and lays the result out as
//! clients know it. What is routed stands in one table, [`routes::ROUTES`]; a path that is not in it is answered
//! `no route for`. Left out: ACLs.

pub mod api;
pub mod control;
pub mod relay;
pub mod routes;
pub mod serve;

pub mod options;
pub mod tls;

mod places;

pub mod body;
pub mod call;
pub mod path;
pub mod query;

pub mod blocking;
pub mod compress;
pub mod filtering;
pub mod ids;
pub mod page;
pub mod problem;
pub mod reply;

mod router;

mod agent;
mod allocs;
mod client_files;
mod client_tasks;
mod deployments;
mod evals;
mod events;
mod exec;
mod host;
mod job_launch;
mod job_plan;
mod job_scale;
mod job_statuses;
mod job_tags;
mod job_text;
mod job_write;
mod jobs;
mod join_tokens;
mod logs;
mod measured;
mod metrics;
mod namespaces;
mod nodes;
mod operator;
mod own_agent;
mod region;
mod scaling_policies;
mod scheduler_config;
mod search;
mod snapshot;
mod stats;
mod system;

pub mod state_dump;
pub mod views;

pub use api::{AgentFacts, Api};
pub use control::{AgentControl, LogWanted, Reloading};
pub use options::ServeOptions;
pub use relay::{Forwarder, forward_handler, relay};
pub use router::router;
pub use serve::serve;
pub use tls::{Tls, TlsFiles};
