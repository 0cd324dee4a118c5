//! Collection that an operator asks for: whatever has ended is forgotten at once.

use drover_leader::gc::{Thresholds, collect};

use crate::clock;
use crate::error::Error;
use crate::server::Server;

/// What ends by a round is forgotten in the next; so many at most.
const ROUNDS_MAX: usize = 8;

impl Server {
    /// Forgets all that has ended, however short ago. Done when this returns.
    ///
    /// # Errors
    /// Nobody leads.
    pub async fn collect_garbage(&self) -> Result<(), Error> {
        for _ in 0..ROUNDS_MAX {
            let snapshot = self.read(false).await?.snapshot;
            // Everything is looked at: not on a thread that answers.
            let looked_at = tokio::task::spawn_blocking(move || collect(&snapshot, clock::now(), Thresholds::NONE));
            let commands = looked_at.await.map_err(|error| Error::Internal {
                public: "collection failed".to_owned(),
                private: error.to_string(),
            })?;
            if commands.is_empty() {
                break;
            }
            for command in commands {
                self.propose(command).await?;
            }
        }
        Ok(())
    }

    /// Counts the allocs of every job anew.
    ///
    /// # Errors
    /// Nobody leads.
    pub async fn reconcile_summaries(&self) -> Result<(), Error> {
        self.propose(drover_state::Command::ReconcileSummaries).await.map(drop)
    }
}
