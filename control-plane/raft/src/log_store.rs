//! The raft log, the vote and the committed index on disk.
//!
//! An entry can be read as soon as it is appended (`recent.rs`), so it travels to the followers while the disk takes it.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};

use crate::codec;
use crate::recent::Recent;
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
    newest: Arc<Mutex<Newest>>,
}

/// What is known before the disk has it.
#[derive(Default)]
struct Newest {
    recent: Recent,
    /// What is committed, when it was said after the last append. It goes to disk with the next one: it may be lost, then
    /// less is applied before the first leader is heard, nothing else.
    committed: Option<LogId>,
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
        Self { store, newest: Arc::default() }
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        // Nothing that holds it can stop half-way.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries of `start..end`, the first whatever its length, then as many as fit into `bytes_max`.
    fn entries(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        // Taken first: what leaves it meanwhile is on disk.
        let recent: Vec<(Entry, usize)> =
            self.newest().recent.range(start, end).take_while(within(bytes_max)).cloned().collect();
        let first = recent.first().map_or(end, |(entry, _)| entry.log_id.index);
        if first <= start {
            return Ok(recent.into_iter().map(|(entry, _)| entry).collect());
        }
        let values = self.store.read(|tx| range_values(tx, key(start), key(first), bytes_max))?;
        let mut entries = values.iter().map(|bytes| codec::decode_entry(bytes)).collect::<Result<Vec<_>, _>>()?;
        let mut bytes: usize = values.iter().map(Vec::len).sum();
        // A piece that the bound has cut off is not gone on from behind the cut.
        if entries.last().is_none_or(|last| last.log_id.index + 1 == first) {
            entries.extend(recent.into_iter().map_while(|(entry, len)| {
                bytes = bytes.saturating_add(len);
                (bytes <= bytes_max).then_some(entry)
            }));
        }
        Ok(entries)
    }

    /// Whose log it is, once somebody has written to it.
    pub fn owner(&self) -> io::Result<Option<u64>> {
        self.meta(OWNER, codec::decode_number)
    }

    /// Says whose log it is.
    pub async fn set_owner(&self, number: u64) -> io::Result<()> {
        let bytes = codec::encode(number);
        self.store.write_now(move |tx| tx.set(OWNER, bytes)).await
    }

    /// Which region's log it is (`origin.rs`), once it is known.
    pub fn origin(&self) -> io::Result<Option<u64>> {
        self.meta(ORIGIN, codec::decode_number)
    }

    /// Says which region's log it is.
    pub async fn set_origin(&self, mark: u64) -> io::Result<()> {
        let bytes = codec::encode(mark);
        self.store.write_now(move |tx| tx.set(ORIGIN, bytes)).await
    }

    /// Appends an entry; on disk when it returns. For recovery, while no raft runs.
    pub async fn append_durably(&self, entry: Entry) -> io::Result<()> {
        let (key, bytes) = (key(entry.log_id.index), codec::encode_entry(&entry));
        self.store.write_now(move |tx| tx.set(key, bytes)).await
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
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(start, end, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.entries(start, end, APPEND_BYTES)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.meta(VOTE, codec::decode_vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let newest = self.newest().recent.last().map(|entry| entry.log_id);
        let last_purged_log_id = self.meta(PURGED, codec::decode_log_id)?;
        if newest.is_some() {
            return Ok(LogState { last_purged_log_id, last_log_id: newest });
        }
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
        self.store.write_now(move |tx| tx.set(VOTE, bytes)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.newest().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let committed = self.newest().committed;
        if committed.is_some() { Ok(committed) } else { self.meta(COMMITTED, codec::decode_log_id) }
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (mut rows, mut bytes, mut last) = (Vec::new(), 0, 0);
        {
            let mut newest = self.newest();
            for entry in entries {
                let encoded = codec::encode_entry(&entry);
                (bytes, last) = (bytes + encoded.len(), entry.log_id.index);
                rows.push((key(entry.log_id.index), encoded));
                newest.recent.push(entry, rows.last().map_or(0, |(_, encoded)| encoded.len()));
            }
            if let Some(committed) = newest.committed.take() {
                rows.push((COMMITTED.to_vec(), codec::encode_log_id(&committed)));
            }
        }
        let newest = self.newest.clone();
        let done = Box::new(move |result: io::Result<()>| {
            if result.is_ok() {
                newest.lock().unwrap_or_else(PoisonError::into_inner).recent.stored(last);
            }
            callback.io_completed(result);
        });
        self.store.write_soon(bytes, |tx| rows.into_iter().try_for_each(|(key, value)| tx.set(key, value)), done).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let start = last_log_id.map_or(0, |id| id.index + 1);
        self.store.write_now(move |tx| tx.delete_range(key(start), end_key())).await?;
        // Behind it, for an append that was still on its way to the disk says that these are there.
        self.newest().recent.truncate(start);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let bytes = codec::encode_log_id(&log_id);
        self.newest().recent.purge(log_id.index);
        self.store
            .write_now(move |tx| {
                tx.set(PURGED, bytes)?;
                tx.delete_range(key(0), key(log_id.index + 1))
            })
            .await
    }
}

/// Lets entries pass until their lengths are over the bound; the first always.
fn within(bytes_max: usize) -> impl FnMut(&&(Entry, usize)) -> bool {
    let mut bytes: Option<usize> = None;
    move |(_, len)| {
        let sum = bytes.map_or(*len, |bytes| bytes.saturating_add(*len));
        let is_first = bytes.replace(sum).is_none();
        is_first || sum <= bytes_max
    }
}
