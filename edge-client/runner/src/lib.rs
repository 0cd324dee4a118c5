//! The life of one alloc and its tasks on an edge.
//!
//! [`decide`] says what to do next and touches nothing; [`alloc_runner`] does it, by hooks and drivers, and tells what
//! became of it. Nobody polls: exits, timers and the servers' wishes wake the runner.

pub mod decide;

pub mod task_config;
pub mod task_env;

pub mod alloc_dir;
pub mod hooks;

pub mod clock;
pub mod signal;

pub mod alloc_runner;
pub mod exec;
mod on_disk;
pub mod previous;
pub mod start;
mod starting;

pub use drover_drivers as drivers;
pub use drover_network as networks;

pub use alloc_runner::{AllocHandle, Edge, Journal, Report, count_missing, spawn};
pub use decide::actual::AllocActual;
pub use decide::wanted::Wanted;
