//! Reads of the state, and reads that wait for a change.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use drover_server::watch::Waiter;
use drover_server::{Reading, Watch};
use serde::Serialize;
use tokio::time::Instant;

use crate::call::Call;
use crate::problem::Problem;
use crate::query::ReadOptions;
use crate::reply::{self, Meta, Reply};

/// What a look at the state gave.
pub struct Seen {
    index: u64,
    found: Result<Vec<u8>, String>,
    next_token: Option<String>,
}

impl Seen {
    /// Something, as of that index.
    ///
    /// # Errors
    /// It can't be written as JSON.
    pub fn value(index: u64, value: &impl Serialize, call: &Call) -> Result<Self, Problem> {
        let found = Ok(reply::encode(value, call.query.is_pretty())?);
        Ok(Self { index: index.max(1), found, next_token: None })
    }

    /// A page of a list.
    ///
    /// # Errors
    /// It can't be written as JSON.
    pub fn page(
        index: u64,
        (items, next_token): (Vec<impl Serialize>, Option<String>),
        call: &Call,
    ) -> Result<Self, Problem> {
        Ok(Self { next_token, ..Self::value(index, &items, call)? })
    }

    /// Nothing; the index is that of the table in which it may appear.
    pub fn missing(index: u64, text: impl Into<String>) -> Self {
        Self { index: index.max(1), found: Err(text.into()), next_token: None }
    }
}

/// Looks at the state. With `index` it looks again when `watch` changed, until there is news or the wait is over.
///
/// # Errors
/// The parameters are wrong, nobody leads, or what `look` says.
pub async fn read(
    call: &Call,
    watch: &[Watch],
    look: impl Fn(&Reading, &ReadOptions) -> Result<Seen, Problem>,
) -> Result<Reply, Problem> {
    let options = ReadOptions::of(&call.query)?;
    let deadline = Instant::now() + options.wait + jitter(options.wait);
    let mut reading = None;
    loop {
        let waiters: Vec<Waiter> = if options.index > 0 {
            watch.iter().map(|watch| call.api.server.wait_for(watch)).collect()
        } else {
            Vec::new()
        };
        // What woke us is in the local state already.
        let current = match reading {
            None => call.api.server.read(options.stale).await?,
            Some(()) => call.api.server.reading(),
        };
        reading = Some(());
        let seen = look(&current, &options)?;
        if seen.index > options.index || waiters.is_empty() || Instant::now() >= deadline {
            let meta = meta(&current, seen.index);
            return match seen.found {
                Ok(text) => Ok(reply::read(text, meta, seen.next_token.as_deref())),
                Err(text) => Err(Problem::Missing(text, meta)),
            };
        }
        // At the deadline it looks a last time.
        any_changed(waiters, deadline).await;
    }
}

/// The headers of a read.
pub fn meta(reading: &Reading, index: u64) -> Meta {
    Meta { index, last_contact: reading.last_contact, known_leader: reading.known_leader }
}

async fn any_changed(waiters: Vec<Waiter>, deadline: Instant) {
    let waiting = waiters.into_iter().map(|waiter| Box::pin(waiter.changed(deadline)));
    futures_util::future::select_all(waiting).await;
}

/// Up to a sixteenth of the wait, so that many who wait do not come back together.
fn jitter(wait: Duration) -> Duration {
    // The keys of a fresh hasher differ from call to call: chance enough to spread requests.
    let share = RandomState::new().build_hasher().finish() % 1024;
    wait / 16 * (share as u32) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_at_most_a_sixteenth() {
        for _ in 0..1000 {
            assert!(jitter(Duration::from_secs(300)) < Duration::from_millis(18_750));
        }
        assert_eq!(jitter(Duration::ZERO), Duration::ZERO);
    }
}
