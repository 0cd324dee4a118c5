//! Chance with a seed, and sizes of tests (see the harness, which rolls too).

pub use drover_harness::dice::{Dice, size};
