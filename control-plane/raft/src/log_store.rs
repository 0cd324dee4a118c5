//! The raft log, the vote and the committed index on disk.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};

use crate::codec;
use crate::store::{Store, last_value, range_values};
use crate::types::{Entry, LogId, TypeConfig, Vote};

const VOTE: &[u8] = b"m/vote";
const COMMITTED: &[u8] = b"m/committed";
const PURGED: &[u8] = b"m/purged";
const OWNER: &[u8] = b"m/owner";
const ORIGIN: &[u8] = b"m/origin";
/// How much one message carries to a follower that is behind, in bytes; a longer entry travels alone.
const APPEND_BYTES: usize = 1 << 20;
const ENTRY_PREFIX: u8 = b'e';

/// The log. A clone reads and writes the same one.
#[derive(Clone)]
pub struct LogStore {
    store: Arc<Store>,
}

fn key(index: u64) -> Vec<u8> {
    let mut key = vec![ENTRY_PREFIX];
    key.extend(index.to_be_bytes());
    key
}

/// Past every entry.
fn end_key() -> Vec<u8> {
    vec![ENTRY_PREFIX + 1]
}

impl LogStore {
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Whose log it is, once somebody has written to it.
    pub fn owner(&self) -> io::Result<Option<u64>> {
        self.meta(OWNER, codec::decode_number)
    }

    /// Says whose log it is.
    pub async fn set_owner(&self, number: u64) -> io::Result<()> {
        let bytes = codec::encode(number);
        self.store.write_now(|tx| tx.set(OWNER, bytes)).await
    }

    /// Which region's log it is (`origin.rs`), once it is known.
    pub fn origin(&self) -> io::Result<Option<u64>> {
        self.meta(ORIGIN, codec::decode_number)
    }

    /// Says which region's log it is.
    pub async fn set_origin(&self, mark: u64) -> io::Result<()> {
        let bytes = codec::encode(mark);
        self.store.write_now(|tx| tx.set(ORIGIN, bytes)).await
    }

    /// Appends an entry; on disk when it returns. For recovery, while no raft runs.
    pub async fn append_durably(&self, entry: Entry) -> io::Result<()> {
        let (key, bytes) = (key(entry.log_id.index), codec::encode_entry(&entry));
        self.store.write_now(|tx| tx.set(key, bytes)).await
    }

    fn meta<T>(&self, key: &[u8], decode: impl Fn(&[u8]) -> io::Result<T>) -> io::Result<Option<T>> {
        self.store.read(|tx| tx.get(key))?.map(|bytes| decode(&bytes)).transpose()
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => key(index.saturating_add(1)),
            Bound::Excluded(index) => key(*index),
            Bound::Unbounded => end_key(),
        };
        let values = self.store.read(|tx| range_values(tx, key(start), end, usize::MAX))?;
        values.iter().map(|bytes| codec::decode_entry(bytes)).collect()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let values = self.store.read(|tx| range_values(tx, key(start), key(end), APPEND_BYTES))?;
        values.iter().map(|bytes| codec::decode_entry(bytes)).collect()
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.meta(VOTE, codec::decode_vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let last_purged_log_id = self.meta(PURGED, codec::decode_log_id)?;
        // Starts after what was purged: dead keys below it would be walked over until they are compacted away.
        let start = last_purged_log_id.as_ref().map_or(0, |id| id.index + 1);
        let last = self.store.read(|tx| last_value(tx, key(start), end_key()))?;
        let last_log_id = match last {
            Some(bytes) => Some(codec::decode_entry(&bytes)?.log_id),
            None => last_purged_log_id,
        };
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let bytes = codec::encode_vote(vote);
        self.store.write_now(|tx| tx.set(VOTE, bytes)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let bytes = committed.as_ref().map(codec::encode_log_id);
        // May be lost: then less is applied before the first leader is heard, nothing else.
        self.store
            .write_lazily(|tx| match bytes {
                Some(bytes) => tx.set(COMMITTED, bytes),
                None => tx.delete(COMMITTED),
            })
            .await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        self.meta(COMMITTED, codec::decode_log_id)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let rows: Vec<_> = entries.into_iter().map(|e| (key(e.log_id.index), codec::encode_entry(&e))).collect();
        let done = Box::new(move |result| callback.io_completed(result));
        self.store.write_soon(done, |tx| rows.into_iter().try_for_each(|(key, bytes)| tx.set(key, bytes))).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let start = key(last_log_id.map_or(0, |id| id.index + 1));
        self.store.write_now(|tx| tx.delete_range(start, end_key())).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let bytes = codec::encode_log_id(&log_id);
        self.store
            .write_now(|tx| {
                tx.set(PURGED, bytes)?;
                tx.delete_range(key(0), key(log_id.index + 1))
            })
            .await
    }
}
