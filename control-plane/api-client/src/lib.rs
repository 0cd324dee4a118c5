//! Typed, blocking calls to the HTTP API, for the command line and for tests.
//!
//! Answers are read leniently: unknown fields are ignored, missing fields and nulls are zero, words stay text. So one client
//! reads servers of other versions too. The raw JSON of an answer is kept beside the typed one.

pub mod address;
pub mod client;
pub mod error;
pub mod fetch;
pub mod query;
pub mod raw;
pub mod shape;
pub mod tls;
mod unix;
mod wire;

pub mod agent;
pub mod allocs;
pub mod deployments;
pub mod evals;
pub mod exec;
pub mod files;
pub mod job_actions;
pub mod jobs;
pub mod join_tokens;
pub mod logs;
pub mod namespaces;
pub mod nodes;
pub mod plan;
pub mod scaling;
pub mod snapshot;

pub use client::{Answer, Client, Config, Meta};
pub use error::{AddressError, Error, SetupError, TlsError};
pub use query::QueryOptions;
pub use tls::TlsOptions;
