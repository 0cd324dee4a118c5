//! What actions wait for that must not be ahead of the journal.

use std::sync::Arc;

use tokio::sync::{Mutex, oneshot};

/// Resolves when what was handed to the journal is on disk, for all who wait: the first does so, the others for the first.
#[derive(Clone, Default)]
pub(crate) struct OnDisk(Arc<Mutex<Option<oneshot::Receiver<()>>>>);

impl OnDisk {
    pub(crate) fn of(saved: oneshot::Receiver<()>) -> OnDisk {
        OnDisk(Arc::new(Mutex::new(Some(saved))))
    }

    pub(crate) async fn wait(self) {
        let mut receiver = self.0.lock().await;
        if let Some(receiver) = receiver.take() {
            // A disk that takes nothing must not keep tasks from being restarted; the journal has said so in the log.
            let _ = receiver.await;
        }
    }
}
