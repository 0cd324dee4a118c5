//! Resources: what a task asks for and what an alloc was given.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::device::{AllocatedDevice, DeviceRequest};
use crate::network::{Network, PortMapping};
use crate::small_map::SmallMap;
use crate::task::Lifecycle;
use crate::wire::nullable;

/// What one task asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// MHz.
    #[serde(rename = "CPU")]
    pub cpu_mhz: i64,
    /// Whole cores for itself; 0 means a share of MHz instead.
    #[serde(rename = "Cores")]
    pub cores: i64,
    /// MiB guaranteed.
    #[serde(rename = "MemoryMB")]
    pub memory_mib: i64,
    /// MiB allowed when the node has it; 0 means the same as guaranteed, -1 no limit.
    #[serde(rename = "MemoryMaxMB")]
    pub memory_max_mib: i64,
    /// Obsolete on tasks, carried only.
    #[serde(rename = "DiskMB")]
    pub disk_mib: i64,
    /// Obsolete, carried only.
    #[serde(rename = "IOPS")]
    pub iops: i64,
    /// MiB of the secrets directory.
    #[serde(rename = "SecretsMB")]
    pub secrets_mib: i64,
    /// Networks of the task itself; obsolete in favour of the group's.
    #[serde(rename = "Networks", with = "nullable")]
    pub networks: Vec<Network>,
    /// Devices.
    #[serde(rename = "Devices", with = "nullable")]
    pub devices: Vec<DeviceRequest>,
    /// NUMA wishes, carried only.
    #[serde(rename = "NUMA")]
    pub numa: Option<Value>,
}

/// What an alloc was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AllocatedResources {
    /// Per task.
    pub tasks: SmallMap<String, AllocatedTask>,
    /// When each task runs.
    pub task_lifecycles: SmallMap<String, Option<Lifecycle>>,
    /// What the group shares.
    pub shared: AllocatedShared,
}

/// What one task of an alloc was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AllocatedTask {
    /// Processor.
    pub cpu: AllocatedCpu,
    /// Memory.
    pub memory: AllocatedMemory,
    /// Networks of the task itself.
    #[serde(with = "nullable")]
    pub networks: Vec<Network>,
    /// Devices, in the order in which they were asked for.
    #[serde(with = "nullable")]
    pub devices: Vec<AllocatedDevice>,
}

/// Processor of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllocatedCpu {
    /// MHz.
    #[serde(rename = "CpuShares")]
    pub mhz: i64,
    /// Core numbers, when whole cores were asked for.
    #[serde(rename = "ReservedCores", with = "nullable")]
    pub reserved_cores: Vec<u16>,
}

/// Memory of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllocatedMemory {
    /// MiB guaranteed.
    #[serde(rename = "MemoryMB")]
    pub mib: i64,
    /// MiB allowed; 0 means the same.
    #[serde(rename = "MemoryMaxMB")]
    pub max_mib: i64,
}

/// What the tasks of an alloc share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AllocatedShared {
    /// MiB of the alloc's directory.
    #[serde(rename = "DiskMB")]
    pub disk_mib: i64,
    /// The group's networks with chosen ports.
    #[serde(with = "nullable")]
    pub networks: Vec<Network>,
    /// The ports by label.
    #[serde(with = "nullable")]
    pub ports: Vec<PortMapping>,
}

impl AllocatedResources {
    /// What the alloc takes of its node, in MHz, MiB of memory and MiB of disk.
    ///
    /// Per dimension max(prestart, main, poststop), where main holds main tasks, poststart tasks and prestart sidecars
    /// (semantics: "Group ask by lifecycle").
    pub fn totals(&self) -> Totals {
        let mut prestart = Totals::default();
        let mut main = Totals::default();
        let mut poststop = Totals::default();
        for (name, task) in &self.tasks {
            let ask = Totals { cpu_mhz: task.cpu.mhz, memory_mib: task.memory.mib, disk_mib: 0 };
            match self.task_lifecycles.get(name).and_then(Option::as_ref) {
                None => main.add(ask),
                Some(lifecycle) => match (lifecycle.hook.as_str(), lifecycle.sidecar) {
                    ("prestart", true) => {
                        prestart.add(ask);
                        main.add(ask);
                    }
                    ("prestart", false) => prestart.add(ask),
                    ("poststop", _) => poststop.add(ask),
                    _ => main.add(ask),
                },
            }
        }
        Totals {
            cpu_mhz: prestart.cpu_mhz.max(main.cpu_mhz).max(poststop.cpu_mhz),
            memory_mib: prestart.memory_mib.max(main.memory_mib).max(poststop.memory_mib),
            disk_mib: self.shared.disk_mib,
        }
    }
}

/// Sums of the three dimensions that fill a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// MHz.
    pub cpu_mhz: i64,
    /// MiB.
    pub memory_mib: i64,
    /// MiB.
    pub disk_mib: i64,
}

impl Totals {
    /// Adds another sum to this one.
    pub fn add(&mut self, other: Totals) {
        self.cpu_mhz = self.cpu_mhz.saturating_add(other.cpu_mhz);
        self.memory_mib = self.memory_mib.saturating_add(other.memory_mib);
        self.disk_mib = self.disk_mib.saturating_add(other.disk_mib);
    }

    /// Takes another sum from this one.
    pub fn subtract(&mut self, other: Totals) {
        self.cpu_mhz = self.cpu_mhz.saturating_sub(other.cpu_mhz);
        self.memory_mib = self.memory_mib.saturating_sub(other.memory_mib);
        self.disk_mib = self.disk_mib.saturating_sub(other.disk_mib);
    }
}
