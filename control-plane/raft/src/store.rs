//! The disk below the log: one surrealkv tree on threads of its own.
//!
//! surrealkv runs flush, compaction and fsync on whichever thread polls it, so the tree gets a small runtime to itself;
//! its default durability does not fsync, so writes go through the two functions here: [`Store::write_now`] is durable
//! when it returns, [`Store::write_soon`] is readable when it returns and durable when the flusher says so. One fsync
//! serves every write that waits for it (group commit).

use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use surrealkv::{Durability, LSMIterator, Mode, Transaction, Tree, TreeBuilder};
use tokio::runtime::{Builder, Runtime};

/// Keys kept in memory before they are written out. surrealkv counts keys only, values come on top.
const MEMTABLE_BYTES: usize = 4 << 20;
/// Read cache.
const BLOCK_CACHE_BYTES: u64 = 8 << 20;
/// Waiting flushes; a full queue makes writers wait.
const FLUSH_QUEUE_MAX: usize = 4096;

/// What to do once the disk has it (or has not).
pub type OnDurable = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The tree. It is closed when this is dropped.
pub struct Store {
    // Dropped in order: queue (ends the flusher), flusher, tree, runtime.
    flush_queue: Option<mpsc::SyncSender<OnDurable>>,
    flusher: Option<JoinHandle<()>>,
    tree: std::sync::Arc<Tree>,
    runtime: Option<Runtime>,
    dir: std::path::PathBuf,
}

fn store_error(what: &str, dir: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{what} log store in {}: {error}", dir.display()))
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
            Ok(tree) => std::sync::Arc::new(tree),
            Err(error) => {
                // The caller may be async, where a runtime must not be waited for.
                runtime.shutdown_background();
                return Err(store_error("open", dir, error));
            }
        };
        let (flush_queue, waiting) = mpsc::sync_channel(FLUSH_QUEUE_MAX);
        let flusher = std::thread::Builder::new().name("log-flush".to_owned()).spawn({
            let tree = tree.clone();
            let handle = runtime.handle().clone();
            let dir = dir.to_path_buf();
            move || {
                let _guard = handle.enter();
                flush_loop(&tree, &dir, &waiting);
            }
        })?;
        Ok(Self {
            flush_queue: Some(flush_queue),
            flusher: Some(flusher),
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

    /// Writes; on disk when it returns.
    pub async fn write_now(&self, f: impl FnOnce(&mut Transaction) -> surrealkv::Result<()>) -> io::Result<()> {
        self.commit(Durability::Immediate, f).await
    }

    /// Writes; readable when it returns, on disk when `done` is called.
    pub async fn write_soon(
        &self,
        done: OnDurable,
        f: impl FnOnce(&mut Transaction) -> surrealkv::Result<()>,
    ) -> io::Result<()> {
        self.commit(Durability::Eventual, f).await?;
        let queue = self.flush_queue.as_ref().ok_or_else(|| io::Error::other("log store is closed"))?;
        match queue.try_send(done) {
            Ok(()) => Ok(()),
            Err(mpsc::TrySendError::Full(done)) => {
                // Thousands of writes wait for one fsync: the disk is the limit, waiting here is the back-pressure.
                queue.send(done).map_err(|_| io::Error::other("log store is closed"))
            }
            Err(mpsc::TrySendError::Disconnected(_)) => Err(io::Error::other("log store is closed")),
        }
    }

    /// Writes that need not be on disk: losing them costs time, not data.
    pub async fn write_lazily(&self, f: impl FnOnce(&mut Transaction) -> surrealkv::Result<()>) -> io::Result<()> {
        self.commit(Durability::Eventual, f).await
    }

    /// Closes the tree and frees its lock. Everything acknowledged is on disk already: this only saves work at the next
    /// start. Later reads and writes fail.
    pub async fn close(&self) -> io::Result<()> {
        let runtime = self.runtime.as_ref().ok_or_else(|| io::Error::other("log store is closed"))?;
        let tree = self.tree.clone();
        let closed = runtime.spawn(async move { tree.close().await }).await;
        closed.map_err(io::Error::other)?.map_err(|e| store_error("close", &self.dir, e))
    }

    async fn commit(
        &self,
        durability: Durability,
        f: impl FnOnce(&mut Transaction) -> surrealkv::Result<()>,
    ) -> io::Result<()> {
        let wrong = |error: surrealkv::Error| store_error("write", &self.dir, error);
        let mut tx = self.tree.begin_with_mode(Mode::WriteOnly).map_err(wrong)?;
        tx.set_durability(durability);
        f(&mut tx).map_err(wrong)?;
        let runtime = self.runtime.as_ref().ok_or_else(|| io::Error::other("log store is closed"))?;
        let commit = runtime.spawn(async move { tx.commit().await });
        commit.await.map_err(|e| store_error("write", &self.dir, e))?.map_err(wrong)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.flush_queue.take();
        if let Some(flusher) = self.flusher.take() {
            // A flusher that panicked has nothing left to say; its callers were told by their dropped callbacks.
            let _ = flusher.join();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn flush_loop(tree: &Tree, dir: &Path, waiting: &mpsc::Receiver<OnDurable>) {
    let mut batch = Vec::new();
    while let Ok(first) = waiting.recv() {
        batch.push(first);
        batch.extend(waiting.try_iter().take(FLUSH_QUEUE_MAX));
        // What goes wrong behind the writes (compaction, a flush) is found here: nothing is acknowledged after it.
        let result = tree.flush_wal(true).map_err(|e| e.to_string()).and_then(|()| match tree.is_stopped() {
            false => Ok(()),
            true => Err(tree.background_error().map_or_else(String::new, |e| format!("{e:?}"))),
        });
        for done in batch.drain(..) {
            // A failed fsync is never tried again: the kernel may have dropped what it could not write.
            done(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(store_error("sync", dir, error)),
            });
        }
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
