//! The shapes that differ from the nouns themselves: stubs of lists, and nouns with what the API adds to them.

pub mod alloc;
pub mod eval;
pub mod event;
pub mod job;
pub mod namespace;
pub mod node;
pub mod usage;
pub mod written;
