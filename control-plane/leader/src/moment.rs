//! Two clocks at once: the date, which may be set to any other at any time, and one that only goes on.
//!
//! What is stored are dates, because another server must be able to read them. How long something still waits is counted on the
//! clock that goes on, from the first look at the date: a date that is set afterwards changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::Timestamp;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The date.
    pub wall: Timestamp,
    /// On a clock that never jumps; only differences mean something.
    pub steady: Timestamp,
}

impl Moment {
    /// When, on the steady clock, that date has come. It is no farther away than `longest`: a date beyond that was stored by a
    /// clock that was ahead.
    pub fn until(self, date: Timestamp, longest: Duration) -> Timestamp {
        self.steady.plus(date.since(self.wall).min(longest))
    }
}

impl From<Timestamp> for Moment {
    /// Where no clock jumps, one is as good as the other.
    fn from(now: Timestamp) -> Self {
        Self { wall: now, steady: now }
    }
}

/// A stored date, and a number that changes with whatever sets it: the state never sets it to an earlier one, also where the clock
/// was set back.
pub type Dated = (Timestamp, i64);

/// Stored dates and when they come, on the steady clock. A new leader finds them again from the state.
#[derive(Debug, Default)]
pub struct Deadlines {
    due: BTreeMap<Dated, Timestamp>,
}

impl Deadlines {
    /// Looks at the dates that count now, each with the time that it gave when it was stored; all others are forgotten.
    pub fn look(&mut self, now: Moment, dates: impl Iterator<Item = (Dated, Duration)>) {
        let known = std::mem::take(&mut self.due);
        for (date, longest) in dates {
            let due = known.get(&date).copied().unwrap_or_else(|| now.until(date.0, longest));
            self.due.insert(date, due);
        }
    }

    /// That date has come.
    pub fn is_over(&self, date: Dated, now: Moment) -> bool {
        self.due.get(&date).is_some_and(|due| *due <= now.steady)
    }

    /// When the next of them comes, on the steady clock.
    pub fn next(&self) -> Option<Timestamp> {
        self.due.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_was_seen_once_comes_when_it_should_whatever_the_date_is() {
        let mut deadlines = Deadlines::default();
        let dates = |number| [((at(1000), number), MINUTE)].into_iter();
        let now = |wall, steady| Moment { wall: at(wall), steady: at(steady) };
        deadlines.look(now(970, 5), dates(0));
        assert_eq!(deadlines.next(), Some(at(35)));
        // The clock is set a day ahead, and a year back.
        for wall in [970 + 86_400, 970 - 31_536_000] {
            deadlines.look(now(wall, 34), dates(0));
            assert!(!deadlines.is_over((at(1000), 0), now(wall, 34)));
            assert!(deadlines.is_over((at(1000), 0), now(wall, 35)));
        }
        // Set anew while the clock is behind, it would have been an earlier date.
        deadlines.look(now(10, 34), dates(1));
        assert_eq!(deadlines.next(), Some(at(94)));
        deadlines.look(now(970, 40), std::iter::empty());
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_date_of_a_clock_that_was_ahead_is_not_waited_for() {
        let now = Moment { wall: at(100), steady: at(7) };
        assert_eq!(now.until(at(130), MINUTE), at(37));
        assert_eq!(now.until(at(1_000_000_000), MINUTE), at(67));
        assert_eq!(now.until(at(5), MINUTE), at(7));
    }
}
