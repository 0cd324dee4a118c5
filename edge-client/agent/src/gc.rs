//! What is left of ended allocs goes: in time, where there are too many or the disk is full, or because somebody asks.
//!
//! The servers go on naming an alloc that is gone here. So that it never runs again its id is kept, on disk before anything of it is
//! removed, until they name it no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use drover_model::AllocId;
use drover_model::alloc::Alloc;
use drover_protocol::edge::RpcError;
use drover_runner::decide::gc::{DiskUse, GcLimits, Kept, collect};
use drover_runner::{AllocHandle, Edge};
use tokio::sync::{Notify, watch};

use crate::node_stats;
use crate::outbox::Outbox;
use crate::requests::Allocs;
use crate::store::Store;

/// How long somebody who asks is kept waiting; what takes longer goes on afterwards. Less than a server waits for an answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(8);

/// While allocs begin, those that have ended stay even where there are too many: to remove them would slow the others down. Not
/// for longer than this.
const HELD_MAX: Duration = Duration::from_secs(60);
/// How soon it is looked again whether all have begun.
const HELD_LOOK: Duration = Duration::from_secs(1);

/// When ended allocs go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GcSettings {
    /// The time between two looks.
    pub interval: Duration,
    /// What may be kept.
    pub limits: GcLimits,
}

impl Default for GcSettings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(60), limits: GcLimits::default() }
    }
}

/// Removes ended allocs.
pub struct Collector {
    settings: GcSettings,
    edge: Arc<Edge>,
    allocs: Arc<Allocs>,
    outbox: Arc<Outbox>,
    store: Store,
    state: Mutex<State>,
    /// There is something to do before the next look is due.
    wake: Notify,
    /// Changes when an alloc is gone.
    gone: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// Gone or going here, and still named by the servers. Bounded by what they name.
    collected: BTreeSet<AllocId>,
    /// Somebody wants them gone.
    asked: BTreeSet<AllocId>,
    /// The servers' wishes are known: before, an alloc may be needed by one that nobody has named yet.
    is_synced: bool,
    disk: DiskUse,
    /// Since when allocs begin.
    busy_since: Option<Instant>,
}

impl State {
    /// Whether it is to be waited until the allocs that are there have begun.
    fn is_held(&mut self, is_busy: bool) -> bool {
        match is_busy {
            true => self.busy_since.get_or_insert_with(Instant::now).elapsed() < HELD_MAX,
            false => {
                self.busy_since = None;
                false
            }
        }
    }
}

impl Collector {
    /// With what an earlier life of the agent has kept.
    pub fn new(
        settings: GcSettings,
        edge: Arc<Edge>,
        allocs: Arc<Allocs>,
        outbox: Arc<Outbox>,
        store: Store,
        values: &BTreeMap<String, Vec<u8>>,
    ) -> Collector {
        let collected = values.keys().filter_map(|key| key.strip_prefix("collected/")?.parse().ok()).collect();
        let state = Mutex::new(State { collected, ..State::default() });
        let gone = watch::channel(()).0;
        Collector { settings, edge, allocs, outbox, store, state, wake: Notify::new(), gone }
    }

