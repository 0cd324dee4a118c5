//! A pull on its way, shared by all who want the same image.
//!
//! ```text
//! start ──> Flight (a thread of its own) ──> outcome ──> every Pull that waits
//!              ^ counts its waiters: when the last Pull is dropped, the flight is cancelled
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::PullError;
use crate::image::Image;
use crate::progress::Progress;
use crate::watch::Cancelled;

/// What comes of a pull. The error is the same for all who waited.
pub type Outcome = Result<Image, Arc<PullError>>;

/// Who is told how far a pull is.
pub(crate) type Listener = Box<dyn Fn(&Progress) + Send + Sync>;

/// A pull that is going on: a future for async callers, [`Pull::wait`] for others. Dropping it means that this caller does not want
/// the image any more; the work goes on while others do.
#[must_use = "a pull that is dropped is cancelled"]
pub struct Pull {
    flight: Arc<Flight>,
    id: u64,
}

impl std::fmt::Debug for Pull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pull").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The work that waiters share.
pub(crate) struct Flight {
    state: Mutex<FlightState>,
    landed: Condvar,
    /// Set when nobody waits any more.
    pub(crate) cancelled: Cancelled,
}

#[derive(Default)]
struct FlightState {
    outcome: Option<Outcome>,
    waiters: Vec<Waiter>,
    latest: Option<Progress>,
    next_id: u64,
}

struct Waiter {
    id: u64,
    waker: Option<Waker>,
    listener: Arc<Listener>,
}

impl Flight {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), landed: Condvar::new(), cancelled: Cancelled::default() })
    }

    fn state(&self) -> MutexGuard<'_, FlightState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first who wants it.
    pub(crate) fn first(self: &Arc<Self>, listener: Listener) -> Pull {
        self.add(&mut self.state(), Arc::new(listener))
    }

    /// One more who wants it. Gives the listener back when the flight was given up meanwhile and another has to be made.
    pub(crate) fn join(self: &Arc<Self>, listener: Listener) -> Result<Pull, Listener> {
        let mut state = self.state();
        if self.cancelled.is_set() {
            return Err(listener);
        }
        let listener = Arc::new(listener);
        let pull = self.add(&mut state, Arc::clone(&listener));
        let latest = state.latest.clone();
        drop(state);
        if let Some(progress) = latest {
            listener(&progress);
        }
        Ok(pull)
    }

    fn add(self: &Arc<Self>, state: &mut FlightState, listener: Arc<Listener>) -> Pull {
        let id = state.next_id;
        state.next_id += 1;
        state.waiters.push(Waiter { id, waker: None, listener });
        Pull { flight: Arc::clone(self), id }
    }

    /// Tells all who wait how far it is. Listeners run without a lock: they may drop their pull.
    pub(crate) fn tell(&self, progress: &Progress) {
        let mut state = self.state();
        state.latest = Some(progress.clone());
        let listeners: Vec<_> = state.waiters.iter().map(|waiter| Arc::clone(&waiter.listener)).collect();
        drop(state);
        for listener in listeners {
            listener(progress);
        }
    }

    /// Ends it: everybody gets the outcome.
    pub(crate) fn land(&self, outcome: Outcome) {
        let mut state = self.state();
        state.outcome = Some(outcome);
        let wakers: Vec<_> = state.waiters.iter_mut().filter_map(|waiter| waiter.waker.take()).collect();
        drop(state);
        self.landed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Pull {
    /// Blocks until the image is there or cannot be had.
    pub fn wait(self) -> Outcome {
        let mut state = self.flight.state();
        loop {
            if let Some(outcome) = &state.outcome {
                return outcome.clone();
            }
            state = self.flight.landed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Future for Pull {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.flight.state();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        if let Some(waiter) = state.waiters.iter_mut().find(|waiter| waiter.id == self.id) {
            waiter.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        let mut state = self.flight.state();
        state.waiters.retain(|waiter| waiter.id != self.id);
        if state.waiters.is_empty() {
            // Under the lock, so that nobody joins a flight that is over or being given up.
            self.flight.cancelled.set();
            // Its thread may end a moment later: it shall not keep the image in use until then. The image itself goes
            // without this lock, since that takes the store's.
            let outcome = state.outcome.take();
            drop(state);
            drop(outcome);
        }
    }
}
