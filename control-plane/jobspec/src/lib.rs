//! Job text (HCL or JSON) to a complete, checked job.
//!
//! `parse_hcl` or `parse_json` gives the job in the API's shape with null for what is not set; `canonicalize` fills and
//! checks it. Everything that can be wrong is collected and told at once. Pure: variables and files are handed in.

mod duration;

mod suggest;

pub mod shape;

pub mod shapes;

pub mod decode;

pub mod opaque;

mod json_syntax;

pub mod parse;

pub mod json;

pub mod canonicalize;

pub mod check;

pub mod multierror;

pub mod refusal;

pub mod surroundings;

pub mod init;

pub mod namespace_spec;

pub use canonicalize::{Canonical, canonicalize};
pub use json::{JsonError, parse_json};
pub use multierror::{multierror, warnings_text};
pub use parse::parse_hcl;
pub use refusal::Refusal;
pub use surroundings::Surroundings;

/// What a job text is parsed with: callers name these through this crate.
pub use drover_hcl::{FileError, Files, Inputs, Problem, Source};
