//! What the edge remembers, as one file of records that is only ever appended to, and rewritten when it is mostly past.
//!
//! ```text
//! record:  length u32 | checksum u32 | key length u16 | tag u8 | key | value       (little endian; tag 1 put, 2 delete)
//! ```
//! One thread writes: whatever has come while it was busy goes out with one fsync. A later value for a key takes the place
//! of one that is still waiting, so what waits is bounded by the number of keys. After a crash the file ends with the
//! last whole record. Behind the last record stand zeros: a file that does not grow is synced without what else of the file
//! system has changed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

const FILE: &str = "state.log";
/// How the file begins; the digit is the version of its form.
const MAGIC: &[u8; 8] = b"drvedge1";
const HEADER_LEN: usize = 11;
/// The largest record that is believed, in bytes.
const RECORD_MAX: usize = 16 << 20;
/// A file below this size is never rewritten.
const REWRITE_MIN: u64 = 1 << 20;
/// Zeros that are written behind the records whenever these reach the end of the file, in bytes.
const RESERVE: usize = 256 << 10;
/// The wait after a write that failed.
const RETRY: Duration = Duration::from_secs(1);
/// The stack of the writing thread, in bytes.
const STACK_BYTES: usize = 128 << 10;

/// Why the store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of it can't be used.
    #[error("{what} {path}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Another agent uses it.
    #[error("{0} is used by another agent")]
    Locked(PathBuf),
    /// The file is not one of ours, or one of a later version.
    #[error("{0} is no edge state that this version reads")]
    Foreign(PathBuf),
}

/// The edge's memory. Copies are the same one.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    pending: Mutex<Pending>,
    wake: Condvar,
    /// Keeps other agents out; given up with the writing thread.
    lock: Mutex<Option<File>>,
}

#[derive(Default)]
struct Pending {
    changes: BTreeMap<String, Option<Vec<u8>>>,
    waiters: Vec<oneshot::Sender<()>>,
    /// Nothing is taken any more; whoever waits for this learns when nothing is written any more.
    closing: Option<oneshot::Sender<()>>,
    is_closed: bool,
}

impl Store {
    /// Opens the store in that directory and reads all that is in it.
    pub fn open(dir: &Path) -> Result<(Store, BTreeMap<String, Vec<u8>>), StoreError> {
        let lock = lock(dir)?;
        let (log, values) = Log::open(dir)?;
        let shared = Arc::new(Shared { pending: Mutex::default(), wake: Condvar::new(), lock: Mutex::new(Some(lock)) });
        let writer = shared.clone();
        std::thread::Builder::new()
            .name("store".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                write_all(&writer, log);
                writer.release();
            })
            .map_err(|source| StoreError::Io { what: "start a thread for", path: dir.to_owned(), source })?;
        Ok((Store { shared }, values))
    }

    /// Keeps a value. Resolves when it is on disk; with an error when a write failed (it is tried again all the same).
    pub fn put(&self, key: String, value: Vec<u8>) -> oneshot::Receiver<()> {
        self.change(key, Some(value))
    }

    /// Keeps a value together with what is put next, which is sure to come at once: the disk is waited for once.
    pub fn put_with_next(&self, key: String, value: Vec<u8>) {
        let mut pending = self.pending();
        if !pending.is_closed {
            pending.changes.insert(key, Some(value));
        }
    }

    /// Forgets a value.
    pub fn delete(&self, key: String) -> oneshot::Receiver<()> {
        self.change(key, None)
    }

    /// Takes nothing any more, writes what waits, and lets the next agent in.
    pub async fn close(self) {
        let (tx, closed) = oneshot::channel();
        {
            let mut pending = self.pending();
            pending.is_closed = true;
            pending.closing = Some(tx);
        }
        self.shared.wake.notify_one();
        let _ = closed.await;
    }

    fn change(&self, key: String, value: Option<Vec<u8>>) -> oneshot::Receiver<()> {
        let (tx, rx) = oneshot::channel();
        let mut pending = self.pending();
        // After the close whoever waits gets an error.
        if !pending.is_closed {
            pending.changes.insert(key, value);
            pending.waiters.push(tx);
            self.shared.wake.notify_one();
        }
        rx
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.shared.pending()
    }
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        // The map stays whole whatever a panicking holder did between two of its calls.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(closing) = self.pending().closing.take() {
            let _ = closing.send(());
        }
    }
}

