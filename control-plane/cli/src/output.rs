//! How things look: tables, lists of fields, times, sizes, diffs. Pure functions from answers to text, except `ui`.

pub mod json;
pub mod quantity;
pub mod table;
pub mod template;
pub mod text;
pub mod time;
pub mod ui;

pub mod alloc_table;
pub mod deployment;
pub mod diff;
pub mod eval_table;
pub mod periodic;
pub mod placement;
