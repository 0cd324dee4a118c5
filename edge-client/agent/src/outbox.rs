//! Reports on their way to the servers: the latest per alloc, until it is acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use drover_model::AllocId;
use drover_model::alloc::AllocUpdate;
use tokio::sync::Notify;

/// Most reports sent at a time.
const BATCH_MAX: usize = 256;

/// What the servers have not acknowledged. Bounded by the number of allocs.
#[derive(Default)]
pub struct Outbox {
    waiting: Mutex<BTreeMap<AllocId, AllocUpdate>>,
    /// Allocs whose end was acknowledged.
    ended: Mutex<BTreeSet<AllocId>>,
    notify: Notify,
}

impl Outbox {
    /// The latest report of an alloc; an earlier one that still waits is of no more interest.
    pub fn put(&self, update: AllocUpdate) {
        self.lock().insert(update.alloc_id, update);
        self.notify.notify_one();
    }

    /// Nothing of the alloc is left.
    pub fn forget(&self, alloc: AllocId) {
        self.lock().remove(&alloc);
    }

    /// The servers have taken these.
    pub fn acknowledged(&self, updates: &[AllocUpdate]) {
        let ended = updates.iter().filter(|update| update.client_status.is_terminal());
        self.ended().extend(ended.map(|update| update.alloc_id));
    }

    /// The allocs whose end the servers know, as far as they are among these; of others nothing is kept.
    pub fn ended_of(&self, all: &BTreeSet<AllocId>) -> BTreeSet<AllocId> {
        let mut ended = self.ended();
        ended.retain(|id| all.contains(id));
        ended.clone()
    }

    fn ended(&self) -> MutexGuard<'_, BTreeSet<AllocId>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when there is something to send.
    pub async fn ready(&self) {
        loop {
            let notified = self.notify.notified();
            if !self.lock().is_empty() {
                return;
            }
            notified.await;
        }
    }

    /// Takes what is to be sent now. What is put meanwhile waits for the next time.
    pub fn take(&self) -> Vec<AllocUpdate> {
        let mut waiting = self.lock();
        let rest = match waiting.keys().nth(BATCH_MAX).copied() {
            Some(first_left) => waiting.split_off(&first_left),
            None => BTreeMap::new(),
        };
        std::mem::replace(&mut *waiting, rest).into_values().collect()
    }

    /// They were not acknowledged: they wait again, unless something newer does.
    pub fn put_back(&self, updates: Vec<AllocUpdate>) {
        let mut waiting = self.lock();
        for update in updates {
            waiting.entry(update.alloc_id).or_insert(update);
        }
        drop(waiting);
        self.notify.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AllocId, AllocUpdate>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drover_model::alloc::ClientStatus;

    fn update(alloc: u8, status: ClientStatus) -> AllocUpdate {
        AllocUpdate { alloc_id: AllocId::from_random([alloc; 16]), client_status: status, ..AllocUpdate::default() }
    }

    #[test]
    fn the_latest_report_counts() {
        let outbox = Outbox::default();
        outbox.put(update(1, ClientStatus::Pending));
        outbox.put(update(2, ClientStatus::Pending));
        outbox.put(update(1, ClientStatus::Running));
        let sent = outbox.take();
        assert_eq!(sent, [update(1, ClientStatus::Running), update(2, ClientStatus::Pending)]);
        outbox.put(update(2, ClientStatus::Complete));
        outbox.put_back(sent);
        assert_eq!(outbox.take(), [update(1, ClientStatus::Running), update(2, ClientStatus::Complete)]);
        assert!(outbox.take().is_empty());
    }

    #[test]
    fn an_end_counts_once_it_was_acknowledged() {
        let outbox = Outbox::default();
        let id = |alloc: u8| update(alloc, ClientStatus::Pending).alloc_id;
        outbox.put(update(1, ClientStatus::Complete));
        assert!(outbox.ended_of(&BTreeSet::from([id(1)])).is_empty());
        outbox.acknowledged(&outbox.take());
        outbox.acknowledged(&[update(2, ClientStatus::Running), update(3, ClientStatus::Failed)]);
        assert_eq!(outbox.ended_of(&BTreeSet::from([id(1), id(2)])), BTreeSet::from([id(1)]));
        assert!(outbox.ended_of(&BTreeSet::from([id(3)])).is_empty(), "what is not among them is forgotten");
    }

    #[test]
    fn many_reports_go_in_batches() {
        let outbox = Outbox::default();
        for n in 0..300u16 {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&n.to_be_bytes());
            outbox.put(AllocUpdate { alloc_id: AllocId::from_random(id), ..AllocUpdate::default() });
        }
        assert_eq!((outbox.take().len(), outbox.take().len()), (BATCH_MAX, 300 - BATCH_MAX));
    }
}
