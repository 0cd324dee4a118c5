//! What became of a task: its state and the events that led there.

use serde::{Deserialize, Serialize};

pub use crate::task_event::{EventRest, TaskEvent};
use crate::time::{Timestamp, rfc3339};

/// The most events kept per task.
pub const TASK_EVENTS_MAX: usize = 10;

/// Where a task stands.
///
/// ```text
/// pending --started--> running --ended--> dead
///    ^                    |
///    +----- restart ------+
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskPhase {
    /// Not started yet, or waiting to be started again.
    #[default]
    Pending,
    /// Its process runs.
    Running,
    /// It has ended and will not be started again.
    Dead,
}

impl TaskPhase {
    /// The word the API and the tables use.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskPhase::Pending => "pending",
            TaskPhase::Running => "running",
            TaskPhase::Dead => "dead",
        }
    }
}

/// What became of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskState {
    /// Where it stands.
    pub state: TaskPhase,
    /// It ended in failure.
    pub failed: bool,
    /// How often it was started again.
    pub restarts: u64,
    /// When it was last started again.
    #[serde(with = "rfc3339")]
    pub last_restart: Timestamp,
    /// When it was first started.
    #[serde(with = "rfc3339")]
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(with = "rfc3339")]
    pub finished_at: Timestamp,
    /// The last events, oldest first.
    pub events: Vec<TaskEvent>,
    /// Why it is paused; empty when it is not.
    pub paused: String,
}

impl TaskState {
    /// Adds an event; the oldest goes when there are too many.
    pub fn push_event(&mut self, event: TaskEvent) {
        self.events.push(event);
        if self.events.len() > TASK_EVENTS_MAX {
            self.events.remove(0);
        }
    }

    /// It ended well.
    pub fn is_successful(&self) -> bool {
        self.state == TaskPhase::Dead && !self.failed
    }
}
