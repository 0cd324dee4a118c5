//! Time as the decisions get it: the wall clock for what people read, a steady clock for what is waited for.

use std::time::Duration;

use drover_model::Timestamp;

/// One moment on both clocks. Deadlines are kept on the steady one, so that a stepped wall clock neither shortens nor
/// stretches a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The wall clock.
    pub wall: Timestamp,
    /// Time since the machine started, sleep included.
    pub steady: Duration,
}
