//! Filter expressions of the API: `Status == "running" and Meta.team != ops`.
//!
//! Pure. An expression is read once and asked of any number of values.

mod error;
mod evaluate;
mod expression;
mod grammar;
mod lookup;
mod scanner;

#[cfg(test)]
mod tests;

pub use error::{FilterError, ParseError};
pub use evaluate::Filter;
