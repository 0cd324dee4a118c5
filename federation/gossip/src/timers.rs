//! What is due when. Time is a `Duration` since whatever moment the shell counts from.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ident::Ident;

/// Something to do at a time.
#[derive(Debug)]
pub(crate) enum Due {
    /// One of foca's.
    Foca(foca::Timer<Ident>),
    /// Compare notes with some member.
    Sync,
    /// Ask one who is gone whether it is back.
    Reconnect,
    /// Forget those who are gone for long.
    Reap,
    /// Say goodbye once more.
    Farewell {
        /// How often after this.
        left: u32,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeMap<(Duration, u64), Due>,
    /// Keeps those of one moment in the order in which they came.
    number: u64,
}

impl Timers {
    pub(crate) fn add(&mut self, at: Duration, due: Due) {
        if let Due::Foca(foca::Timer::RemoveDown(ident)) = &due {
            // One per member is enough: without this, one that comes and goes all day would leave a timer each time.
            let key = ident.key();
            self.queue.retain(|_, due| !matches!(due, Due::Foca(foca::Timer::RemoveDown(old)) if old.key() == key));
        }
        self.number += 1;
        self.queue.insert((at, self.number), due);
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// The first thing that is due by `now`.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<Due> {
        let first = self.queue.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Puts everything off.
    pub(crate) fn put_off(&mut self, by: Duration) {
        self.queue =
            std::mem::take(&mut self.queue).into_iter().map(|((at, nth), due)| ((at + by, nth), due)).collect();
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }
}
