//! A group: tasks that run together on one node.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::constraint::{Affinity, Constraint, Spread};
use crate::network::Network;
use crate::policy::{EphemeralDisk, MigrateStrategy, ReschedulePolicy, RestartPolicy, UpdateStrategy};
use crate::task::Task;
use crate::time::optional_nanos;
use crate::wire::nullable;

/// Tasks that run together on one node, `count` times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Group {
    /// Unique in the job.
    pub name: String,
    /// How many allocs shall run.
    pub count: i64,
    /// What the node must meet.
    #[serde(with = "nullable")]
    pub constraints: Vec<Constraint>,
    /// What the node should meet.
    #[serde(with = "nullable")]
    pub affinities: Vec<Affinity>,
    /// How allocs spread.
    #[serde(with = "nullable")]
    pub spreads: Vec<Spread>,
    /// The tasks, in the order of the job file.
    #[serde(with = "nullable")]
    pub tasks: Vec<Task>,
    /// Volumes by name. A map without any is kept as such: the job named volumes, all of kinds that are not known.
    pub volumes: Option<BTreeMap<String, Value>>,
    /// The restart policy its tasks inherit.
    pub restart_policy: RestartPolicy,
    /// What happens when the node is cut off.
    pub disconnect: Option<Value>,
    /// The reschedule policy; none for system jobs.
    pub reschedule_policy: Option<ReschedulePolicy>,
    /// Disk of the alloc.
    pub ephemeral_disk: EphemeralDisk,
    /// How new versions roll out.
    pub update: Option<UpdateStrategy>,
    /// How allocs leave a draining node.
    pub migrate: Option<MigrateStrategy>,
    /// The group's networks.
    #[serde(with = "nullable")]
    pub networks: Vec<Network>,
    /// Its own metadata.
    #[serde(with = "nullable")]
    pub meta: BTreeMap<String, String>,
    /// Services it announces.
    #[serde(with = "nullable")]
    pub services: Vec<Value>,
    /// The wait before its tasks are ended.
    #[serde(with = "optional_nanos")]
    pub shutdown_delay: Option<Duration>,
    /// The longest time a batch alloc may run.
    #[serde(with = "optional_nanos")]
    pub max_run_duration: Option<Duration>,
    /// Obsolete, carried only.
    #[serde(with = "optional_nanos")]
    pub stop_after_client_disconnect: Option<Duration>,
    /// Obsolete, carried only.
    #[serde(with = "optional_nanos")]
    pub max_client_disconnect: Option<Duration>,
    /// Scaling policy, carried only.
    pub scaling: Option<Value>,
    /// Consul settings, carried only.
    pub consul: Option<Value>,
    /// Obsolete, carried only.
    pub prevent_reschedule_on_lost: bool,
}

impl Group {
    /// The task of that name.
    pub fn task(&self, name: &str) -> Option<&Task> {
        self.tasks.iter().find(|task| task.name == name)
    }
}
