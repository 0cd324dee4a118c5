//! Tests with real processes: agents, clients, tasks. What they share is here.

pub mod cli;
pub mod jobs;
pub mod room;
