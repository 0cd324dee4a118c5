//! Starts real agents for tests and measurements, waits for conditions, and leaves nothing behind.
//!
//! Ports stay the test's own while it lives, data lives in a temporary directory, nothing sleeps for a fixed time to be
//! "ready": every wait is for a condition, with a deadline that names what did not happen.

pub mod agent;
pub mod binaries;
pub mod config;
pub mod dice;
pub mod journal;
pub mod linear;
pub mod live_bytes;
pub mod network;
pub mod output;
pub mod ports;
pub mod processes;
pub mod recorded_disk;
pub mod relay;
pub mod wait;
pub mod weather;
pub mod wires;

pub use agent::Agent;
pub use config::AgentConfig;
pub use recorded_disk::RecordedDisk;
pub use relay::Relay;
pub use wait::{Told, wait_for};
pub use wires::Wires;
