//! How much was applied since the last snapshot: a restart must never have to replay much.
//!
//! openraft counts entries. One entry may hold the placements of thousands of allocs, so bytes are counted here, and a
//! snapshot is asked for when they are more than twice what the last one is long: applying them takes longer than reading
//! that one.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::types::Raft;

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

/// Asks for snapshots for as long as raft runs.
pub async fn ask_for_snapshots(raft: Raft, growth: std::sync::Arc<Growth>) {
    loop {
        growth.due().await;
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_due(growth: &Growth) -> bool {
        growth.due().now_or_never().is_some()
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
