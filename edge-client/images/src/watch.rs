//! When work has to end: nobody wants it, its time is up, or the other side has gone silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::PullError;

/// How often what blocks looks up.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// A mark that work is not wanted any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The ends of one pull.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    /// Nobody waits any more.
    pub(crate) cancelled: Cancelled,
    /// When the time is up.
    deadline: Instant,
    /// How long that was.
    timeout: Duration,
    /// How long the other side may send nothing.
    pub(crate) silence: Duration,
    /// One part of the pull has failed: the others need not go on.
    failed: Cancelled,
}

impl Watch {
    pub(crate) fn new(cancelled: Cancelled, timeout: Duration, silence: Duration) -> Self {
        let now = Instant::now();
        // A timeout beyond what the clock can tell is a century.
        let deadline = now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(3_000_000_000));
        Self { cancelled, deadline, timeout, silence, failed: Cancelled::default() }
    }

    /// The same for parts that work side by side and end together.
    pub(crate) fn for_parts(&self) -> Self {
        Self { failed: Cancelled::default(), ..self.clone() }
    }

    /// Ends the other parts.
    pub(crate) fn fail(&self) {
        self.failed.set();
    }

    /// Whether to go on.
    pub(crate) fn check(&self) -> Result<(), PullError> {
        if self.cancelled.is_set() || self.failed.is_set() {
            return Err(PullError::Cancelled);
        }
        if Instant::now() >= self.deadline {
            return Err(PullError::Timeout(self.timeout));
        }
        Ok(())
    }

    /// Waits, in pieces.
    pub(crate) fn pause(&self, long: Duration) -> Result<(), PullError> {
        let end = Instant::now() + long;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK));
        }
    }
}
