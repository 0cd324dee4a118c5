//! How the region's scheduler works.

use serde::{Deserialize, Serialize};

/// Which nodes go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchedulerAlgorithm {
    /// The fullest on which there is room.
    #[default]
    Binpack,
    /// The emptiest.
    Spread,
}

impl SchedulerAlgorithm {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            SchedulerAlgorithm::Binpack => "binpack",
            SchedulerAlgorithm::Spread => "spread",
        }
    }

    /// From the word of the API; the empty one is the default.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "" | "binpack" => Some(SchedulerAlgorithm::Binpack),
            "spread" => Some(SchedulerAlgorithm::Spread),
            _ => None,
        }
    }
}

/// The settings of the region's scheduler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    /// Which nodes go first.
    pub algorithm: SchedulerAlgorithm,
    /// Tasks may have more memory than is kept for them, up to their `memory_max`.
    pub has_memory_oversubscription: bool,
    /// No job is registered, dispatched or scaled. What launches by the calendar goes on.
    pub rejects_jobs: bool,
    /// Evals wait: nothing is scheduled.
    pub is_paused: bool,
    /// Which allocs may have to go for others of a higher priority. Kept for whoever reads it: none has to.
    pub preemption: PreemptionConfig,
    /// Kept for whoever reads it: every node is looked at.
    pub node_limit: i64,
    /// Raft index at which they were first set; 0 for never.
    pub create_index: u64,
    /// Raft index at which they were last set.
    pub modify_index: u64,
}

impl SchedulerConfig {
    /// What holds until somebody sets something.
    pub const DEFAULT: SchedulerConfig = SchedulerConfig {
        algorithm: SchedulerAlgorithm::Binpack,
        has_memory_oversubscription: false,
        rejects_jobs: false,
        is_paused: false,
        preemption: PreemptionConfig { for_system: false, for_sysbatch: false, for_batch: false, for_service: false },
        node_limit: 0,
        create_index: 0,
        modify_index: 0,
    };
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// For whose sake allocs of a lower priority may have to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PreemptionConfig {
    /// Of system jobs.
    pub for_system: bool,
    /// Of jobs of type sysbatch.
    pub for_sysbatch: bool,
    /// Of batch jobs.
    pub for_batch: bool,
    /// Of services.
    pub for_service: bool,
}
