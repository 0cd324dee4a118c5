//! Tests with real processes: agents, clients, tasks. What they share is here.

pub mod acked;
pub mod cli;
pub mod dice;
pub mod guest;
pub mod history;
pub mod image_server;
pub mod jobs;
pub mod region;
pub mod room;
pub mod supervisors;
pub mod writers;
