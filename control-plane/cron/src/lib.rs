//! Cron expressions of `periodic` jobs: what they say, and the next time they name.
//!
//! Pure: the time and the time zone are arguments; looking a zone up by its name is the caller's.
//!
//! Five fields are minute, hour, day of month, month and day of week; a sixth is the year; with seven the first is the
//! second. Fields after the seventh are not read. `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly` and `@annually`
//! stand for the usual.

mod calendar;
mod field;
mod parse;

#[cfg(test)]
mod tests;

pub use calendar::earliest;
pub use parse::{Cron, CronError, SPEC_BYTES_MAX, SPECS_MAX};
