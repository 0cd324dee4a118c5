//! How much was applied since the last snapshot: a restart must never have to replay much.
//!
//! openraft counts entries. One entry may hold the placements of thousands of allocs, so bytes are counted here, and a
//! snapshot is asked for when they are more than twice what the last one is long: applying them takes longer than reading
//! that one. Where an operator has said how often it is looked (`raft_snapshot_interval`), entries are counted here as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::sync::Notify;

use crate::types::{LogId, Raft};

/// So much is applied without a snapshot in any case.
const BYTES_MIN: u64 = 64 << 20;

/// What was applied since the last snapshot.
pub struct Growth {
    bytes: AtomicU64,
    limit: AtomicU64,
    due: Notify,
}

impl Growth {
    /// Behind a snapshot of that length.
    pub fn new(snapshot_len: u64) -> Self {
        Self { bytes: AtomicU64::new(0), limit: AtomicU64::new(limit(snapshot_len)), due: Notify::new() }
    }

    /// A command of that length was applied.
    pub fn add(&self, len: usize) {
        let before = self.bytes.fetch_add(len as u64, Ordering::Relaxed);
        let limit = self.limit.load(Ordering::Relaxed);
        // Again at each multiple: one that is asked for while another is being made is not made.
        if before / limit < (before + len as u64) / limit {
            self.due.notify_one();
        }
    }

    /// A snapshot of all that was applied is being made.
    pub fn captured(&self) {
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// It was made and is that long.
    pub fn saved(&self, snapshot_len: u64) {
        self.limit.store(limit(snapshot_len), Ordering::Relaxed);
    }

    /// Returns when the next snapshot is due.
    async fn due(&self) {
        self.due.notified().await;
    }
}

fn limit(snapshot_len: u64) -> u64 {
    (snapshot_len * 2).max(BYTES_MIN)
}

/// How often it is looked whether enough entries were applied, where raft itself does not count them.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    /// Between two looks.
    pub between: Duration,
    /// Entries between two snapshots.
    pub snapshot_every: u64,
}

impl Looks {
    /// The looks of a server, between one and two intervals apart: those of a region do not all write at once.
    pub fn of(interval: Duration, snapshot_every: u64, node_id: u64) -> Self {
        Self { between: interval + interval / 1024 * (node_id % 1024) as u32, snapshot_every }
    }
}

/// Asks for snapshots for as long as raft runs.
pub async fn ask_for_snapshots(raft: Raft, growth: Arc<Growth>, looks: Option<Looks>) {
    loop {
        let has_many = tokio::select! {
            () = growth.due() => true,
            has_many = next_look(&raft, looks) => has_many,
        };
        if has_many && raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}

/// The next look: whether there are enough entries.
async fn next_look(raft: &Raft, looks: Option<Looks>) -> bool {
    let Some(looks) = looks else { return std::future::pending().await };
    tokio::time::sleep(looks.between).await;
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let index = |id: &Option<LogId>| id.map_or(0, |id| id.index);
    index(&metrics.last_applied).saturating_sub(index(&metrics.snapshot)) >= looks.snapshot_every
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_due(growth: &Growth) -> bool {
        growth.due().now_or_never().is_some()
    }

    #[test]
    fn the_looks_of_servers_are_spread() {
        let interval = Duration::from_secs(120);
        let looks = |node_id| Looks::of(interval, 8192, node_id).between;
        assert_eq!(looks(0), interval);
        assert!((0..5000).all(|node_id| (interval..interval * 2).contains(&looks(node_id))));
        assert_ne!(looks(1), looks(2));
    }

    #[test]
    fn a_snapshot_is_due_once_when_much_was_applied() {
        let growth = Growth::new(0);
        let half = BYTES_MIN as usize / 2;
        growth.add(half);
        assert!(!is_due(&growth));
        growth.add(half);
        assert!(is_due(&growth));
        growth.add(half);
        assert!(!is_due(&growth), "it is being made");
        growth.add(half);
        assert!(is_due(&growth), "nobody made it");
        growth.captured();
        growth.saved(BYTES_MIN);
        growth.add(3 * half);
        assert!(!is_due(&growth), "a long snapshot is worth more");
        growth.add(half);
        assert!(is_due(&growth));
    }
}
