//! The alloc that another one replaces on the same node: it is over before the new one begins, and leaves it its data where
//! the group's disk says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use drover_drivers::View;
use drover_model::AllocId;
use tokio::sync::watch;

use crate::alloc_dir::AllocDir;
use crate::alloc_runner::Edge;
use crate::decide::wanted::Wanted;

/// Which allocs of the edge are over.
#[derive(Debug, Default)]
pub struct Lives(Mutex<BTreeMap<AllocId, Life>>);

#[derive(Clone, Debug)]
struct Life {
    id: AllocId,
    is_over: watch::Receiver<bool>,
    previous: Option<AllocId>,
}

impl Lives {
    /// An alloc whose life begins, and the one that it replaces; what is sent tells whether it is over.
    pub fn begin(&self, id: AllocId, previous: Option<AllocId>) -> Arc<watch::Sender<bool>> {
        let (tx, is_over) = watch::channel(false);
        self.lock().insert(id, Life { id, is_over, previous });
        Arc::new(tx)
    }

    /// Nothing of it is left.
    pub fn forget(&self, id: AllocId) {
        self.lock().remove(&id);
    }

    /// Resolves when that alloc is over, and those that it and they have replaced; at once when it is not known here.
    pub async fn over(&self, id: AllocId) {
        for mut life in self.line(id) {
            if life.is_over.wait_for(|is_over| *is_over).await.is_err() {
                // Its runner has ended without it: the agent is going, and nothing shall begin.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The alloc and those before it, the newest first: one that never had its turn says nothing of the one that it waited for.
    fn line(&self, id: AllocId) -> Vec<Life> {
        let lives = self.lock();
        let mut line: Vec<Life> = Vec::new();
        let mut next = lives.get(&id);
        // No longer than all there are, whatever the servers say.
        while let Some(life) = next.filter(|_| line.len() < lives.len()) {
            line.push(life.clone());
            next = life.previous.and_then(|previous| lives.get(&previous));
        }
        line
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<AllocId, Life>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes over what the alloc before left, if its group's disk shall be carried on. A failure costs the data, not the alloc.
pub fn take_over_data(edge: &Edge, wanted: &Wanted, dir: &AllocDir) {
    let (Some(previous), Some(group)) = (wanted.alloc.previous_allocation, wanted.group()) else { return };
    if !(group.ephemeral_disk.sticky || group.ephemeral_disk.migrate) {
        return;
    }
    let line = edge.lives.line(previous);
    if line.iter().any(|life| !*life.is_over.borrow()) {
        return;
    }
    let view = |driver: &str| edge.drivers.get(driver).map_or(View::Host, |driver| driver.view());
    let tasks: Vec<(&str, View)> = group.tasks.iter().map(|task| (task.name.as_str(), view(&task.driver))).collect();
    let older = line.iter().map(|life| life.id).filter(|id| *id != previous);
    for previous in std::iter::once(previous).chain(older) {
        if let Err(error) = dir.take_over(&AllocDir::new(&edge.allocs_dir, previous), &tasks) {
            let alloc = wanted.alloc.id;
            tracing::warn!(%alloc, %previous, %error, cause = %error.source, "data of a previous alloc not taken over");
        }
    }
}
