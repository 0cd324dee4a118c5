//! Scheduling: [`schedule()`] proposes a plan for an eval, [`verify()`] takes out what does not fit any more.
//!
//! Pure: a snapshot, an eval, the time and a seed give one outcome, bit by bit the same on every machine. All feasible
//! nodes are scored, not a sample; equal scores are decided by a hash of the seed and the node's id.
//!
//! Left out: preemption, volumes other than static ones of the host, drains, and what happens on nodes that are only cut off.

pub mod schedule;

pub mod annotations;
pub mod change;
pub mod names;
pub mod reconcile;
pub mod reschedule;
pub mod rollout;
pub mod sort;

pub mod constraint;
pub mod device;
pub mod feasible;
pub mod version;

pub mod network;
pub mod rank;
pub mod score;
pub mod table;

pub mod fit;
mod placing;
pub mod seed;
mod system;
pub mod verify;

pub use schedule::{Context, Outcome, dry_run, schedule};
pub use verify::{Verified, verify};
