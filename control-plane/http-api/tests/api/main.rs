//! The API over a real listener and a real server, with a real log on disk. No edge: what edges answer is tested with
//! the whole program.
#![allow(clippy::unwrap_used, reason = "a test that can't go on panics, in its helpers as well")]

mod calls;
mod client;
mod events;
mod jobs;
mod launches;
mod limits;
mod lists;
mod namespaces;
mod own_agent;
mod regions;
mod relay;
mod rollouts;
mod shapes;
mod snapshots;
mod support;
mod tls;
