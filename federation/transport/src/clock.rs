//! The wall clock against which certificates are judged, with a floor for devices that wake up in 1970.

use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// The system's clock, but never before the floor.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    floor: SystemTime,
    /// From here on the system's clock is believed, whatever the floor.
    believed_from: SystemTime,
}

impl Clock {
    /// The system's clock as it is.
    pub fn system() -> Clock {
        Clock::with_floor(SystemTime::UNIX_EPOCH)
    }

    /// The system's clock, and `floor` as long as that is behind it: a time known to have passed, such as the beginning of the
    /// device's own certificate.
    pub fn with_floor(floor: SystemTime) -> Clock {
        Clock { floor, believed_from: floor }
    }

    /// The same, but a clock that is not before `time` is believed although it is behind the floor: the floor may come from a clock
    /// that was ahead for a while, and nobody could be heard until that time has come.
    pub fn believed_from(self, time: SystemTime) -> Clock {
        Clock { believed_from: time.min(self.floor), ..self }
    }

    /// The time now.
    pub fn now(&self) -> SystemTime {
        self.at(SystemTime::now())
    }

    fn at(&self, system: SystemTime) -> SystemTime {
        if system < self.believed_from { self.floor } else { system }
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
        let (hour, clock) =
            (Duration::from_secs(3600), Clock::with_floor(ahead).believed_from(ahead - Duration::from_secs(900)));
        assert_eq!(clock.at(ahead - hour), ahead, "certainly wrong");
        assert_eq!(clock.at(ahead - hour / 6), ahead - hour / 6, "the floor was");
        assert_eq!(clock.at(ahead + hour), ahead + hour);
        assert!(Clock::with_floor(SystemTime::UNIX_EPOCH).now() > SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    }
}
