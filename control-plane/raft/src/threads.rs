//! Threads for what takes long: work in pieces on all cores while nobody can be answered anyway, and work aside, which is
//! in nobody's way.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

use drover_state::image::{Task, in_turn};
use tokio::sync::oneshot;

use crate::machine::on_blocking;

/// The most threads that share work.
const THREADS_MAX: usize = 4;
/// Values lie in each other as deep as a command takes; address space only.
const STACK_BYTES: usize = 16 << 20;
/// How far work aside stands back behind whatever else wants the processor.
const NICENESS: i32 = 10;

/// Does all of this work on as many threads as there are cores; returns when it is done.
pub fn on_all(tasks: Vec<Task<'_>>) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(THREADS_MAX).min(tasks.len());
    if threads < 2 {
        return in_turn(tasks);
    }
    let queue = Mutex::new(tasks.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(task) = next() {
            task();
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // One that can't be had is not missed: this one does what is left.
            let _ = Builder::new().name("on-all".to_owned()).stack_size(STACK_BYTES).spawn_scoped(scope, work);
        }
        work();
    });
}

/// Runs what takes long beside everything else: on a thread of its own, after all that wants to be answered.
pub async fn aside<T: Send + 'static>(f: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    aside_by(f, |work| Builder::new().name("aside".to_owned()).stack_size(STACK_BYTES).spawn(work).map(drop)).await
}

/// As [`aside`], with whoever makes the thread.
async fn aside_by<T: Send + 'static>(
    f: impl FnOnce() -> io::Result<T> + Send + 'static,
    spawn: impl FnOnce(Box<dyn FnOnce() + Send>) -> io::Result<()>,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    // A thread that can't be had takes nothing with it.
    let work = Arc::new(Mutex::new(Some(f)));
    let taken = work.clone();
    let spawned = spawn(Box::new(move || {
        let Some(f) = taken.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        // A thread that can't stand back does its work all the same.
        let _ = rustix::process::nice(NICENESS);
        // Nobody waits for it any more: then it was done for nothing.
        let _ = done.send(f());
    }));
    if let Err(error) = spawned {
        // The system has no thread to give, for the moment perhaps: then on one of those that are there, which are shared.
        tracing::warn!(%error, "no thread for what takes long, it is done among the rest");
        let f = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        let f = f.ok_or_else(|| io::Error::other("the work was taken by a thread that is not there"))?;
        return on_blocking(f).await;
    }
    result.await.map_err(|_| io::Error::other("the thread that did it has panicked"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_work_is_done_once() {
        let mut numbers = vec![0; 100];
        on_all(numbers.iter_mut().map(|number| -> Task<'_> { Box::new(move || *number += 1) }).collect());
        assert_eq!(numbers, [1; 100]);
        on_all(Vec::new());
    }

    #[tokio::test]
    async fn work_aside_gives_its_result() {
        assert_eq!(aside(|| Ok(7)).await.unwrap(), 7);
        assert!(aside(|| Err::<(), _>(io::Error::other("no"))).await.is_err());
    }

    #[tokio::test]
    async fn without_a_thread_of_its_own_the_work_is_done_all_the_same() {
        let none = |_| Err(io::Error::from(io::ErrorKind::WouldBlock));
        assert_eq!(aside_by(|| Ok(7), none).await.unwrap(), 7);
    }
}
