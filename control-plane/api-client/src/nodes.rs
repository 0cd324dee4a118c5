//! Nodes.
#![allow(missing_docs, reason = "fields are named as the API names them")]

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::allocs::{AllocStub, CpuShares, Memory};
use crate::client::{Answer, Client};
use crate::error::Error;
use crate::query::{QueryOptions, escape};

/// A node in a list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeStub {
    pub address: String,
    #[serde(rename = "ID")]
    pub id: String,
    pub attributes: BTreeMap<String, String>,
    pub datacenter: String,
    pub name: String,
    pub node_class: String,
    pub node_pool: String,
    pub version: String,
    pub drain: bool,
    pub scheduling_eligibility: String,
    pub status: String,
}

/// A machine that runs tasks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Node {
    #[serde(rename = "ID")]
    pub id: String,
    pub datacenter: String,
    pub name: String,
    pub attributes: BTreeMap<String, String>,
    pub node_resources: NodeResources,
    pub reserved_resources: NodeResources,
    pub meta: BTreeMap<String, String>,
    pub node_class: String,
    pub node_pool: String,
    pub drain: bool,
    pub scheduling_eligibility: String,
    pub status: String,
    pub events: Vec<NodeEvent>,
    pub drivers: BTreeMap<String, Driver>,
    pub host_volumes: BTreeMap<String, HostVolume>,
    pub host_networks: BTreeMap<String, HostNetwork>,
}

/// What a node has, or keeps for itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeResources {
    pub cpu: CpuShares,
    pub memory: Memory,
    pub disk: Disk,
    pub devices: Vec<DeviceGroup>,
}

/// Equal devices.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeviceGroup {
    pub vendor: String,
    #[serde(rename = "Type")]
    pub kind: String,
    pub name: String,
    pub instances: Vec<DeviceInstance>,
    pub attributes: BTreeMap<String, Attribute>,
}

impl DeviceGroup {
    /// `<vendor>/<type>/<model>`
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.vendor, self.kind, self.name)
    }
}

/// A device.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DeviceInstance {
    #[serde(rename = "ID")]
    pub id: String,
}

/// What is known of devices; one of the four is there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Attribute {
    pub float: Option<f64>,
    pub int: Option<i64>,
    pub string: Option<String>,
    pub bool: Option<bool>,
    pub unit: String,
}

/// MiB.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Disk {
    #[serde(rename = "DiskMB")]
    pub disk_mib: i64,
}

/// What happened to a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeEvent {
    pub message: String,
    pub subsystem: String,
    pub details: BTreeMap<String, String>,
    pub timestamp: String,
}

/// A driver of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Driver {
    pub detected: bool,
    pub healthy: bool,
    pub health_description: String,
    pub update_time: String,
}

/// A directory that jobs may ask for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostVolume {
    #[serde(rename = "ID")]
    pub id: String,
    pub path: String,
    pub read_only: bool,
}

/// A named network of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostNetwork {
    #[serde(rename = "CIDR")]
    pub cidr: String,
    pub interface: String,
    pub reserved_ports: String,
}

/// What a node uses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostStats {
    pub memory: HostMemory,
    #[serde(rename = "CPU")]
    pub cpu: Vec<HostCpu>,
    pub disk_stats: Vec<HostDisk>,
    pub alloc_dir_stats: HostDisk,
    pub device_stats: Vec<DeviceGroupStats>,
    pub uptime: u64,
    #[serde(rename = "CPUTicksConsumed")]
    pub cpu_ticks_consumed: f64,
}

/// Equal devices.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeviceGroupStats {
    pub vendor: String,
    #[serde(rename = "Type")]
    pub kind: String,
    pub name: String,
    pub instance_stats: BTreeMap<String, DeviceStats>,
}

/// How a device is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeviceStats {
    pub summary: Option<StatValue>,
    pub stats: Option<StatObject>,
}

/// Values by name, and more of them below names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct StatObject {
    pub nested: BTreeMap<String, StatObject>,
    pub attributes: BTreeMap<String, StatValue>,
}

/// A value: a number, mostly of how many, a text or a truth.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct StatValue {
    pub float_numerator_val: Option<f64>,
    pub float_denominator_val: Option<f64>,
    pub int_numerator_val: Option<i64>,
    pub int_denominator_val: Option<i64>,
    pub string_val: Option<String>,
    pub bool_val: Option<bool>,
    pub unit: String,
}

/// Bytes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostMemory {
    pub total: u64,
    pub available: u64,
    pub used: u64,
    pub free: u64,
}

/// Percent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostCpu {
    #[serde(rename = "CPU")]
    pub cpu: String,
    pub user: f64,
    pub system: f64,
    pub idle: f64,
}

/// Bytes and percent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostDisk {
    pub device: String,
    pub mountpoint: String,
    pub size: u64,
    pub used: u64,
    pub available: u64,
    pub used_percent: f64,
    pub inodes_used_percent: f64,
}

impl Client {
    /// GET /v1/nodes
    pub fn nodes(&self, options: &QueryOptions) -> Result<Answer<Vec<NodeStub>>, Error> {
        self.read("/v1/nodes", options)
    }

    /// GET /v1/node/:id
    pub fn node(&self, id: &str, options: &QueryOptions) -> Result<Answer<Node>, Error> {
        self.read(&format!("/v1/node/{}", escape(id)), options)
    }

    /// GET /v1/node/:id/allocations
    pub fn node_allocs(&self, id: &str, options: &QueryOptions) -> Result<Answer<Vec<AllocStub>>, Error> {
        self.read(&format!("/v1/node/{}/allocations", escape(id)), options)
    }

    /// GET /v1/client/stats
    pub fn host_stats(&self, node_id: &str) -> Result<Answer<HostStats>, Error> {
        self.read("/v1/client/stats", &QueryOptions::default().with("node_id", node_id))
    }
}
