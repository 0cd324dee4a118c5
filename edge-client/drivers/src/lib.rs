//! How tasks are run: the [`Driver`] trait and one file per driver.
//!
//! A driver turns what a job file says (`config`) into a process of the supervisor and answers for it. Calls block: who
//! has a runtime makes them on a thread of their own. What a driver does not know: allocs, restarts, events.

pub mod driver;
pub mod task_config;

pub mod container;
pub mod exec;
pub mod qemu;
pub mod raw_exec;

mod container_config;
mod container_plugin;
mod container_spec;
mod denied_ids;
mod qemu_image;
pub mod resolv_conf;
mod tool;

pub mod exits;
pub mod supervised;

pub mod registry;

pub use denied_ids::DeniedIds;
pub use driver::{
    Driver, Exit, Fingerprint, Recovered, StartError, TaskCommand, TaskDevice, TaskDirs, TaskDns, TaskHandle, TaskLogs,
    TaskMount, TaskPort, TaskStart, View,
};
pub use drover_images::ask;
pub use drover_supervisor::{Audited, Session, StartOptions, held_dir, mounts, resident};
pub use registry::{DriverSettings, Drivers, SettingsError};

/// Call this first in `main`: when the process was started as a supervisor, or to unpack an image, it becomes that and never
/// returns.
pub fn main_if_supervisor() {
    drover_images::main_if_unpacker();
    drover_supervisor::main_if_supervisor();
}
