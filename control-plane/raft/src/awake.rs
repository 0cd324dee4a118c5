//! Whether this machine has slept: while a machine is suspended the clock that raft counts on stands still, and the others go on
//! and may elect another leader. What a quorum said before counts no more then, however short ago it seems to be.
//!
//! A virtual machine that its host stops, with all its clocks, can't know it. Until it hears of its successor such a leader may
//! answer reads from before for as long as a quorum's word counts (`Pace::lease_read_age_max`).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The two clocks are not read at the same moment.
const APART_MAX: Duration = Duration::from_millis(5);

/// What is known of this machine's sleep.
pub struct Awake(Mutex<Known>);

#[derive(Clone, Copy, Debug)]
struct Known {
    /// How long it has slept since it was booted.
    asleep: Duration,
    /// When it was first seen to have slept since this began.
    woke: Option<Instant>,
}

impl Awake {
    pub fn new() -> Self {
        Self(Mutex::new(Known { asleep: asleep(), woke: None }))
    }

    /// It may have slept within that time, as raft counts time.
    pub fn has_slept_within(&self, time: Duration) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.look(asleep(), Instant::now());
        known.woke.is_some_and(|woke| woke.elapsed() < time)
    }
}

impl Known {
    /// A sleep that is seen now was over now at the latest: whoever said something before said it before now.
    fn look(&mut self, asleep: Duration, now: Instant) {
        if asleep.abs_diff(self.asleep) > APART_MAX {
            *self = Self { asleep, woke: Some(now) };
        }
    }
}

/// How long this machine has slept since it was booted.
fn asleep() -> Duration {
    let read = |clock| {
        let now = clock_gettime(clock);
        let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
        Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
    };
    let awake = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(awake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_seen_once_and_what_was_heard_before_it_counts_no_more() {
        let (second, begin) = (Duration::from_secs(1), Instant::now());
        let mut known = Known { asleep: second, woke: None };
        known.look(second + APART_MAX, begin);
        assert_eq!(known.woke, None, "the clocks are read one after the other");
        known.look(2 * second, begin);
        assert_eq!(known.woke, Some(begin));
        known.look(2 * second + APART_MAX, begin + second);
        assert_eq!(known.woke, Some(begin));
        let awake = Awake(Mutex::new(Known { asleep: asleep() + second, woke: None }));
        assert!(awake.has_slept_within(60 * second));
        assert!(!awake.has_slept_within(Duration::ZERO));
    }
}
