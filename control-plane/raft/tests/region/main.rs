//! Regions of several servers in one process: elections, faults, members, snapshots, recovery.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

mod net;
mod region;

mod elections;
mod faults;
mod members;
mod packed_form;
mod recovery;
mod rules;
mod snapshots;
