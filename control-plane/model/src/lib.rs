//! The nouns of drover: what a job, a node, an alloc, an eval, a deployment and a plan are.
//!
//! Pure: no clock, no I/O, no threads. The serde form of these types is both the JSON of the HTTP API (human-readable
//! formats) and the form in the replicated log (binary formats, self-describing, fields by name with defaults, so that
//! an old entry still reads after a field was added).

pub mod id;
pub mod small_map;
pub mod text;
pub mod time;
pub mod wire;

pub mod constraint;
pub mod device;
pub mod device_attribute;
pub mod network;
pub mod policy;
pub mod ports;
pub mod resources;

pub mod group;
pub mod job;
pub mod launch;
pub mod namespace;
pub mod task;

pub mod computed_class;
pub mod interpolation;
pub mod node;
pub mod volume;

pub mod alloc;
pub mod deployment;
pub mod diff;
pub mod eval;
pub mod metric;
pub mod plan;
pub mod score;
mod task_event;
pub mod task_state;

pub mod unacted;

pub use id::{AllocId, DeploymentId, EvalId, JobId, JobKey, JoinTokenId, Namespace, NodeId};
pub use small_map::SmallMap;
pub use text::Text;
pub use time::Timestamp;
