//! What became of a task: its state and the events that led there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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

/// Something that happened to a task. Which of the fields have a meaning follows from the type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskEvent {
    /// `Received`, `Task Setup`, `Started`, `Terminated` …
    #[serde(rename = "Type")]
    pub kind: String,
    /// When.
    pub time: Timestamp,
    /// The sentence that people read.
    pub display_message: String,
    /// The facts of it by name.
    pub details: BTreeMap<String, String>,
    /// A message of the driver or hook.
    pub message: String,
    /// The task has failed by it.
    pub fails_task: bool,
    /// Why it is started again.
    pub restart_reason: String,
    /// Why it could not be set up.
    pub setup_error: String,
    /// Why the driver could not start it.
    pub driver_error: String,
    /// What the driver said.
    pub driver_message: String,
    /// The exit code.
    pub exit_code: i64,
    /// The signal that ended it.
    pub signal: i64,
    /// Why it is ended.
    pub kill_reason: String,
    /// Nanoseconds it has to end.
    pub kill_timeout: i64,
    /// Why it could not be ended.
    pub kill_error: String,
    /// Nanoseconds until it is started again.
    pub start_delay: i64,
    /// Why an artifact could not be fetched.
    pub download_error: String,
    /// Why its settings are wrong.
    pub validation_error: String,
    /// Bytes allowed.
    pub disk_limit: i64,
    /// Which task failed beside it.
    pub failed_sibling: String,
    /// What Vault said.
    pub vault_error: String,
    /// Why it was signalled.
    pub task_signal_reason: String,
    /// With what.
    pub task_signal: String,
    /// Who else made this event.
    pub generic_source: String,
}
