//! Nodes: in lists, and whole.

use std::collections::BTreeMap;

use drover_model::NodeId;
use drover_model::node::{DriverInfo, Eligibility, Node, NodeResources, NodeStatus, ReservedResources};
use serde::Serialize;
use serde_json::{Map, Value};

/// What a list of nodes shows beside the usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// What each has.
    pub resources: bool,
    /// Its operating system.
    pub os: bool,
}

/// A node in a list.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeListStub<'a> {
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<BTreeMap<&'static str, &'a str>>,
    create_index: u64,
    datacenter: &'a str,
    drain: bool,
    drivers: &'a BTreeMap<String, DriverInfo>,
    #[serde(with = "nullable_ref")]
    host_volumes: &'a BTreeMap<String, Value>,
    #[serde(rename = "ID")]
    id: NodeId,
    last_drain: &'a Option<Value>,
    modify_index: u64,
    name: &'a str,
    node_class: &'a str,
    node_pool: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_resources: Option<&'a NodeResources>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserved_resources: Option<&'a ReservedResources>,
    scheduling_eligibility: Eligibility,
    status: NodeStatus,
    status_description: &'a str,
    version: &'a str,
}

mod nullable_ref {
    use super::*;

    pub fn serialize<S: serde::Serializer>(map: &BTreeMap<String, Value>, s: S) -> Result<S::Ok, S::Error> {
        if map.is_empty() { s.serialize_none() } else { map.serialize(s) }
    }
}

impl<'a> NodeListStub<'a> {
    /// The node in a list.
    pub fn new(node: &'a Node, shown: Shown) -> Self {
        let attribute = |name: &str| node.attributes.get(name).map_or("", String::as_str);
        let os = shown.os.then(|| BTreeMap::from([("os.name", attribute("os.name"))]));
        Self {
            address: address(node),
            attributes: os,
            create_index: node.create_index,
            datacenter: &node.datacenter,
            drain: node.drain_strategy.is_some(),
            drivers: &node.drivers,
            host_volumes: &node.host_volumes,
            id: node.id,
            last_drain: &node.last_drain,
            modify_index: node.modify_index,
            name: &node.name,
            node_class: &node.node_class,
            node_pool: &node.node_pool,
            node_resources: shown.resources.then_some(&node.node_resources),
            reserved_resources: shown.resources.then_some(&node.reserved_resources),
            scheduling_eligibility: node.scheduling_eligibility,
            status: node.status,
            status_description: &node.status_description,
            version: attribute("nomad.version"),
        }
    }
}

/// The host that a node is reached at: that of its HTTP API, or what it found out about itself.
fn address(node: &Node) -> &str {
    let host = node.http_addr.rsplit_once(':').map_or("", |(host, _)| host.trim_matches(['[', ']']));
    if host.is_empty() { node.attributes.get("unique.network.ip-address").map_or("", String::as_str) } else { host }
}

/// A whole node.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeView<'a> {
    #[serde(flatten)]
    node: &'a Node,
    drain: bool,
    #[serde(rename = "CSIControllerPlugins")]
    csi_controller_plugins: Map<String, Value>,
    #[serde(rename = "CSINodePlugins")]
    csi_node_plugins: Map<String, Value>,
    #[serde(rename = "GCVolumesOnNodeGC")]
    gc_volumes_on_node_gc: bool,
    #[serde(rename = "IdentitySigningKeyID")]
    identity_signing_key_id: &'static str,
    #[serde(rename = "SecretID")]
    secret_id: &'static str,
}

impl<'a> From<&'a Node> for NodeView<'a> {
    /// What drover has no part of is empty: plugins, signed identities, secrets.
    fn from(node: &'a Node) -> Self {
        Self {
            node,
            drain: node.drain_strategy.is_some(),
            csi_controller_plugins: Map::new(),
            csi_node_plugins: Map::new(),
            gc_volumes_on_node_gc: false,
            identity_signing_key_id: "",
            secret_id: "",
        }
    }
}
