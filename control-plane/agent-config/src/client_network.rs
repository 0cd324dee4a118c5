//! What the operator says of the networks of a client: its bridge, and its addresses by names.

use std::collections::BTreeMap;

use drover_hcl::Value;

use crate::convert;

/// The networks of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSettings {
    /// The bridge; one with the node's id in its name when none.
    pub bridge_name: Option<String>,
    /// Its IPv4 range; the first that is free when none.
    pub bridge_subnet: Option<String>,
    /// Its IPv6 range; no IPv6 when none.
    pub bridge_subnet_ipv6: Option<String>,
    /// What comes from a port of the bridge may go back by the same one.
    pub is_hairpin: bool,
    /// Ports of the host network `default` are published at every address.
    pub binds_wildcard: bool,
    /// Directories of CNI plugins, separated by colons; those that are usual when none.
    pub cni_path: Option<String>,
    /// Addresses that jobs may ask for, by the name they have there.
    pub host_networks: BTreeMap<String, HostNetwork>,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        NetworkSettings {
            bridge_name: None,
            bridge_subnet: None,
            bridge_subnet_ipv6: None,
            is_hairpin: false,
            binds_wildcard: true,
            cni_path: None,
            host_networks: BTreeMap::new(),
        }
    }
}

/// Addresses that jobs may ask for. One that is empty does not choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNetwork {
    /// Those in one of these ranges, separated by commas.
    pub cidr: String,
    /// Those of this interface.
    pub interface: String,
    /// Ports that are not given out there, as a list of numbers and ranges.
    pub reserved_ports: String,
}

impl NetworkSettings {
    /// Takes a setting of the block `client`; false when it is none of these.
    pub(crate) fn take(&mut self, key: &str, value: &Value) -> Result<bool, String> {
        let text = |value: &Value| convert::text(value).map(|text| (!text.is_empty()).then_some(text));
        match key {
            "bridge_network_name" => self.bridge_name = text(value)?,
            "bridge_network_subnet" => self.bridge_subnet = text(value)?,
            "bridge_network_subnet_ipv6" => self.bridge_subnet_ipv6 = text(value)?,
            "bridge_network_hairpin_mode" => self.is_hairpin = convert::flag(value)?,
            "cni_path" => self.cni_path = text(value)?,
            "bind_wildcard_default_host_network" => self.binds_wildcard = convert::flag(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes one block `host_network`, whose ports were looked through by `ranges`.
    pub(crate) fn take_host_network(
        &mut self,
        name: String,
        inside: &Value,
        ranges: impl FnOnce(String) -> Result<String, String>,
    ) -> Result<(), String> {
        let entries = inside.as_entries();
        let get = |key: &str| {
            let value = entries.and_then(|entries| entries.get(key)).filter(|value| !value.is_null());
            value.map_or(Ok(String::new()), convert::text)
        };
        let ports = get("reserved_ports")?;
        let reserved_ports = if ports.is_empty() { ports } else { ranges(ports)? };
        self.host_networks
            .insert(name, HostNetwork { cidr: get("cidr")?, interface: get("interface")?, reserved_ports });
        Ok(())
    }
}
