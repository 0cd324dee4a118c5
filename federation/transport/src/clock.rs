//! The wall clock against which certificates are judged, with a floor for devices that wake up in 1970.

use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// The system's clock, but never before the floor.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    floor: SystemTime,
}

impl Clock {
    /// The system's clock as it is.
    pub fn system() -> Clock {
        Clock { floor: SystemTime::UNIX_EPOCH }
    }

    /// The system's clock, and `floor` as long as that is behind it: a time known to have passed, such as the beginning of the
    /// device's own certificate.
    pub fn with_floor(floor: SystemTime) -> Clock {
        Clock { floor }
    }

    /// The time now.
    pub fn now(&self) -> SystemTime {
        SystemTime::now().max(self.floor)
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.now()))
    }
}

pub(crate) fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_counts_only_while_the_clock_is_behind_it() {
        let ahead = SystemTime::now() + Duration::from_secs(1000);
        assert_eq!(Clock::with_floor(ahead).now(), ahead);
        assert!(Clock::with_floor(SystemTime::UNIX_EPOCH).now() > SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    }
}
