//! The event stream's source: what this server applied last, kept for those who come late, and handed to those who are there.
//!
//! Every server applies the same log, so every server has the same events. They are in memory only: a restart or a
//! state that came whole begins anew.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use drover_state::Events;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// How many log entries a subscriber may be behind before it is dropped.
const BEHIND_MAX: usize = 1024;
/// The most notes that are kept for those who come late, whatever number of entries was asked for.
const NOTES_KEPT_MAX: usize = 65_536;

/// The newest entries, and those who follow.
pub(crate) struct EventBuffer {
    kept: Mutex<Kept>,
    /// None: what follows does not join what was before.
    live: broadcast::Sender<Option<Arc<Events>>>,
}

struct Kept {
    entries: VecDeque<Arc<Events>>,
    notes: usize,
    entries_max: usize,
}

/// Why a subscription ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionEnd {
    /// The reader is too far behind.
    #[error("subscription closed: the reader is more than {BEHIND_MAX} entries behind")]
    TooSlow,
    /// This server's state came whole from elsewhere: what happened in between is not known.
    #[error("subscription closed: events are missing, subscribe again")]
    Gap,
    /// The server stops.
    #[error("subscription closed: the server stops")]
    Stopped,
}

/// One who follows.
pub struct Subscription {
    replay: VecDeque<Arc<Events>>,
    live: broadcast::Receiver<Option<Arc<Events>>>,
}

impl Subscription {
    /// The next log entry that has notes.
    ///
    /// # Errors
    /// The subscription is over.
    pub async fn next(&mut self) -> Result<Arc<Events>, SubscriptionEnd> {
        if let Some(events) = self.replay.pop_front() {
            return Ok(events);
        }
        match self.live.recv().await {
            Ok(Some(events)) => Ok(events),
            Ok(None) => Err(SubscriptionEnd::Gap),
            Err(RecvError::Lagged(_)) => Err(SubscriptionEnd::TooSlow),
            Err(RecvError::Closed) => Err(SubscriptionEnd::Stopped),
        }
    }
}

impl EventBuffer {
    /// A buffer that keeps that many entries.
    pub fn new(entries_max: usize) -> Self {
        let kept = Kept { entries: VecDeque::new(), notes: 0, entries_max };
        Self { kept: Mutex::new(kept), live: broadcast::Sender::new(BEHIND_MAX) }
    }

    /// Takes the next entry; one without notes tells nothing.
    pub fn push(&self, events: &Arc<Events>) {
        if events.notes.is_empty() {
            return;
        }
        let mut kept = self.lock();
        kept.entries.push_back(events.clone());
        kept.notes += events.notes.len();
        while kept.entries.len() > kept.entries_max || kept.notes > NOTES_KEPT_MAX {
            let Some(oldest) = kept.entries.pop_front() else { break };
            kept.notes -= oldest.notes.len();
        }
        // Nobody may be there: then it is only kept.
        let _ = self.live.send(Some(events.clone()));
    }

    /// What comes next does not join what was: everybody has to begin anew.
    pub fn reset(&self) {
        let mut kept = self.lock();
        kept.entries.clear();
        kept.notes = 0;
        let _ = self.live.send(None);
    }

    /// From the entry at that index on, or from the oldest that is kept if that is later.
    pub fn subscribe(&self, index: u64) -> Subscription {
        let kept = self.lock();
        // Under the lock nothing falls between what is kept and what comes.
        let live = self.live.subscribe();
        let replay = kept.entries.iter().filter(|events| events.index >= index).cloned().collect();
        Subscription { replay, live }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use drover_model::job::Job;
    use drover_state::{Note, NoteKind, Subject};

    use super::*;

    fn entry(index: u64, notes: usize) -> Arc<Events> {
        let note = Note { kind: NoteKind::JobRegistered, subject: Subject::Job(Arc::new(Job::default())) };
        Arc::new(Events { index, notes: vec![note; notes], ..Events::default() })
    }

    async fn indexes(mut subscription: Subscription, count: usize) -> Vec<u64> {
        let mut indexes = Vec::new();
        for _ in 0..count {
            indexes.push(subscription.next().await.unwrap().index);
        }
        indexes
    }

    #[tokio::test]
    async fn who_comes_late_gets_what_is_kept_and_then_what_comes() {
        let buffer = EventBuffer::new(3);
        (1..=5).for_each(|index| buffer.push(&entry(index, 1)));
        buffer.push(&entry(6, 0));
        let (all, some, none) = (buffer.subscribe(0), buffer.subscribe(4), buffer.subscribe(100));
        buffer.push(&entry(7, 1));
        assert_eq!(indexes(all, 4).await, [3, 4, 5, 7]);
        assert_eq!(indexes(some, 3).await, [4, 5, 7]);
        assert_eq!(indexes(none, 1).await, [7]);
    }

    #[tokio::test]
    async fn a_large_entry_pushes_out_more_than_one() {
        let buffer = EventBuffer::new(100);
        buffer.push(&entry(1, 1));
        buffer.push(&entry(2, NOTES_KEPT_MAX));
        assert_eq!(indexes(buffer.subscribe(0), 1).await, [2]);
    }

    #[tokio::test]
    async fn who_is_too_far_behind_is_told() {
        let buffer = EventBuffer::new(0);
        let mut slow = buffer.subscribe(0);
        (1..=BEHIND_MAX as u64 + 1).for_each(|index| buffer.push(&entry(index, 1)));
        assert_eq!(slow.next().await, Err(SubscriptionEnd::TooSlow));
        let mut other = buffer.subscribe(0);
        buffer.reset();
        assert_eq!(other.next().await, Err(SubscriptionEnd::Gap));
    }
}
