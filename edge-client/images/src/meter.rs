//! Counts what a pull has fetched, and says so to those who wait, not too often.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::progress::{Phase, Progress};
use crate::pull::Flight;

/// How often bytes alone are worth a word.
const PERIOD: Duration = Duration::from_secs(1);
/// The rate is that of the last this many words.
const SAMPLES_MAX: usize = 5;

/// The progress of one pull.
pub(crate) struct Meter<'a> {
    flight: &'a Flight,
    state: Mutex<State>,
}

struct State {
    progress: Progress,
    /// Bytes that there are of each layer; none before it was begun.
    layers: Vec<Option<u64>>,
    /// Bytes that came over the network.
    received: u64,
    samples: VecDeque<(Instant, u64)>,
    /// Layers that are being unpacked.
    unpacking: usize,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(flight: &'a Flight) -> Self {
        let progress = Progress { phase: Phase::Waiting, layers_done: 0, layers: 0, bytes: 0, bytes_total: 0, rate: 0 };
        let samples = VecDeque::from([(Instant::now(), 0)]);
        let state = State { progress, layers: Vec::new(), received: 0, samples, unpacking: 0 };
        Self { flight, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        state.sample();
        let progress = state.progress.clone();
        drop(state);
        self.flight.tell(&progress);
    }

    /// A phase before there are layers.
    pub(crate) fn phase(&self, phase: Phase) {
        self.change(|state| state.progress.phase = phase);
    }

    /// The image is known.
    pub(crate) fn image(&self, sizes: &[u64]) {
        self.change(|state| {
            state.layers = vec![None; sizes.len()];
            state.progress.layers = sizes.len();
            state.progress.layers_done = 0;
            state.progress.bytes = 0;
            state.progress.bytes_total = sizes.iter().sum();
            state.progress.phase = Phase::Downloading;
        });
    }

    /// So many bytes of a layer are there; the first time this is said of a layer they came earlier.
    pub(crate) fn layer_bytes(&self, layer: usize, bytes: u64) {
        let mut state = self.state();
        let Some(slot) = state.layers.get_mut(layer) else { return };
        let before = slot.replace(bytes);
        state.received += before.map_or(0, |before| bytes.saturating_sub(before));
        state.progress.bytes = state.layers.iter().flatten().sum();
        if state.samples.back().is_some_and(|(at, _)| at.elapsed() < PERIOD) {
            return;
        }
        state.sample();
        let progress = state.progress.clone();
        drop(state);
        self.flight.tell(&progress);
    }

    /// A layer has come and is being unpacked.
    pub(crate) fn unpacking(&self) {
        self.change(|state| {
            state.unpacking += 1;
            state.progress.phase = Phase::Unpacking;
        });
    }

    /// ... no longer.
    pub(crate) fn unpacked(&self) {
        self.change(|state| {
            state.unpacking -= 1;
            if state.unpacking == 0 {
                state.progress.phase = Phase::Downloading;
            }
        });
    }

    /// A layer is there, with all its bytes.
    pub(crate) fn layer_done(&self, layer: usize, bytes: u64) {
        self.change(|state| {
            if let Some(slot) = state.layers.get_mut(layer) {
                *slot = Some(bytes);
            }
            state.progress.bytes = state.layers.iter().flatten().sum();
            state.progress.layers_done += 1;
        });
    }
}

impl State {
    fn sample(&mut self) {
        let now = Instant::now();
        let (since, received) = self.samples.front().copied().unwrap_or((now, self.received));
        let millis = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX).max(1);
        self.progress.rate = (self.received - received).saturating_mul(1000) / millis;
        let is_due = self.samples.back().is_none_or(|(at, _)| now.duration_since(*at) >= PERIOD);
        if is_due {
            self.samples.push_back((now, self.received));
            if self.samples.len() > SAMPLES_MAX {
                self.samples.pop_front();
            }
        }
    }
}
