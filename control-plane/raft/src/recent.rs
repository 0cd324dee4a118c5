//! The newest entries of the log, in memory: readable before the disk has them, and read without it while they travel to the
//! followers and into the state.

use std::collections::VecDeque;

use crate::types::Entry;

/// How much is kept of what the disk has already, in bytes of encoded entries: what a write needs again within moments.
const KEPT_BYTES: usize = 256 << 10;

/// An end of the log without a gap: entries that follow each other up to the last one.
#[derive(Default)]
pub struct Recent {
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
    /// The disk has all entries up to here.
    stored: u64,
}

impl Recent {
    /// Adds an entry after the last one; `len` is its encoded length.
    pub fn push(&mut self, entry: Entry, len: usize) {
        if self.last().is_some_and(|last| last.log_id.index + 1 != entry.log_id.index) {
            // A log that goes on elsewhere, as behind a snapshot: what was here is on disk.
            self.clear();
        }
        self.entries.push_back((entry, len));
        self.bytes += len;
    }

    /// The disk has the entries up to this index: the oldest of them may go.
    pub fn stored(&mut self, index: u64) {
        self.stored = self.stored.max(index);
        while self.bytes > KEPT_BYTES && self.first_index().is_some_and(|first| first <= self.stored) {
            self.drop_first();
        }
    }

    /// Forgets the entries from this index on.
    pub fn truncate(&mut self, start: u64) {
        while self.last().is_some_and(|last| last.log_id.index >= start) {
            if let Some((_, len)) = self.entries.pop_back() {
                self.bytes -= len;
            }
        }
        self.stored = self.stored.min(start.saturating_sub(1));
    }

    /// Forgets the entries up to this index.
    pub fn purge(&mut self, end: u64) {
        while self.first_index().is_some_and(|first| first <= end) {
            self.drop_first();
        }
    }

    /// The last entry, when the end of the log is here.
    pub fn last(&self) -> Option<&Entry> {
        self.entries.back().map(|(entry, _)| entry)
    }

    /// The entries of `start..end` that are here, with their lengths. What is missing of the range lies before the first.
    pub fn range(&self, start: u64, end: u64) -> impl Iterator<Item = &(Entry, usize)> {
        let first = self.first_index().unwrap_or(0);
        let place = |index: u64| {
            usize::try_from(index.saturating_sub(first))
                .map_or(self.entries.len(), |place| place.min(self.entries.len()))
        };
        let from = place(start);
        self.entries.range(from..place(end).max(from))
    }

    fn first_index(&self) -> Option<u64> {
        self.entries.front().map(|(entry, _)| entry.log_id.index)
    }

    fn drop_first(&mut self) {
        if let Some((_, len)) = self.entries.pop_front() {
            self.bytes -= len;
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use openraft::vote::leader_id_std::CommittedLeaderId;

    use super::*;

    fn entry(index: u64) -> Entry {
        Entry { log_id: openraft::LogId::new(CommittedLeaderId::new(1), index), payload: EntryPayload::Blank }
    }

    fn indexes(recent: &Recent, start: u64, end: u64) -> Vec<u64> {
        recent.range(start, end).map(|(entry, _)| entry.log_id.index).collect()
    }

    #[test]
    fn what_the_disk_lacks_stays_and_the_rest_has_a_bound() {
        let mut recent = Recent::default();
        (1..=10).for_each(|index| recent.push(entry(index), KEPT_BYTES / 4));
        assert_eq!(indexes(&recent, 0, 100), (1..=10).collect::<Vec<_>>());
        recent.stored(3);
        assert_eq!(indexes(&recent, 0, 100), (4..=10).collect::<Vec<_>>());
        recent.stored(10);
        assert_eq!(indexes(&recent, 0, 100), [7, 8, 9, 10]);
        assert_eq!(indexes(&recent, 8, 10), [8, 9]);
        assert!(indexes(&recent, 20, 30).is_empty());
        assert!(indexes(&recent, 1, 3).is_empty());
    }

    #[test]
    fn both_ends_are_cut_and_the_end_grows_again() {
        let mut recent = Recent::default();
        (1..=6).for_each(|index| recent.push(entry(index), 1));
        recent.stored(6);
        recent.truncate(5);
        assert_eq!(recent.last().map(|last| last.log_id.index), Some(4));
        recent.purge(2);
        (5..=6).for_each(|index| recent.push(entry(index), KEPT_BYTES));
        // The disk has nothing of the new 5 and 6 yet.
        recent.stored(4);
        assert_eq!(indexes(&recent, 0, 100), [5, 6]);
        recent.push(entry(9), 1);
        assert_eq!(indexes(&recent, 0, 100), [9]);
    }
}