    /// Looks at each interval, for ever.
    pub async fn run(self: Arc<Self>) {
        loop {
            let place = self.edge.allocs_dir.clone();
            let disk = tokio::task::spawn_blocking(move || node_stats::disk_use(&place)).await;
            self.lock().disk = disk.ok().flatten().unwrap_or_default();
            self.step(&[]);
            let is_held = self.lock().busy_since.is_some_and(|since| since.elapsed() < HELD_MAX);
            let pause = if is_held { HELD_LOOK.min(self.settings.interval) } else { self.settings.interval };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Before these allocs are taken up: older ones make room.
    pub fn make_room(&self, coming: &[&Alloc]) {
        if !coming.is_empty() {
            self.step(coming);
        }
    }

    /// All that the servers wish is known.
    pub fn synced(&self) {
        self.lock().is_synced = true;
    }

    /// It is gone or going, and must not be taken up again.
    pub fn is_collected(&self, id: AllocId) -> bool {
        self.lock().collected.contains(&id)
    }

    /// Those that are gone or going.
    pub fn collected(&self) -> Vec<AllocId> {
        self.lock().collected.iter().copied().collect()
    }

    /// The servers name it no more.
    pub fn release(&self, id: AllocId) {
        if self.lock().collected.remove(&id) {
            drop(self.store.delete(key(id)));
        }
    }

    /// Nothing of it is left.
    pub fn gone(&self, id: AllocId) {
        let mut state = self.lock();
        state.asked.remove(&id);
        if state.collected.contains(&id) || !state.asked.is_empty() {
            // The next one may have waited for its seat, and the disk may be empty enough.
            self.wake.notify_one();
        }
        drop(state);
        self.gone.send_replace(());
    }

    /// Removes an ended alloc, or all. Resolves when they are gone, or some seconds later.
    ///
    /// # Errors
    /// The one that was named is not here, runs, or is needed.
    pub async fn collect(&self, id: Option<AllocId>) -> Result<(), RpcError> {
        let mut gone = self.gone.subscribe();
        let wanted: BTreeSet<AllocId> = {
            let mut state = self.lock();
            let kept = self.kept(&state, &[]);
            let can_go = kept.iter().filter(|its| its.may_go() && id.is_none_or(|id| id == its.id));
            let wanted: BTreeSet<AllocId> = can_go.map(|its| its.id).collect();
            if id.is_some() && wanted.is_empty() {
                let message = "No such allocation on client, or allocation not eligible for GC".to_owned();
                return Err(RpcError::Unavailable { message });
            }
            state.asked.extend(&wanted);
            wanted
        };
        self.step(&[]);
        let all_gone =
            async { while self.allocs.lock().keys().any(|id| wanted.contains(id)) && gone.changed().await.is_ok() {} };
        // What takes longer goes on.
        let _ = tokio::time::timeout(ANSWER_WAIT_MAX, all_gone).await;
        Ok(())
    }

    /// Begins the removal of what is to go now.
    fn step(&self, coming: &[&Alloc]) {
        let mut state = self.lock();
        let kept = self.kept(&state, coming);
        let is_busy = kept.iter().any(|its| !its.is_over && !its.has_begun);
        let mut limits = self.settings.limits;
        if state.is_held(is_busy) {
            limits.allocs_max = usize::MAX;
        }
        for (id, reason) in collect(&kept, coming.len(), state.disk, limits) {
            let Some(handle) = self.allocs.get(id) else { continue };
            tracing::info!(alloc = %id, "removing an ended alloc: {}", reason.text());
            state.collected.insert(id);
            let on_disk = self.store.put(key(id), Vec::new());
            tokio::spawn(async move {
                // A full disk takes nothing, and is a reason to go on: what is there says still that the alloc is over.
                let _ = on_disk.await;
                handle.remove();
            });
        }
    }

    fn kept(&self, state: &State, coming: &[&Alloc]) -> Vec<Kept> {
        let handles: Vec<(AllocId, Arc<AllocHandle>)> =
            self.allocs.lock().iter().map(|(id, handle)| (*id, handle.clone())).collect();
        let ids: BTreeSet<AllocId> = handles.iter().map(|(id, _)| *id).collect();
        let acknowledged = self.outbox.ended_of(&ids);
        let mut needed: BTreeSet<AllocId> = coming.iter().filter_map(|alloc| alloc.previous_allocation).collect();
        let mut kept = Vec::with_capacity(handles.len());
        for (id, handle) in handles {
            let standing = handle.standing();
            let (previous, has_ended) =
                handle.look(|wanted| (wanted.alloc.previous_allocation, wanted.alloc.client_status.is_terminal()));
            if !standing.is_over && !standing.is_prepared {
                needed.extend(previous);
            }
            kept.push(Kept {
                id,
                is_over: standing.is_over,
                has_begun: standing.is_prepared,
                is_end_known: state.is_synced && (acknowledged.contains(&id) || has_ended),
                is_needed: false,
                is_asked: state.asked.contains(&id),
                is_going: state.collected.contains(&id),
                ended_at: standing.ended_at,
            });
        }
        kept.iter_mut().for_each(|its| its.is_needed = needed.contains(&its.id));
        kept
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(id: AllocId) -> String {
    format!("collected/{id}")
}
