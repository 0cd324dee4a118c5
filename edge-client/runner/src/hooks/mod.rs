//! What is done around the start of a task, one step per file.

pub mod dirs;
pub mod dispatch_payload;
pub mod network;
pub mod unacted;
pub mod user;
pub mod volumes;
