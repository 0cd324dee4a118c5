//! Host volumes: what a group asks for, and whether a node offers it. They are carried as the API shapes them; here is how to
//! read that.

use serde_json::Value;

use crate::group::Group;
use crate::node::Node;

/// A group's request for a directory of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostVolumeRequest {
    /// What the mounts of its tasks call it.
    pub alias: String,
    /// The volume's name on the node; without the alloc's index where each alloc has its own.
    source: String,
    /// Nothing is written to it.
    pub is_read_only: bool,
    /// Later allocs must get the same one, which only volumes that were made on request can promise.
    pub is_sticky: bool,
    /// Each alloc has its own: `[<index>]` follows the name.
    pub is_per_alloc: bool,
}

impl HostVolumeRequest {
    /// All requests of a group for volumes of the host, by alias.
    pub fn all(group: &Group) -> Vec<HostVolumeRequest> {
        let requests = group.volumes.iter().flatten().filter(|(_, volume)| volume["Type"] == "host");
        let read = |(alias, volume): (&String, &Value)| HostVolumeRequest {
            alias: alias.clone(),
            source: volume["Source"].as_str().unwrap_or_default().to_owned(),
            is_read_only: volume["ReadOnly"] == true,
            is_sticky: volume["Sticky"] == true,
            is_per_alloc: volume["PerAlloc"] == true,
        };
        requests.map(read).collect()
    }

    /// The volume's name on the node for the alloc of that name.
    pub fn source(&self, alloc_name: &str) -> String {
        let index = alloc_name.rfind('[').and_then(|at| alloc_name.get(at..)).filter(|_| self.is_per_alloc);
        format!("{}{}", self.source, index.unwrap_or_default())
    }

    /// True when the node offers it to the alloc of that name.
    pub fn is_met_by(&self, node: &Node, alloc_name: &str) -> bool {
        let offered = node.host_volumes.get(&self.source(alloc_name));
        offered.is_some_and(|volume| !self.is_sticky && (self.is_read_only || volume["ReadOnly"] != true))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn check(volume: Value, expected: bool) {
        let group = Group { volumes: Some(BTreeMap::from([("v".to_owned(), volume.clone())])), ..Group::default() };
        let offered = |name: &str, read_only: bool| {
            (name.to_owned(), json!({"Name": name, "Path": "/srv", "ReadOnly": read_only, "ID": ""}))
        };
        let node = Node {
            host_volumes: [offered("data", false), offered("certs", true), offered("data[1]", false)].into(),
            ..Node::default()
        };
        let requests = HostVolumeRequest::all(&group);
        let found = requests.iter().all(|request| request.is_met_by(&node, "job.g[1]"));
        assert_eq!(found, expected, "{volume}");
    }

    #[test]
    fn a_node_meets_what_it_offers() {
        check(json!({"Type": "host", "Source": "data"}), true);
        check(json!({"Type": "host", "Source": "nope"}), false);
        check(json!({"Type": "host", "Source": "certs"}), false);
        check(json!({"Type": "host", "Source": "certs", "ReadOnly": true}), true);
        check(json!({"Type": "host", "Source": "data", "PerAlloc": true}), true);
        check(json!({"Type": "host", "Source": "certs", "PerAlloc": true, "ReadOnly": true}), false);
        check(json!({"Type": "host", "Source": "data", "Sticky": true}), false);
        // Of another kind: not for these to say.
        check(json!({"Type": "csi", "Source": "nope"}), true);
    }
}