/// The writing thread.
fn write_all(shared: &Shared, mut log: Log) {
    loop {
        let (changes, waiters) = {
            let mut pending = shared.pending();
            while pending.changes.is_empty() && pending.waiters.is_empty() {
                if pending.is_closed {
                    return;
                }
                pending = shared.wake.wait(pending).unwrap_or_else(PoisonError::into_inner);
            }
            (std::mem::take(&mut pending.changes), std::mem::take(&mut pending.waiters))
        };
        match log.append(&changes) {
            Ok(()) => waiters.into_iter().for_each(|waiter| {
                let _ = waiter.send(());
            }),
            Err(error) => {
                tracing::error!(path = %log.path.display(), %error, "edge state not written, trying again");
                drop(waiters);
                let mut pending = shared.pending();
                for (key, value) in changes {
                    pending.changes.entry(key).or_insert(value);
                }
                if pending.is_closed {
                    return;
                }
                drop(pending);
                std::thread::sleep(RETRY);
            }
        }
    }
}

/// The file, and where in it the present value of each key stands.
struct Log {
    path: PathBuf,
    file: File,
    len: u64,
    /// The length of the file: from `len` on it holds zeros.
    file_len: u64,
    /// Offset and length of values.
    live: BTreeMap<String, (u64, usize)>,
    /// A write has failed: what the kernel holds of this file is not to be trusted any more.
    is_suspect: bool,
}

