//! Text to syntax tree. `scan` looks the text over first, `read` runs the parser, `build` turns its tree into
//! the one in `tree`, and `diagnose` puts its refusals into words.

pub(crate) mod tree;
pub(crate) mod walk;

mod build;
mod diagnose;
mod read;
mod scan;
mod template;

pub(crate) use read::{read_body, read_expression};
