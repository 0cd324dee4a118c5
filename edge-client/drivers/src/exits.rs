//! Brings the end of each task to whoever waits for it, whichever comes first.

use std::collections::{BTreeMap, BTreeSet};
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

/// A process and when the kernel had started it: a number alone is used again, and so is a task's id.
pub type Process = (i32, u64);

#[derive(Debug, Default)]
struct Inner {
    waiting: BTreeMap<String, oneshot::Sender<Exit>>,
    /// Ends by task, with whose end it is where that was told.
    unclaimed: BTreeMap<String, (Option<Process>, Exit)>,
    /// Tasks that run as far as we were told.
    running: BTreeMap<String, Process>,
    /// How often the supervisor was lost.
    losses: u64,
    closed: bool,
}

impl Exits {
    /// Resolves with the end of that task. A later wait for the same task takes the place of an earlier one.
    pub fn wait(&self, id: &str) -> oneshot::Receiver<Exit> {
        let (tx, rx) = oneshot::channel();
        let mut inner = self.lock();
        match inner.unclaimed.remove(id) {
            // A receiver that is gone already does not want it.
            Some((_, exit)) => drop(tx.send(exit)),
            None if inner.closed => drop(tx),
            None => drop(inner.waiting.insert(id.to_owned(), tx)),
        }
        rx
    }

    /// How often the supervisor was lost so far: what it said before the last time may not hold any more.
    pub fn losses(&self) -> u64 {
        self.lock().losses
    }

    /// A task runs as that process, says the supervisor of that many losses. False when that one was lost meanwhile.
    pub fn note_running(&self, id: &str, process: Process, losses: u64) -> bool {
        let mut inner = self.lock();
        let is_current = inner.losses == losses;
        if !is_current {
            return false;
        }
        // The end of an earlier life under this id, told late.
        if inner.unclaimed.get(id).is_some_and(|(of, _)| of.is_some_and(|of| of != process)) {
            inner.unclaimed.remove(id);
        }
        if !inner.unclaimed.contains_key(id) {
            inner.running.insert(id.to_owned(), process);
        }
        true
    }

    /// The supervisor was lost and there is another one, which knows these tasks only: all others have ended like that.
    pub fn lose_all_but(&self, known: &BTreeSet<String>, exit: &Exit) {
        let lost: Vec<String> = {
            let mut inner = self.lock();
            inner.losses += 1;
            let Inner { waiting, running, .. } = &*inner;
            running.keys().chain(waiting.keys()).filter(|id| !known.contains(*id)).cloned().collect()
        };
        for id in BTreeSet::from_iter(lost) {
            self.deliver(&id, None, exit.clone());
        }
    }

    /// A task has ended; `of` is the process that it was, where that is known. What is told of another one than runs is of an
    /// earlier life, and nobody's business any more.
    pub fn deliver(&self, id: &str, of: Option<Process>, exit: Exit) {
        let mut inner = self.lock();
        if let (Some(of), Some(running)) = (of, inner.running.get(id))
            && of != *running
        {
            return;
        }
        inner.running.remove(id);
        let unclaimed = match inner.waiting.remove(id) {
            Some(waiter) => waiter.send(exit).err(),
            None => Some(exit),
        };
        if let Some(exit) = unclaimed {
            if inner.unclaimed.len() >= UNCLAIMED_MAX {
                inner.unclaimed.pop_first();
            }
            inner.unclaimed.insert(id.to_owned(), (of, exit));
        }
    }

    /// A task is forgotten, or about to be started anew under the same id.
    pub fn forget(&self, id: &str) {
        let mut inner = self.lock();
        inner.waiting.remove(id);
        inner.unclaimed.remove(id);
        inner.running.remove(id);
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
        exits.deliver("a", None, exit(1));
        assert_eq!(before.try_recv(), Ok(exit(1)));
        exits.deliver("b", Some((7, 70)), exit(2));
        assert_eq!(exits.wait("b").try_recv(), Ok(exit(2)));
        assert!(exits.wait("b").try_recv().is_err());
    }

    #[test]
    fn an_end_that_the_first_waiter_left_is_kept_for_the_next() {
        let exits = Exits::default();
        drop(exits.wait("a"));
        exits.deliver("a", None, exit(3));
        assert_eq!(exits.wait("a").try_recv(), Ok(exit(3)));
    }

    #[test]
    fn the_end_of_an_earlier_life_is_not_that_of_a_later_one() {
        let exits = Exits::default();
        let losses = exits.losses();
        // The same number, given to another process; told before and after it is known that the task runs.
        let (earlier, later) = ((7, 70), (7, 900));
        exits.deliver("a", Some(earlier), exit(1));
        assert!(exits.note_running("a", later, losses));
        let mut end = exits.wait("a");
        exits.deliver("a", Some(earlier), exit(1));
        assert!(end.try_recv().is_err(), "it runs");
        exits.deliver("a", Some(later), exit(2));
        assert_eq!(end.try_recv(), Ok(exit(2)));
        // One that has ended before it was known to run has ended.
        exits.deliver("b", Some(later), exit(3));
        assert!(exits.note_running("b", later, losses));
        assert_eq!(exits.wait("b").try_recv(), Ok(exit(3)));
    }

    #[test]
    fn with_its_supervisor_a_task_is_lost_wherever_it_stands() {
        let exits = Exits::default();
        let losses = exits.losses();
        assert!(exits.note_running("unawaited", (7, 70), losses) && exits.note_running("kept", (8, 80), losses));
        let (mut awaited, mut kept) = (exits.wait("awaited"), exits.wait("kept"));
        exits.lose_all_but(&BTreeSet::from(["kept".to_owned()]), &exit(-1));
        assert_eq!((awaited.try_recv(), exits.wait("unawaited").try_recv()), (Ok(exit(-1)), Ok(exit(-1))));
        assert!(kept.try_recv().is_err());
        assert!(!exits.note_running("late", (9, 90), losses), "what the lost one said is void");
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
