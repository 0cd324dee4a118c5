//! The alloc that another one replaces on the same node: it is over before the new one begins, and leaves it its data where
//! the group's disk says so.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use drover_drivers::View;
use drover_model::AllocId;
use tokio::sync::watch;

use crate::alloc_dir::AllocDir;
use crate::alloc_runner::Edge;
use crate::decide::wanted::Wanted;

/// Which allocs of the edge are over.
#[derive(Debug, Default)]
pub struct Lives(Mutex<BTreeMap<AllocId, watch::Receiver<bool>>>);

impl Lives {
    /// An alloc whose life begins; what is sent tells whether it is over.
    pub fn begin(&self, id: AllocId) -> watch::Sender<bool> {
        let (is_over, heard) = watch::channel(false);
        self.lock().insert(id, heard);
        is_over
    }

    /// Nothing of it is left.
    pub fn forget(&self, id: AllocId) {
        self.lock().remove(&id);
    }

    /// Resolves when that alloc is over, at once when it is not known here.
    pub async fn over(&self, id: AllocId) {
        let heard = self.lock().get(&id).cloned();
        let Some(mut heard) = heard else { return };
        if heard.wait_for(|is_over| *is_over).await.is_err() {
            // Its runner has ended without it: the agent is going, and nothing shall begin.
            std::future::pending::<()>().await;
        }
    }

    /// Whether that alloc is over; true when it is not known here.
    pub fn is_over(&self, id: AllocId) -> bool {
        self.lock().get(&id).is_none_or(|heard| *heard.borrow())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<AllocId, watch::Receiver<bool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes over what the alloc before left, if its group's disk shall be carried on. A failure costs the data, not the alloc.
pub fn take_over_data(edge: &Edge, wanted: &Wanted, dir: &AllocDir) {
    let (Some(previous), Some(group)) = (wanted.alloc.previous_allocation, wanted.group()) else { return };
    if !(group.ephemeral_disk.sticky || group.ephemeral_disk.migrate) || !edge.lives.is_over(previous) {
        return;
    }
    let view = |driver: &str| edge.drivers.get(driver).map_or(View::Host, |driver| driver.view());
    let tasks: Vec<(&str, View)> = group.tasks.iter().map(|task| (task.name.as_str(), view(&task.driver))).collect();
    if let Err(error) = dir.take_over(&AllocDir::new(&edge.allocs_dir, previous), &tasks) {
        let alloc = wanted.alloc.id;
        tracing::warn!(%alloc, %previous, %error, cause = %error.source, "data of the previous alloc not taken over");
    }
}