impl Log {
    fn open(dir: &Path) -> Result<(Log, BTreeMap<String, Vec<u8>>), StoreError> {
        let path = dir.join(FILE);
        let failed = |what| {
            let path = path.clone();
            move |source| StoreError::Io { what, path, source }
        };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("read"))?;
        let mut log = Log { path: path.clone(), file, len: 0, file_len: 0, live: BTreeMap::new(), is_suspect: false };
        // A first start that was cut short has left a part of the beginning.
        if bytes.len() < MAGIC.len() && MAGIC.starts_with(&bytes) {
            log.file.set_len(0).map_err(failed("truncate"))?;
            log.file.write_all_at(MAGIC, 0).map_err(failed("write"))?;
            log.file.sync_all().map_err(failed("sync"))?;
            sync_dir(dir).map_err(failed("sync the directory of"))?;
            (log.len, log.file_len) = (MAGIC.len() as u64, MAGIC.len() as u64);
            return Ok((log, BTreeMap::new()));
        }
        if !bytes.starts_with(MAGIC) {
            return Err(StoreError::Foreign(path));
        }
        let mut values = BTreeMap::new();
        let mut at = MAGIC.len();
        while let Some((key, value, len)) = record_at(&bytes, at) {
            match value {
                Some(value) => {
                    let offset = at + len - value.len();
                    log.live.insert(key.to_owned(), (offset as u64, value.len()));
                    values.insert(key.to_owned(), value.to_vec());
                }
                None => {
                    log.live.remove(key);
                    values.remove(key);
                }
            }
            at += len;
        }
        (log.len, log.file_len) = (at as u64, bytes.len() as u64);
        if bytes[at..].iter().any(|byte| *byte != 0) {
            tracing::warn!(path = %path.display(), bytes = bytes.len() - at, "edge state ends with an incomplete record");
            log.file.set_len(log.len).map_err(failed("truncate"))?;
            log.file_len = log.len;
        }
        Ok((log, values))
    }

    fn append(&mut self, changes: &BTreeMap<String, Option<Vec<u8>>>) -> std::io::Result<()> {
        if self.is_suspect {
            self.rewrite()?;
            self.is_suspect = false;
        }
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        for (key, value) in changes {
            write_record(&mut bytes, key, value.as_deref());
            places.push(bytes.len());
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.write(&bytes) {
            self.is_suspect = true;
            // Best effort: the next start would skip a torn record anyway.
            let _ = self.file.set_len(self.len);
            return Err(error);
        }
        for ((key, value), end) in changes.iter().zip(places) {
            match value {
                Some(value) => {
                    let offset = self.len + (end - value.len()) as u64;
                    self.live.insert(key.clone(), (offset, value.len()));
                }
                None => drop(self.live.remove(key)),
            }
        }
        self.len += bytes.len() as u64;
        // Counted only where it matters: there may be thousands of values.
        if self.len > REWRITE_MIN
            && self.len > self.live_bytes() * 4
            && let Err(error) = self.rewrite()
        {
            // The old file is whole; the next change tries again.
            tracing::warn!(path = %self.path.display(), %error, "edge state not compacted");
        }
        Ok(())
    }

    /// Writes behind the last record; on disk when it returns.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all_at(bytes, self.len)?;
        let end = self.len + bytes.len() as u64;
        if end > self.file_len {
            self.file_len = end + RESERVE as u64;
            if self.file.write_all_at(&vec![0; RESERVE], end).is_err() {
                // A disk that is nearly full may still take the record.
                self.file_len = end;
                self.file.set_len(end)?;
            }
        }
        self.file.sync_data()
    }

    /// Bytes of the records that count.
    fn live_bytes(&self) -> u64 {
        self.live.iter().map(|(key, (_, len))| (HEADER_LEN + key.len() + len) as u64).sum()
    }

    /// Writes the present values to a new file and puts it in the place of the old one.
    fn rewrite(&mut self) -> std::io::Result<()> {
        let new_path = self.path.with_extension("new");
        let mut new = File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(&new_path)?;
        let mut live = BTreeMap::new();
        new.write_all(MAGIC)?;
        let mut len = MAGIC.len() as u64;
        for (key, (offset, value_len)) in &self.live {
            let mut value = vec![0; *value_len];
            self.file.read_exact_at(&mut value, *offset)?;
            let mut record = Vec::new();
            write_record(&mut record, key, Some(&value));
            new.write_all(&record)?;
            len += record.len() as u64;
            live.insert(key.clone(), (len - *value_len as u64, *value_len));
        }
        new.sync_all()?;
        fs::rename(&new_path, &self.path)?;
        // From here on the old file has no name: what is written to it would be lost.
        (self.file, self.len, self.file_len, self.live) = (new, len, len, live);
        match self.path.parent() {
            Some(dir) => sync_dir(dir).inspect_err(|_| self.is_suspect = true),
            None => Ok(()),
        }
    }
}

fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let failed = |source| StoreError::Io { what: "open", path: path.clone(), source };
    let file = File::options().create(true).append(true).mode(0o600).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Locked(dir.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(StoreError::Io { what: "lock", path, source }),
    }
}

fn write_record(out: &mut Vec<u8>, key: &str, value: Option<&[u8]>) {
    let (tag, value) = match value {
        Some(value) => (1u8, value),
        None => (2, &[][..]),
    };
    let mut body = Vec::with_capacity(3 + key.len() + value.len());
    body.extend(u16::try_from(key.len()).expect("keys are short ids").to_le_bytes());
    body.push(tag);
    body.extend_from_slice(key.as_bytes());
    body.extend_from_slice(value);
    out.extend(u32::try_from(body.len()).expect("an alloc's state is far below 4 GiB").to_le_bytes());
    out.extend(checksum(&body).to_le_bytes());
    out.extend(body);
}

