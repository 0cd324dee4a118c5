//! The life of one alloc and its tasks on an edge.
//!
//! [`decide`] says what to do next and touches nothing; [`alloc_runner`] does it, by hooks and drivers, and tells what
//! became of it. Nobody polls: exits, timers and the servers' wishes wake the runner.

pub mod decide;
