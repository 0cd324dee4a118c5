//! Configuration files and flags to the settings of an agent, for both binaries.
//!
//! Files and directories are read in the order given, HCL or JSON; later ones win, blocks merge by field, flags are
//! laid over all. What is understood but not acted on is named in [`Settings::unacted`]; what is unknown is an error.

pub mod settings;

pub mod telemetry;

pub mod client_devices;
pub mod client_network;

pub mod flags;

pub mod complaint;

pub mod files;

pub mod keys;

mod spread;

mod tree;

mod convert;

mod apply;

mod resolve;

pub use complaint::Complaint;
pub use flags::{FlagSetting, Flags};
pub use resolve::{Sources, load};
pub use settings::Settings;

#[cfg(test)]
mod tests;
