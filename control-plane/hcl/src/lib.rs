//! HCL2: text to a tree of settled values with places. Used for job files and for agent configuration.
//!
//! Pure: files come in through [`Files`], the environment through [`Inputs`], and one text with the same inputs
//! always gives the same tree. HCL in JSON syntax is not read here.

pub mod suggest;

pub mod source;

pub mod problem;

pub mod number;

pub mod value;

pub mod types;

pub mod files;

mod meter;

pub mod scope;

pub mod decoded;

mod syntax;

mod evaluate;

mod functions;

pub mod parse;

pub mod format;

pub mod job_file;

pub use decoded::{Attribute, Block, Body, Label};
pub use files::{FileError, Files};
pub use format::format;
pub use functions::Functions;
pub use job_file::{Inputs, parse_job_file};
pub use number::Number;
pub use parse::parse;
pub use problem::{Place, Problem};
pub use scope::{Limits, Scope};
pub use source::{Position, Source, Span};
pub use value::Value;

#[cfg(test)]
mod tests;
