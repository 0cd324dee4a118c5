//! Container images at an edge: fetched from registries or loaded from a file, checked, unpacked and kept.
//!
//! ```text
//! driver --ImageStore::pull--> flight (one thread per image, shared by all who want it) --http--> mirror or registry
//!                                |  blobs: partial/<digest>, resumed after a cut, checked against their digest
//!                                v
//!                         `__unpack` child (own mount and network namespace, no way out of its directory, few rights)
//!                                |  temporary/<n>/root, then rename
//!                                v
//!                         layers/<digest>/root  <--lowerdir-- overlay mounts of the driver
//! ```
//! The store belongs to one agent (a lock) and survives its death at any moment: what is not whole lies under another name
//! and is removed at the next start. What a task uses is leased by a name, on disk, until that lease is given back.
//!
//! What is absent on purpose: async (an agent's reactor never waits for a disk here; [`Pull`] is a plain future), pushing,
//! signatures, and anything that mounts.
#![deny(unsafe_code)]

mod digest;
mod error;
mod image;
mod platform;
mod progress;
mod reference;
mod settings;

mod archive;
pub mod ask;
mod blob;
mod collect;
mod credentials;
mod fetch;
mod http;
mod layer;
mod leases;
mod manifest;
mod meter;
mod pull;
mod records;
mod registry;
mod remove_tree;
mod store;
mod tls;
mod turn;
mod unpack;
mod url;
mod watch;

pub use collect::Collected;
pub use credentials::Credentials;
pub use digest::{Digest, DigestError};
pub use error::{OpenError, PullError};
pub use image::{Image, ImageConfig};
pub use platform::Platform;
pub use progress::{Phase, Progress};
pub use pull::Pull;
pub use reference::{Reference, ReferenceError};
pub use settings::{Bounds, PullPolicy, PullRequest, Registry, Settings};
pub use store::ImageStore;
pub use unpack::main_if_unpacker;
