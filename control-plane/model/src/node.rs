//! A node: a machine as servers see it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::device::DeviceGroup;
use crate::id::NodeId;
use crate::network::Network;
use crate::time::{Timestamp, rfc3339};
use crate::wire::nullable;

/// Whether a node can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    /// Registered, its first report has not come.
    #[default]
    Initializing,
    /// It reports.
    Ready,
    /// Its heartbeat was missed.
    Down,
    /// Its heartbeat was missed, and some of its allocs may go on for a while.
    Disconnected,
}

impl NodeStatus {
    /// The word the API and the tables use.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeStatus::Initializing => "initializing",
            NodeStatus::Ready => "ready",
            NodeStatus::Down => "down",
            NodeStatus::Disconnected => "disconnected",
        }
    }
}

/// Whether new allocs may be placed on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Eligibility {
    /// Yes.
    #[default]
    Eligible,
    /// No.
    Ineligible,
}

impl Eligibility {
    /// The word the API and the tables use.
    pub fn as_str(self) -> &'static str {
        match self {
            Eligibility::Eligible => "eligible",
            Eligibility::Ineligible => "ineligible",
        }
    }
}

/// A machine that runs allocs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Node {
    /// Made by the node itself at its first start.
    #[serde(rename = "ID")]
    pub id: NodeId,
    /// Its datacenter.
    pub datacenter: String,
    /// Its name, for people.
    pub name: String,
    /// Where its agent answers HTTP; empty when it does not.
    #[serde(rename = "HTTPAddr")]
    pub http_addr: String,
    /// Its HTTP speaks TLS.
    #[serde(rename = "TLSEnabled")]
    pub tls_enabled: bool,
    /// What was found out about the machine.
    pub attributes: BTreeMap<String, String>,
    /// What it has.
    pub node_resources: NodeResources,
    /// What the operator keeps back.
    pub reserved_resources: ReservedResources,
    /// Carried only.
    pub links: BTreeMap<String, String>,
    /// Given by the operator.
    pub meta: BTreeMap<String, String>,
    /// Given by the operator.
    pub node_class: String,
    /// Its pool.
    pub node_pool: String,
    /// The cgroup below which its tasks live.
    pub cgroup_parent: String,
    /// Its drain, while one goes on.
    pub drain_strategy: Option<Value>,
    /// Whether new allocs may come.
    pub scheduling_eligibility: Eligibility,
    /// Whether it can be reached.
    pub status: NodeStatus,
    /// Why.
    pub status_description: String,
    /// Unix seconds of the last change of status.
    pub status_updated_at: i64,
    /// The last ten things that happened to it.
    pub events: Vec<NodeEvent>,
    /// Its drivers by name.
    pub drivers: BTreeMap<String, DriverInfo>,
    /// Host volumes by name, carried only.
    #[serde(with = "nullable")]
    pub host_volumes: BTreeMap<String, Value>,
    /// Host networks by name, carried only.
    #[serde(with = "nullable")]
    pub host_networks: BTreeMap<String, Value>,
    /// The last drain.
    pub last_drain: Option<Value>,
    /// The most allocs it takes; 0 means no limit.
    pub node_max_allocs: i64,
    /// `v1:<number>`: equal for nodes that no constraint can tell apart.
    pub computed_class: String,
    /// Raft index of its last alloc report.
    pub last_alloc_update_index: u64,
    /// Raft index at which it last went down.
    pub last_missed_heartbeat_index: u64,
    /// Raft index of its first registration.
    pub create_index: u64,
    /// Raft index of its last change.
    pub modify_index: u64,
}

impl Node {
    /// True when new allocs may be placed on it now.
    pub fn is_ready(&self) -> bool {
        self.status == NodeStatus::Ready
            && self.drain_strategy.is_none()
            && self.scheduling_eligibility == Eligibility::Eligible
    }
}

/// Something that happened to a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeEvent {
    /// What.
    pub message: String,
    /// `Cluster`, `Drain`, `Driver` …
    pub subsystem: String,
    /// More about it.
    #[serde(with = "nullable")]
    pub details: BTreeMap<String, String>,
    /// When, in whole seconds.
    #[serde(with = "rfc3339")]
    pub timestamp: Timestamp,
    /// Raft index.
    pub create_index: u64,
}

/// A driver on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DriverInfo {
    /// What was found out about it.
    pub attributes: BTreeMap<String, String>,
    /// It is there.
    pub detected: bool,
    /// It works.
    pub healthy: bool,
    /// Why not.
    pub health_description: String,
    /// When this was found out.
    #[serde(with = "rfc3339")]
    pub update_time: Timestamp,
}

/// What a node has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeResources {
    /// Processor.
    pub cpu: NodeCpu,
    /// Memory.
    pub memory: NodeMemory,
    /// Disk.
    pub disk: NodeDisk,
    /// Networks with their addresses.
    #[serde(with = "nullable")]
    pub networks: Vec<Network>,
    /// Interfaces with their addresses.
    #[serde(with = "nullable")]
    pub node_networks: Vec<NodeNetwork>,
    /// Devices, each kind once.
    #[serde(with = "nullable")]
    pub devices: Vec<DeviceGroup>,
    /// First port that may be chosen.
    pub min_dynamic_port: u16,
    /// Last port that may be chosen.
    pub max_dynamic_port: u16,
    /// Processor layout in the API's shape.
    pub processors: Value,
}

/// Processor of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeCpu {
    /// MHz of all cores together.
    #[serde(rename = "CpuShares")]
    pub mhz: i64,
    /// How many cores.
    #[serde(rename = "TotalCpuCores")]
    pub cores: u16,
    /// Cores that a task may have for itself.
    #[serde(rename = "ReservableCpuCores", with = "nullable")]
    pub reservable_cores: Vec<u16>,
}

/// Memory of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeMemory {
    /// MiB.
    #[serde(rename = "MemoryMB")]
    pub mib: i64,
}

/// Disk of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeDisk {
    /// MiB.
    #[serde(rename = "DiskMB")]
    pub mib: i64,
}

/// One interface of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeNetwork {
    /// `host` or `bridge`.
    pub mode: String,
    /// The interface.
    pub device: String,
    /// Its hardware address.
    pub mac_address: String,
    /// Mbit/s.
    pub speed: i64,
    /// Its addresses.
    #[serde(with = "nullable")]
    pub addresses: Vec<NodeAddress>,
}

/// One address of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeAddress {
    /// The host network's name; `default` for the first.
    pub alias: String,
    /// The address.
    pub address: String,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// The gateway.
    pub gateway: String,
    /// Ports that are taken, as a list of numbers and ranges.
    pub reserved_ports: String,
}

/// What the operator keeps back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ReservedResources {
    /// Processor.
    pub cpu: ReservedCpu,
    /// Memory.
    pub memory: NodeMemory,
    /// Disk.
    pub disk: NodeDisk,
    /// Ports.
    pub networks: ReservedPorts,
}

/// Processor kept back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReservedCpu {
    /// MHz.
    #[serde(rename = "CpuShares")]
    pub mhz: i64,
    /// Core numbers.
    #[serde(rename = "ReservedCpuCores", with = "nullable")]
    pub cores: Vec<u16>,
}

/// Ports kept back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ReservedPorts {
    /// A list of numbers and ranges: `22,80,8000-8100`.
    pub reserved_host_ports: String,
}
