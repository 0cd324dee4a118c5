//! The computed class of a node: equal for nodes that no constraint on a class can tell apart.

use crate::node::Node;

/// `v1:<number>`: a hash over datacenter, class, pool, attributes and meta without their `unique.` keys, devices,
/// host volumes, host networks and their names on interfaces.
pub fn computed_class(node: &Node) -> String {
    let mut hash = Hash::new();
    hash.text(&node.datacenter);
    hash.text(&node.node_class);
    hash.text(&node.node_pool);
    for map in [&node.attributes, &node.meta] {
        hash.text("map");
        for (key, value) in map.iter().filter(|(key, _)| !key.starts_with("unique.")) {
            hash.text(key);
            hash.text(value);
        }
    }
    hash.text("devices");
    for device in &node.node_resources.devices {
        hash.text(&device.id());
        // Ids differ between any two nodes; how many there are to give does not.
        hash.text(&device.healthy().count().to_string());
        for (key, value) in device.attributes.iter().filter(|(key, _)| !key.starts_with("unique.")) {
            hash.text(key);
            hash.text(&value.to_string());
        }
    }
    for map in [&node.host_volumes, &node.host_networks] {
        hash.text("map");
        for (key, value) in map {
            hash.text(key);
            hash.text(&value.to_string());
        }
    }
    for address in node.node_resources.node_networks.iter().flat_map(|network| &network.addresses) {
        // Addresses differ between any two nodes, the names of their networks do not.
        hash.text(&address.alias);
    }
    format!("v1:{}", hash.0)
}

/// FNV-1a with 64 bits: written out here because the number is kept in the state and must never change.
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds a text with its length before it, so that `ab`,`c` differs from `a`,`bc`.
    fn text(&mut self, text: &str) {
        for byte in (text.len() as u64).to_le_bytes().iter().chain(text.as_bytes()) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_keys_make_no_difference_and_others_do() {
        let mut node = Node { datacenter: "dc1".to_owned(), ..Node::default() };
        node.attributes.insert("kernel.name".to_owned(), "linux".to_owned());
        let class = computed_class(&node);
        node.attributes.insert("unique.hostname".to_owned(), "h".to_owned());
        node.meta.insert("unique.x".to_owned(), "h".to_owned());
        node.name = "other".to_owned();
        assert_eq!(computed_class(&node), class);
        node.meta.insert("rack".to_owned(), "r1".to_owned());
        assert_ne!(computed_class(&node), class);
    }

    #[test]
    fn the_number_stays_the_same_from_release_to_release() {
        let node = Node { datacenter: "dc1".to_owned(), node_pool: "default".to_owned(), ..Node::default() };
        assert_eq!(computed_class(&node), "v1:12594141151240978588");
    }
}
