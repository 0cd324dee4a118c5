//! The one place where a server reads the clock.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use drover_model::Timestamp;

/// Now, in nanoseconds since 1970; the first instant for a clock before that.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Now on a clock that never jumps and tells no date: for how long ago something was heard.
pub fn steady() -> Timestamp {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    Timestamp(0).plus(BEGINNING.get_or_init(Instant::now).elapsed())
}
