//! The clocks of this machine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use drover_model::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::decide::moment::Now;

/// The time on both clocks.
pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let steady = clock_gettime(ClockId::Boottime);
    Now {
        wall: Timestamp(i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX)),
        steady: Duration::new(
            u64::try_from(steady.tv_sec).unwrap_or(0),
            u32::try_from(steady.tv_nsec).unwrap_or(0).min(999_999_999),
        ),
    }
}

/// Tells one boot of this machine from another; empty where the kernel does not say.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
