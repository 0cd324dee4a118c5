//! Writers against one server that remember what was acknowledged, and when by some other count.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use drover_harness::Agent;

use crate::writers::{Written, register, small_job};

/// A write and how far something else was when its acknowledgement had come.
pub type Acked = (usize, Written);

/// Writes through `writers` threads until `wanted` writes are acknowledged or one fails; `mark` is asked after each
/// acknowledgement.
pub fn write(agent: &Agent, name: &str, writers: usize, wanted: usize, mark: impl Fn() -> usize + Sync) -> Vec<Acked> {
    let (acked, next, is_over) = (Mutex::new(Vec::new()), AtomicUsize::new(0), AtomicBool::new(false));
    let write = || {
        let client = agent.client();
        while !is_over.load(Ordering::SeqCst) {
            let turn = next.fetch_add(1, Ordering::SeqCst);
            let id = format!("w-{name}-{turn}");
            match (turn < wanted).then(|| register(&client, &small_job(&id, &id))) {
                Some(Ok(index)) => {
                    let entry = (mark(), Written { id, index });
                    acked.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
                }
                Some(Err(_)) | None => is_over.store(true, Ordering::SeqCst),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(write);
        }
    });
    acked.into_inner().unwrap_or_else(PoisonError::into_inner)
}
