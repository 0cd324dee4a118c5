//! Texts from outside, damaged in every way a seed can think of, through every parser that meets them.
//!
//! No parser may panic, overflow the stack, take more than a second or more than 512 MB. What a run tries follows from
//! its seed alone, so that a failure can be had again: `drover-fuzz hcl-job --seed 7 --from 1234 --runs 1`.

pub mod corpus;
pub mod hostile;
pub mod memory;
pub mod mutate;
pub mod parent;
pub mod random;
pub mod run;
pub mod targets;
