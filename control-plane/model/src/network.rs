//! Networks and ports, as asked for and as given.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::wire::is_default;

/// A network: asked for by a group, offered by a node, or given to an alloc.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Network {
    /// `host`, `bridge`, `none` or `cni/<name>`; empty means host.
    #[serde(skip_serializing_if = "is_default")]
    pub mode: String,
    /// The network interface.
    #[serde(skip_serializing_if = "is_default")]
    pub device: String,
    /// The interface's block.
    #[serde(rename = "CIDR", skip_serializing_if = "is_default")]
    pub cidr: String,
    /// The address.
    #[serde(rename = "IP", skip_serializing_if = "is_default")]
    pub ip: String,
    /// Host name inside a bridge network.
    #[serde(skip_serializing_if = "is_default")]
    pub hostname: String,
    /// Bandwidth; obsolete, carried only.
    #[serde(rename = "MBits", skip_serializing_if = "is_default")]
    pub mbits: i64,
    /// Name service settings, carried only.
    #[serde(rename = "DNS", skip_serializing_if = "is_default")]
    pub dns: Option<Value>,
    /// CNI arguments, carried only.
    #[serde(rename = "CNI", skip_serializing_if = "is_default")]
    pub cni: Option<Value>,
    /// Ports with a fixed number.
    #[serde(skip_serializing_if = "is_default", with = "crate::wire::nullable")]
    pub reserved_ports: Vec<Port>,
    /// Ports whose number the scheduler chooses.
    #[serde(skip_serializing_if = "is_default", with = "crate::wire::nullable")]
    pub dynamic_ports: Vec<Port>,
}

/// One port of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Port {
    /// Its name.
    #[serde(skip_serializing_if = "is_default")]
    pub label: String,
    /// The number on the host; 0 until chosen.
    #[serde(skip_serializing_if = "is_default")]
    pub value: i32,
    /// The number inside a bridge network; -1 means the same as on the host.
    #[serde(skip_serializing_if = "is_default")]
    pub to: i32,
    /// Which of the node's networks.
    #[serde(skip_serializing_if = "is_default")]
    pub host_network: String,
    /// Several allocs may share it.
    #[serde(skip_serializing_if = "is_default")]
    pub ignore_collision: bool,
}

/// A port as an alloc got it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PortMapping {
    /// Its name.
    #[serde(skip_serializing_if = "is_default")]
    pub label: String,
    /// The number on the host.
    #[serde(skip_serializing_if = "is_default")]
    pub value: i32,
    /// The number inside.
    #[serde(skip_serializing_if = "is_default")]
    pub to: i32,
    /// The host's address.
    #[serde(rename = "HostIP", skip_serializing_if = "is_default")]
    pub host_ip: String,
}
