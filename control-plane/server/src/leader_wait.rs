//! How a request waits for a leader.

use std::time::Duration;

use drover_raft::Leadership;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::error::Error;

/// After this time a request is tried again although nothing was heard of another leader: a leader whose lease ran out is
/// the same one a moment later.
pub(crate) const LEADER_RETRY_WAIT: Duration = Duration::from_millis(50);

/// The wait of one request for a leader.
pub(crate) struct LeaderWait {
    leadership: watch::Receiver<Leadership>,
    deadline: Instant,
}

impl LeaderWait {
    /// A wait of that length from now on.
    pub(crate) fn new(leadership: watch::Receiver<Leadership>, wait: Duration) -> Self {
        Self { leadership, deadline: Instant::now() + wait }
    }

    /// A change from here on counts.
    pub(crate) fn before_attempt(&mut self) {
        self.leadership.mark_unchanged();
    }

    /// The time that is left.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Waits for another leader, or a little; an error when that took too long in all.
    pub(crate) async fn for_change(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if now >= self.deadline {
            return Err(Error::NoLeader);
        }
        match timeout_at(self.deadline.min(now + LEADER_RETRY_WAIT), self.leadership.changed()).await {
            Ok(Err(_)) => Err(Error::NoLeader),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}
