//! The disk below the log: one surrealkv tree on threads of its own.
//!
//! surrealkv runs flush, compaction and fsync on whichever thread polls it, so the tree gets a small runtime to itself. One
//! writer there takes what waits, in order, and writes it as one transaction with one fsync (group commit).

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use surrealkv::{Durability, LSMIterator, Mode, Transaction, Tree, TreeBuilder};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Keys kept in memory before they are written out. surrealkv counts keys only, values come on top.
const MEMTABLE_BYTES: usize = 4 << 20;
/// Read cache.
const BLOCK_CACHE_BYTES: u64 = 8 << 20;
/// Waiting writes; a full queue makes writers wait: the disk is the limit then.
const QUEUE_MAX: usize = 4096;
/// What waits may have so many bytes, and whatever its length one write.
const WAITING_BYTES_MAX: u32 = 64 << 20;
/// Writes of so many bytes go in one transaction; a longer one goes alone.
const GROUP_BYTES: usize = 1 << 20;

/// What to do once the disk has it (or has not).
pub type OnDurable = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What is written.
type Write = Box<dyn FnOnce(&mut Transaction) -> surrealkv::Result<()> + Send>;

struct Job {
    write: Write,
    bytes: usize,
    /// May go in one transaction with its neighbours.
    may_share: bool,
    /// Its bytes of those that may wait, given back when it is done.
    room: OwnedSemaphorePermit,
    done: OnDurable,
}

/// The tree. It is closed when this is dropped.
pub struct Store {
    // Dropped in order: queue (ends the writer), tree, runtime.
    queue: Option<mpsc::Sender<Job>>,
    room: Arc<Semaphore>,
    /// Ends when the writer has.
    writer: Mutex<std::sync::mpsc::Receiver<()>>,
    tree: Arc<Tree>,
    runtime: Option<Runtime>,
    dir: std::path::PathBuf,
}

fn store_error(what: &str, dir: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{what} log store in {}: {error}", dir.display()))
}

fn closed() -> io::Error {
    io::Error::other("log store is closed")
}

impl Store {
    /// Opens the tree in `dir`, which is made when it is not there. A second process on the same directory is refused.
    pub fn open(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("store").enable_time().build()?;
        let opened = {
            let _guard = runtime.enter();
            TreeBuilder::new()
                .with_path(dir.to_path_buf())
                .with_max_memtable_size(MEMTABLE_BYTES)
                .with_block_cache_capacity(BLOCK_CACHE_BYTES)
                .build()
        };
        let tree = match opened {
            Ok(tree) => Arc::new(tree),
            Err(error) => {
                // The caller may be async, where a runtime must not be waited for.
                runtime.shutdown_background();
                return Err(store_error("open", dir, error));
            }
        };
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let (ended, writer) = std::sync::mpsc::channel();
        runtime.spawn({
            let (tree, dir) = (tree.clone(), dir.to_path_buf());
            async move {
                write_loop(&tree, &dir, waiting).await;
                drop(tree);
                drop(ended);
            }
        });
        Ok(Self {
            queue: Some(queue),
            room: Arc::new(Semaphore::new(WAITING_BYTES_MAX as usize)),
            writer: Mutex::new(writer),
            tree,
            runtime: Some(runtime),
            dir: dir.to_path_buf(),
        })
    }

    /// Reads on a frozen view.
    pub fn read<T>(&self, f: impl FnOnce(&Transaction) -> surrealkv::Result<T>) -> io::Result<T> {
        let tx = self.tree.begin_with_mode(Mode::ReadOnly).map_err(|e| store_error("read", &self.dir, e))?;
        f(&tx).map_err(|e| store_error("read", &self.dir, e))
    }

    /// Writes after all that was asked for before, in a transaction of its own; on disk when it returns.
    pub async fn write_now(
        &self,
        write: impl FnOnce(&mut Transaction) -> surrealkv::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let (tell, told) = oneshot::channel();
        // Nobody may wait any more: it is written all the same.
        let done = Box::new(move |result| drop(tell.send(result)));
        self.send(0, Box::new(write), false, done).await?;
        told.await.map_err(|_| closed())?
    }

    /// Will write it after all that was asked for before; `done` is called when it is on disk. `bytes` is about its length.
    pub async fn write_soon(
        &self,
        bytes: usize,
        write: impl FnOnce(&mut Transaction) -> surrealkv::Result<()> + Send + 'static,
        done: OnDurable,
    ) -> io::Result<()> {
        self.send(bytes, Box::new(write), true, done).await
    }

