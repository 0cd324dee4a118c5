//! The policies of a group: restart, reschedule, update, migrate, disk.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::nanos;

/// When and how often a failed task is started again in its alloc.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RestartPolicy {
    /// Restarts allowed inside `interval`.
    pub attempts: i64,
    /// The window in which attempts count.
    #[serde(with = "nanos")]
    pub interval: Duration,
    /// The wait before a restart; up to a quarter is added at random.
    #[serde(with = "nanos")]
    pub delay: Duration,
    /// `fail` gives up when attempts are used up, `delay` waits for the next window.
    pub mode: String,
    /// Templates are rendered again on a restart.
    pub render_templates: bool,
}

/// When and how often a failed alloc is replaced on another node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ReschedulePolicy {
    /// Replacements allowed inside `interval`, unless unlimited.
    pub attempts: i64,
    /// The window in which attempts count.
    #[serde(with = "nanos")]
    pub interval: Duration,
    /// The first wait.
    #[serde(with = "nanos")]
    pub delay: Duration,
    /// `constant`, `exponential` or `fibonacci`.
    pub delay_function: String,
    /// The longest wait.
    #[serde(with = "nanos")]
    pub max_delay: Duration,
    /// No limit of attempts.
    pub unlimited: bool,
}

/// How a new version of a job replaces the old one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpdateStrategy {
    /// Wait between batches of system jobs; carried only.
    #[serde(with = "nanos")]
    pub stagger: Duration,
    /// Allocs replaced at a time; 0 means no deployment.
    pub max_parallel: i64,
    /// `checks`, `task_states` or `manual`.
    pub health_check: String,
    /// How long an alloc must be well to count as healthy.
    #[serde(with = "nanos")]
    pub min_healthy_time: Duration,
    /// When an alloc that is not healthy yet counts as unhealthy.
    #[serde(with = "nanos")]
    pub healthy_deadline: Duration,
    /// The longest time without progress before the deployment fails.
    #[serde(with = "nanos")]
    pub progress_deadline: Duration,
    /// Go back to the last stable version on failure.
    pub auto_revert: bool,
    /// Promote canaries as soon as all are healthy.
    pub auto_promote: bool,
    /// How many allocs of the new version run beside the old ones before promotion.
    pub canary: i64,
}

/// How allocs move off a node that drains.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct MigrateStrategy {
    /// Allocs moved at a time.
    pub max_parallel: i64,
    /// `checks` or `task_states`.
    pub health_check: String,
    /// How long a replacement must be well.
    #[serde(with = "nanos")]
    pub min_healthy_time: Duration,
    /// When a replacement that is not healthy counts as failed.
    #[serde(with = "nanos")]
    pub healthy_deadline: Duration,
}

/// The alloc's own disk space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EphemeralDisk {
    /// A replacement prefers the same node.
    pub sticky: bool,
    /// MiB.
    #[serde(rename = "SizeMB")]
    pub size_mib: i64,
    /// Data is copied to the replacement.
    pub migrate: bool,
}
