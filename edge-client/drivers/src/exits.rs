//! Brings the end of each task to whoever waits for it, whichever comes first.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::driver::Exit;

/// Most ends kept for tasks that nobody waits for yet; the supervisor tells them again after a reconnect.
const UNCLAIMED_MAX: usize = 8192;

/// Ends of tasks by task id.
#[derive(Debug, Default)]
pub struct Exits {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: BTreeMap<String, oneshot::Sender<Exit>>,
    unclaimed: BTreeMap<String, Exit>,
    closed: bool,
}

impl Exits {
    /// Resolves with the end of that task. A later wait for the same task takes the place of an earlier one.
    pub fn wait(&self, id: &str) -> oneshot::Receiver<Exit> {
        let (tx, rx) = oneshot::channel();
        let mut inner = self.lock();
        match inner.unclaimed.remove(id) {
            // A receiver that is gone already does not want it.
            Some(exit) => drop(tx.send(exit)),
            None if inner.closed => drop(tx),
            None => drop(inner.waiting.insert(id.to_owned(), tx)),
        }
        rx
    }

    /// A task has ended.
    pub fn deliver(&self, id: &str, exit: Exit) {
        let mut inner = self.lock();
        let unclaimed = match inner.waiting.remove(id) {
            Some(waiter) => waiter.send(exit).err(),
            None => Some(exit),
        };
        if let Some(exit) = unclaimed {
            if inner.unclaimed.len() >= UNCLAIMED_MAX {
                inner.unclaimed.pop_first();
            }
            inner.unclaimed.insert(id.to_owned(), exit);
        }
    }

    /// A task is forgotten, or about to be started anew under the same id.
    pub fn forget(&self, id: &str) {
        let mut inner = self.lock();
        inner.waiting.remove(id);
        inner.unclaimed.remove(id);
    }

    /// No more ends will come: everyone who waits learns it.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The maps stay whole whatever a panicking holder did between two of their calls.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i64) -> Exit {
        Exit { exit_code: code, ..Exit::default() }
    }

    #[test]
    fn an_end_reaches_who_waits_before_and_who_waits_after() {
        let exits = Exits::default();
        let mut before = exits.wait("a");
        assert!(before.try_recv().is_err());
        exits.deliver("a", exit(1));
        assert_eq!(before.try_recv(), Ok(exit(1)));
        exits.deliver("b", exit(2));
        assert_eq!(exits.wait("b").try_recv(), Ok(exit(2)));
        assert!(exits.wait("b").try_recv().is_err());
    }

    #[test]
    fn an_end_that_the_first_waiter_left_is_kept_for_the_next() {
        let exits = Exits::default();
        drop(exits.wait("a"));
        exits.deliver("a", exit(3));
        assert_eq!(exits.wait("a").try_recv(), Ok(exit(3)));
    }

    #[test]
    fn a_forgotten_or_closed_wait_ends_in_an_error() {
        use oneshot::error::TryRecvError::Closed;
        let exits = Exits::default();
        let mut forgotten = exits.wait("a");
        exits.forget("a");
        assert_eq!(forgotten.try_recv(), Err(Closed));
        let mut closed = exits.wait("b");
        exits.close();
        assert_eq!(closed.try_recv(), Err(Closed));
        assert_eq!(exits.wait("c").try_recv(), Err(Closed));
    }
}
