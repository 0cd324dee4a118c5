//! The small process that owns an edge's tasks, and the client with which the agent talks to it.
//!
//! One supervisor per edge agent: the same binary, executed again before any runtime exists. It spawns tasks, holds
//! their log pipes, reaps them and keeps exit codes until they are acknowledged. It outlives a crash of the agent, and its tasks
//! outlive it: the next one takes them over with what the agent kept, or finds them by their records and cgroups.
//!
//! ```text
//! agent --Client--> 0600 socket --daemon (one thread, epoll)--> fork --> task        (raw_exec)
//!                                   |                              \--> helper --libcontainer--> task   (exec)
//!                                   \--<-- log pipes, SIGCHLD, cgroups
//! ```
//!
//! What is absent on purpose: async, TLS, parsers of foreign input, threads besides that of the logs. All `unsafe` is in `sys.rs`.
#![deny(unsafe_code)]

pub mod image_spec;
pub mod spec;

pub mod client;
pub mod held_dir;
pub mod keeper;
pub mod mounts;
pub mod protocol;
pub mod resident;
pub mod users;

mod daemon;
mod entry;
mod image_config;
mod image_root;

mod cgroup;
mod cgroup_files;
mod cgroup_home;
mod closed_root;
mod connection;
mod container;
mod descendants;
mod device_rules;
mod log_file;
mod log_thread;
mod own_program;
mod pass_fds;
mod record;
mod report;
mod session;
mod socket;
mod spare;
mod spawn;
#[allow(unsafe_code)]
mod sys;
mod task;

pub use client::{Client, ClientError, EventStream, Session, StartOptions};
pub use entry::{main_if_supervisor, run_supervisor};
pub use image_spec::{Device, HeldBind, ImageSpec, Tmpfs};
pub use keeper::Keeper;
pub use own_program::is_copy_of;
pub use protocol::{Audited, Exit, Refusal, SessionSpec, Started, Stats, TaskExited, TaskState, TaskStatus};
pub use spec::{Bind, ContainerSpec, Isolation, LogSpec, NamespaceMode, Resources, TaskSpec, default_capabilities};
