//! The one place where a server reads the clock.

use std::time::{SystemTime, UNIX_EPOCH};

use drover_model::Timestamp;

/// Now, in nanoseconds since 1970; the first instant for a clock before that.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
