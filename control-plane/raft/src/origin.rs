//! Which region a log belongs to: a mark made of the servers that formed it.
//!
//! Servers that were cut off from each other may form two regions of one name, each with its own log and its own
//! acknowledged writes. Raft alone would take the shorter-lived log for an old copy of the other and cut it off. So every
//! call says for which log it speaks, a server keeps the mark of the first log that it has taken part in, and refuses
//! every other.

use std::io;
use std::sync::{PoisonError, RwLock};

use tokio::sync::{Mutex, MutexGuard};

use crate::log_store::LogStore;

/// The mark of the region that these servers form. Numbers of servers are random, so no two sets have one mark.
pub fn of(founders: impl IntoIterator<Item = u64>) -> u64 {
    let mut numbers: Vec<u64> = founders.into_iter().collect();
    numbers.sort_unstable();
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    let digest = crate::staged::digest(&bytes);
    let mut mark = [0; 8];
    mark.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(mark)
}

/// The mark of this server's log.
pub struct Origin {
    log: LogStore,
    known: RwLock<Option<u64>>,
    /// Held by whoever is about to give a log without a mark its first.
    adopting: Mutex<()>,
}

impl Origin {
    /// As the disk has it.
    pub fn open(log: LogStore) -> io::Result<Self> {
        let known = RwLock::new(log.origin()?);
        Ok(Self { log, known, adopting: Mutex::new(()) })
    }

    /// The mark; none before this server has taken part in any region.
    pub fn known(&self) -> Option<u64> {
        *self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the right to give the first mark.
    pub async fn adopting(&self) -> MutexGuard<'_, ()> {
        self.adopting.lock().await
    }

    /// Says it to others from now on, without a word to the disk. Only for whoever forms the region: after a crash the
    /// log's first members tell the mark.
    pub fn show(&self, mark: Option<u64>) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = mark;
    }

    /// Keeps the mark; on disk when it returns.
    pub async fn keep(&self, mark: u64) -> io::Result<()> {
        self.log.set_origin(mark).await?;
        self.show(Some(mark));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn a_mark_is_of_the_servers_in_any_order_and_of_no_others() {
        assert_eq!(of([1, 2, 3]), of([3, 1, 2]));
        assert_ne!(of([1, 2, 3]), of([1, 2]));
        assert_ne!(of([1, 2, 3]), of([1, 2, 4]));
    }
}