    async fn send(&self, bytes: usize, write: Write, may_share: bool, done: OnDurable) -> io::Result<()> {
        let asked = u32::try_from(bytes).map_or(WAITING_BYTES_MAX, |bytes| bytes.min(WAITING_BYTES_MAX));
        let room = self.room.clone().acquire_many_owned(asked).await.map_err(|_| closed())?;
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        queue.send(Job { write, bytes, may_share, room, done }).await.map_err(|_| closed())
    }

    /// Closes the tree and frees its lock. Everything acknowledged is on disk already: this only saves work at the next
    /// start. Later reads and writes fail.
    pub async fn close(&self) -> io::Result<()> {
        let runtime = self.runtime.as_ref().ok_or_else(closed)?;
        let tree = self.tree.clone();
        let closed = runtime.spawn(async move { tree.close().await }).await;
        closed.map_err(io::Error::other)?.map_err(|e| store_error("close", &self.dir, e))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.queue.take();
        // It says nothing, it only ends; what still waits is written first.
        let _ = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).recv();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Writes what waits until nobody can ask for more. After a failure nothing is written: what comes later would stand behind a
/// hole, and a failed fsync is never tried again (the kernel may have dropped what it could not write).
async fn write_loop(tree: &Tree, dir: &Path, mut waiting: mpsc::Receiver<Job>) {
    let (mut next, mut result) = (None, Ok(()));
    loop {
        let Some(first) = (match next.take() {
            Some(job) => Some(job),
            None => waiting.recv().await,
        }) else {
            return;
        };
        let (mut bytes, mut group) = (first.bytes, vec![first]);
        while group[0].may_share
            && next.is_none()
            && let Ok(job) = waiting.try_recv()
        {
            bytes += job.bytes;
            if job.may_share && bytes <= GROUP_BYTES {
                group.push(job);
            } else {
                next = Some(job);
            }
        }
        let (writes, ends): (Vec<_>, Vec<_>) = group.into_iter().map(|job| (job.write, (job.done, job.room))).unzip();
        if result.is_ok() {
            result = commit(tree, writes).await;
        }
        for (done, _room) in ends {
            done(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(store_error("write", dir, error)),
            });
        }
    }
}

/// Writes these in one transaction and waits for the disk.
async fn commit(tree: &Tree, writes: Vec<Write>) -> Result<(), String> {
    let text = |error: surrealkv::Error| error.to_string();
    let mut tx = tree.begin_with_mode(Mode::WriteOnly).map_err(text)?;
    tx.set_durability(Durability::Immediate);
    for write in writes {
        write(&mut tx).map_err(text)?;
    }
    tx.commit().await.map_err(text)?;
    // What goes wrong behind the writes (compaction, a flush) is found here: nothing is acknowledged after it.
    match tree.is_stopped() {
        false => Ok(()),
        true => Err(tree.background_error().map_or_else(String::new, |error| format!("{error:?}"))),
    }
}

/// Collects the values of a range of keys: the first, then as many as fit into `bytes_max`.
pub fn range_values(
    tx: &Transaction,
    start: Vec<u8>,
    end: Vec<u8>,
    bytes_max: usize,
) -> surrealkv::Result<Vec<Vec<u8>>> {
    let mut values: Vec<Vec<u8>> = Vec::new();
    let mut bytes = 0;
    let mut iter = tx.range(start, end)?;
    iter.seek_first()?;
    while iter.valid() {
        let value = iter.value()?.to_vec();
        bytes += value.len();
        if bytes > bytes_max && !values.is_empty() {
            break;
        }
        values.push(value);
        iter.next()?;
    }
    Ok(values)
}

/// The value of the greatest key of a range.
pub fn last_value(tx: &Transaction, start: Vec<u8>, end: Vec<u8>) -> surrealkv::Result<Option<Vec<u8>>> {
    let mut iter = tx.range(start, end)?;
    iter.seek_last()?;
    Ok(if iter.valid() { Some(iter.value()?.to_vec()) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_written_behind_a_write_that_failed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.write_now(|tx| tx.set(b"1", b"kept")).await.unwrap();
        let (tell, told) = oneshot::channel();
        let done = Box::new(move |result| tell.send(result).unwrap());
        store.write_soon(1, |_| Err(surrealkv::Error::TransactionClosed), done).await.unwrap();
        assert!(store.write_now(|tx| tx.set(b"3", b"behind it")).await.is_err());
        assert!(told.await.unwrap().is_err());
        store.close().await.unwrap();
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        let read = |key: &'static [u8]| store.read(|tx| tx.get(key)).unwrap();
        assert_eq!((read(b"1").as_deref(), read(b"3")), (Some(&b"kept"[..]), None));
    }
}
