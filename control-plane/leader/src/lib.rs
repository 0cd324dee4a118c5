//! What the leader of a region does, as pure steps over a snapshot, events and the time.
//!
//! The server calls the steps when state or time moves and commits the commands they return. They hold nothing that a
//! new leader can't rebuild at once, and a step that runs twice on one snapshot asks for the same again: what it decides
//! follows from the state, so that no chain of commands keeps itself going.

pub mod moment;

pub mod eval_broker;
pub mod plan_applier;
pub mod worker;

pub mod alloc_report;
pub mod node_evals;
pub mod unblock;

pub mod deployments;
pub mod rollback;

pub mod periodic;

pub mod gc;
pub mod heartbeat;

mod new_eval;
mod replacement;

#[cfg(test)]
mod region;