/// Key, value (none for a deletion) and length of the record there; none where no whole record is.
fn record_at(bytes: &[u8], at: usize) -> Option<(&str, Option<&[u8]>, usize)> {
    let rest = bytes.get(at..)?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    let body = rest.get(..len).filter(|_| len <= RECORD_MAX)?;
    if checksum(body) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (key_len, body) = body.split_first_chunk::<2>()?;
    let (tag, body) = body.split_first()?;
    let (key, value) = body.split_at_checked(usize::from(u16::from_le_bytes(*key_len)))?;
    let key = std::str::from_utf8(key).ok()?;
    let value = match tag {
        1 => Some(value),
        2 => None,
        _ => return None,
    };
    Some((key, value, 8 + len))
}

/// CRC-32 (IEEE), a byte at a time: each start of a task is some records of a few KiB.
fn checksum(bytes: &[u8]) -> u32 {
    static TABLE: [u32; 256] = checksums_of_bytes();
    let step = |crc: u32, byte: &u8| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)];
    !bytes.iter().fold(u32::MAX, step)
}

const fn checksums_of_bytes() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &Path) -> (Log, BTreeMap<String, Vec<u8>>) {
        Log::open(dir).unwrap()
    }

    fn put(key: &str, value: &str) -> BTreeMap<String, Option<Vec<u8>>> {
        BTreeMap::from([(key.to_owned(), Some(value.as_bytes().to_vec()))])
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_was_put_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (store, values) = Store::open(dir.path()).unwrap();
            assert!(values.is_empty());
            assert!(matches!(Store::open(dir.path()), Err(StoreError::Locked(_))));
            drop(store.put("a".to_owned(), b"1".to_vec()));
            drop(store.put("b".to_owned(), b"2".to_vec()));
            store.put("a".to_owned(), b"3".to_vec()).await.unwrap();
            store.delete("b".to_owned()).await.unwrap();
            store.close().await;
        });
        let (_, values) = log(dir.path());
        assert_eq!(values, BTreeMap::from([("a".to_owned(), b"3".to_vec())]));
    }

    #[test]
    fn every_cut_leaves_whole_records() {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, _) = log(dir.path());
        first.append(&put("a", "one")).unwrap();
        let after_first = first.len as usize;
        first.append(&put("b", "two")).unwrap();
        let mut whole = fs::read(dir.path().join(FILE)).unwrap();
        assert_eq!(whole.len() as u64, first.file_len);
        assert_eq!(log(dir.path()).0.file_len, first.file_len, "zeros behind the last record stay");
        whole.truncate(first.len as usize);
        for cut in MAGIC.len()..whole.len() {
            fs::write(dir.path().join(FILE), &whole[..cut]).unwrap();
            let (mut log, values) = log(dir.path());
            assert_eq!(values.len(), usize::from(cut >= after_first), "cut at {cut}");
            log.append(&put("c", "three")).unwrap();
            assert_eq!(Log::open(dir.path()).unwrap().1["c"], b"three");
        }
        for cut in 0..MAGIC.len() {
            fs::write(dir.path().join(FILE), &whole[..cut]).unwrap();
            assert!(log(dir.path()).1.is_empty(), "cut at {cut}");
        }
        fs::write(dir.path().join(FILE), "something else").unwrap();
        assert!(matches!(Log::open(dir.path()), Err(StoreError::Foreign(_))));
    }

    #[test]
    fn a_file_that_is_mostly_past_is_rewritten() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = log(dir.path());
        let large = "x".repeat(100_000);
        for round in 0..40 {
            log.append(&put(&format!("k{}", round % 2), &format!("{round}{large}"))).unwrap();
        }
        assert!(log.len < 2 * REWRITE_MIN, "{}", log.len);
        log.is_suspect = true;
        log.append(&put("last", "1")).unwrap();
        let (_, values) = Log::open(dir.path()).unwrap();
        assert_eq!(values.len(), 3);
        assert!(values["k1"].starts_with(b"39x") && values["k0"].starts_with(b"38x"));
    }
}
