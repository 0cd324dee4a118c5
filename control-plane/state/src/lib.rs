//! The replicated state: [`Command`], [`apply()`], [`State`], [`Snapshot`].
//!
//! All change is a command. `apply` is total and deterministic: the same log gives the same bytes on each server, it
//! never fails halfway, and a command that it cannot accept yields a refusal as its answer and changes nothing.

pub mod autopilot;
mod children;
pub mod command;
pub mod event;
pub mod join_token;
mod namespaces;
mod node_load;
pub mod note;
mod recent;
pub mod scaling;
pub mod scheduler_config;
pub mod submission;
pub mod summary;

pub mod state;

pub mod apply;
pub mod image;
pub mod inventory;
pub mod packed;
pub mod read;
pub mod snapshot;

pub use apply::apply;
pub use children::ChildCounts;
pub use command::{
    AcceptedPlan, Answer, ChangeDeployment, Command, LaunchJob, Refusal, RegisterJob, ScaleJob, SetAllocHealth,
    TagJobVersion,
};
pub use event::{Change, Events};
pub use image::DecodeError;
pub use node_load::NodeLoad;
pub use note::{Note, NoteKind, Subject};
pub use snapshot::Snapshot;
pub use state::{State, Table};
pub use summary::{GroupSummary, JobSummary};
