//! How tasks are run: the [`Driver`] trait and one file per driver.
//!
//! A driver turns what a job file says (`config`) into a process of the supervisor and answers for it. Calls block: who
//! has a runtime makes them on a thread of their own. What a driver does not know: allocs, restarts, events.

pub mod driver;
pub mod task_config;

pub mod exec;
pub mod raw_exec;

pub mod exits;
pub mod supervised;

pub mod registry;

pub use driver::{
    Driver, Exit, Fingerprint, Recovered, StartError, TaskCommand, TaskDirs, TaskHandle, TaskLogs, TaskStart, View,
};
pub use drover_supervisor::{Session, StartOptions, held_dir, main_if_supervisor, mounts};
pub use registry::Drivers;
