//! A task: one program of a group.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::constraint::{Affinity, Constraint};
use crate::policy::RestartPolicy;
use crate::resources::Resources;
use crate::time::nanos;
use crate::wire::nullable;

/// One program of a group. Fields of type [`Value`] are understood by the job language and carried in the API's
/// shape; what drover does not act on yet is named in `jobspec`'s list of such blocks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Task {
    /// Unique in the group.
    pub name: String,
    /// The driver that runs it.
    pub driver: String,
    /// The user it runs as; empty means the driver's default.
    pub user: String,
    /// When it runs, if it is not a main task.
    pub lifecycle: Option<Lifecycle>,
    /// The driver's own settings.
    #[serde(with = "nullable")]
    pub config: BTreeMap<String, Value>,
    /// What the node must meet.
    #[serde(with = "nullable")]
    pub constraints: Vec<Constraint>,
    /// What the node should meet.
    #[serde(with = "nullable")]
    pub affinities: Vec<Affinity>,
    /// Environment.
    #[serde(with = "nullable")]
    pub env: BTreeMap<String, String>,
    /// Services it announces.
    #[serde(with = "nullable")]
    pub services: Vec<Value>,
    /// What it needs.
    pub resources: Resources,
    /// Its restart policy, filled from the group's.
    pub restart_policy: RestartPolicy,
    /// Its own metadata.
    #[serde(with = "nullable")]
    pub meta: BTreeMap<String, String>,
    /// How long it may take to end after the kill signal.
    #[serde(with = "nanos")]
    pub kill_timeout: Duration,
    /// Its log files.
    pub log_config: LogConfig,
    /// Files to fetch.
    #[serde(with = "nullable")]
    pub artifacts: Vec<Value>,
    /// Vault access.
    pub vault: Option<Value>,
    /// Consul access.
    pub consul: Option<Value>,
    /// Files to render.
    #[serde(with = "nullable")]
    pub templates: Vec<Value>,
    /// Where a dispatched payload goes.
    pub dispatch_payload: Option<Value>,
    /// Volumes it sees.
    #[serde(with = "nullable")]
    pub volume_mounts: Vec<Value>,
    /// What it offers as a CSI plugin.
    #[serde(rename = "CSIPluginConfig")]
    pub csi_plugin_config: Option<Value>,
    /// When it ends, the other tasks of the alloc are ended.
    pub leader: bool,
    /// The wait between leaving the service directory and the kill signal.
    #[serde(with = "nanos")]
    pub shutdown_delay: Duration,
    /// The signal that asks it to end; empty means the driver's default.
    pub kill_signal: String,
    /// Set by the platform for Connect tasks.
    pub kind: String,
    /// Scaling of its resources.
    #[serde(with = "nullable")]
    pub scaling_policies: Vec<Value>,
    /// Secrets it reads.
    #[serde(with = "nullable")]
    pub secrets: Vec<Value>,
    /// Its default workload identity.
    pub identity: Option<Value>,
    /// Further identities.
    #[serde(with = "nullable")]
    pub identities: Vec<Value>,
    /// Commands that people may run in it.
    #[serde(with = "nullable")]
    pub actions: Vec<Value>,
    /// When it may run.
    pub schedule: Option<Value>,
}

/// When a task runs that is not a main task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Lifecycle {
    /// `prestart`, `poststart` or `poststop`.
    pub hook: String,
    /// It goes on running beside the main tasks.
    pub sidecar: bool,
}

/// The log files of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// How many files are kept per stream.
    #[serde(rename = "MaxFiles")]
    pub max_files: u32,
    /// The size of one, in MiB.
    #[serde(rename = "MaxFileSizeMB")]
    pub max_file_size_mib: u32,
    /// Nothing is kept.
    #[serde(rename = "Disabled")]
    pub disabled: bool,
}
