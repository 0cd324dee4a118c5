//! Only some pulls at once: the others wait for their turn.

use std::sync::{Arc, PoisonError};

use crate::error::PullError;
use crate::meter::Meter;
use crate::progress::Phase;
use crate::pull::Flight;
use crate::store::Inner;
use crate::watch::LOOK;

/// The right to use the network and the disk, until it is dropped.
pub(crate) struct Turn {
    inner: Arc<Inner>,
}

impl Turn {
    /// Waits for it, for as long as somebody wants the image.
    pub(crate) fn take(inner: &Arc<Inner>, flight: &Flight, meter: &Meter<'_>) -> Result<Self, PullError> {
        let running_max = inner.settings.bounds.pulls_max.max(1);
        let mut has_told = false;
        let mut state = inner.state();
        while state.running >= running_max {
            if flight.cancelled.is_set() {
                return Err(PullError::Cancelled);
            }
            if !std::mem::replace(&mut has_told, true) {
                drop(state);
                meter.phase(Phase::Waiting);
                state = inner.state();
                continue;
            }
            state = inner.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.running += 1;
        drop(state);
        Ok(Self { inner: Arc::clone(inner) })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.inner.state().running -= 1;
        self.inner.changed.notify_all();
    }
}
