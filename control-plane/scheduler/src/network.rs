//! Ports: what is taken on a node, and the choice of ports for a group.
//!
//! A port is taken per address: a node whose host network has two addresses takes a static port twice.

use std::collections::BTreeMap;

use drover_model::group::Group;
use drover_model::network::{Network, Port, PortMapping};
use drover_model::node::Node;
use drover_model::ports::PortSet;
use drover_model::resources::AllocatedResources;

use crate::seed::Seeds;

/// Random tries for a dynamic port before the range is searched in order.
const RANDOM_TRIES: u32 = 20;
/// The dynamic range of a node that names none.
const DYNAMIC_PORTS: (u16, u16) = (20_000, 32_000);

/// Why a group's ports can't be had on a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// A static port is taken on every address.
    #[error("reserved port collision {label}={value}")]
    Collision {
        /// The port's label.
        label: String,
        /// Its number.
        value: i32,
    },
    /// No number of the dynamic range is free.
    #[error("dynamic port selection failed")]
    DynamicExhausted,
    /// The node has no address in that host network.
    #[error("no addresses available for {network:?} network")]
    NoAddress {
        /// The host network.
        network: String,
    },
}

/// The ports taken on one node, per address.
#[derive(Clone, Debug, Default)]
pub struct PortUse {
    by_address: BTreeMap<String, PortSet>,
    everywhere: PortSet,
}

impl PortUse {
    /// What the node itself keeps back. A list that can't be read keeps nothing back: the agent has refused it.
    pub fn of_node(node: &Node) -> Self {
        let mut ports = Self {
            everywhere: PortSet::parse(&node.reserved_resources.networks.reserved_host_ports).unwrap_or_default(),
            by_address: BTreeMap::new(),
        };
        for address in node.node_resources.node_networks.iter().flat_map(|network| &network.addresses) {
            let reserved = PortSet::parse(&address.reserved_ports).unwrap_or_default();
            ports.by_address.entry(address.address.clone()).or_default().extend(&reserved);
        }
        ports
    }

    /// Takes the ports of an alloc; false when one of them was taken already.
    pub fn take(&mut self, resources: &AllocatedResources) -> bool {
        let mut is_free = true;
        for (address, port) in ports_of(resources) {
            is_free &= !self.everywhere.contains(port);
            is_free &= self.by_address.entry(address.to_owned()).or_default().insert(port);
        }
        is_free
    }

    fn is_taken(&self, address: &str, port: u16) -> bool {
        self.everywhere.contains(port) || self.by_address.get(address).is_some_and(|ports| ports.contains(port))
    }

    fn free_between(&self, address: &str, (first, last): (u16, u16)) -> u32 {
        let mut taken = self.everywhere.clone();
        if let Some(ports) = self.by_address.get(address) {
            taken.extend(ports);
        }
        (u32::from(last) + 1).saturating_sub(u32::from(first)).saturating_sub(taken.count_between(first, last))
    }
}

/// The ports that an alloc holds, with their addresses.
fn ports_of(resources: &AllocatedResources) -> impl Iterator<Item = (&str, u16)> {
    let shared = resources.shared.ports.iter().map(|port| (port.host_ip.as_str(), port.value));
    let own = resources.tasks.values().flat_map(|task| &task.networks).flat_map(|network| {
        network.reserved_ports.iter().chain(&network.dynamic_ports).map(|port| (network.ip.as_str(), port.value))
    });
    shared.chain(own).filter_map(|(address, value)| u16::try_from(value).ok().map(|port| (address, port)))
}

/// True when the group asks for any port.
pub fn asks_ports(group: &Group) -> bool {
    let of_tasks = group.tasks.iter().flat_map(|task| &task.resources.networks);
    group
        .networks
        .iter()
        .chain(of_tasks)
        .any(|network| !network.reserved_ports.is_empty() || !network.dynamic_ports.is_empty())
}

/// The networks of a group with every port chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assigned {
    /// The group's networks.
    pub networks: Vec<Network>,
    /// The group's ports by label.
    pub ports: Vec<PortMapping>,
    /// The networks of tasks that have their own.
    pub tasks: BTreeMap<String, Vec<Network>>,
}

/// Chooses the ports of a group on a node. Changes nothing: the caller takes what it uses.
pub fn assign(node: &Node, taken: &PortUse, group: &Group, seeds: &mut Seeds) -> Result<Assigned, PortError> {
    let mut choice = Choice { node, taken, chosen: Vec::new(), seeds };
    let mut assigned = Assigned::default();
    for network in &group.networks {
        let (network, ports) = choice.network(network)?;
        assigned.networks.push(network);
        assigned.ports.extend(ports);
    }
    for task in group.tasks.iter().filter(|task| !task.resources.networks.is_empty()) {
        let networks =
            task.resources.networks.iter().map(|network| choice.network(network).map(|(network, _)| network));
        assigned.tasks.insert(task.name.clone(), networks.collect::<Result<_, _>>()?);
    }
    Ok(assigned)
}

struct Choice<'a> {
    node: &'a Node,
    taken: &'a PortUse,
    chosen: Vec<(String, u16)>,
    seeds: &'a mut Seeds,
}

impl Choice<'_> {
    fn network(&mut self, asked: &Network) -> Result<(Network, Vec<PortMapping>), PortError> {
        let mut network = asked.clone();
        let mut ports = Vec::new();
        for port in &mut network.reserved_ports {
            let address = self.static_address(port)?;
            ports.push(self.map(port, address));
        }
        for port in &mut network.dynamic_ports {
            let (address, value) = self.dynamic_port(port)?;
            port.value = i32::from(value);
            ports.push(self.map(port, address));
        }
        if let Some(first) = ports.first() {
            network.ip = first.host_ip.clone();
        }
        Ok((network, ports))
    }

    fn map(&mut self, port: &mut Port, address: String) -> PortMapping {
        if port.to == -1 {
            port.to = port.value;
        }
        if let Ok(value) = u16::try_from(port.value) {
            self.chosen.push((address.clone(), value));
        }
        PortMapping { label: port.label.clone(), value: port.value, to: port.to, host_ip: address }
    }

    fn is_free(&self, address: &str, port: u16) -> bool {
        !self.taken.is_taken(address, port) && !self.chosen.iter().any(|(a, p)| a == address && *p == port)
    }

    fn static_address(&self, port: &Port) -> Result<String, PortError> {
        let addresses = addresses(self.node, &port.host_network)?;
        let collision = || PortError::Collision { label: port.label.clone(), value: port.value };
        let value = u16::try_from(port.value).map_err(|_| collision())?;
        let address = addresses.iter().find(|address| port.ignore_collision || self.is_free(address, value));
        address.map(|&address| address.to_owned()).ok_or_else(collision)
    }

    fn dynamic_port(&mut self, port: &Port) -> Result<(String, u16), PortError> {
        let resources = &self.node.node_resources;
        let range = match (resources.min_dynamic_port, resources.max_dynamic_port) {
            (first, last) if first == 0 || last < first => DYNAMIC_PORTS,
            range => range,
        };
        let (first, last) = range;
        let len = u32::from(last - first) + 1;
        for address in addresses(self.node, &port.host_network)? {
            for _ in 0..RANDOM_TRIES {
                let value = first + (self.seeds.next_number() % u64::from(len)) as u16;
                if self.is_free(address, value) {
                    return Ok((address.to_owned(), value));
                }
            }
            if self.taken.free_between(address, range) > 0
                && let Some(value) = (first..=last).find(|&value| self.is_free(address, value))
            {
                return Ok((address.to_owned(), value));
            }
        }
        Err(PortError::DynamicExhausted)
    }
}

/// True when the node has that host network (the empty name and `default` are always there).
pub fn has_host_network(node: &Node, name: &str) -> bool {
    matches!(name, "" | "default") || named_addresses(node, name).next().is_some()
}

fn named_addresses<'a>(node: &'a Node, name: &str) -> impl Iterator<Item = &'a str> {
    let addresses = node.node_resources.node_networks.iter().flat_map(|network| &network.addresses);
    addresses.filter(move |address| address.alias == name).map(|address| address.address.as_str())
}

fn addresses<'a>(node: &'a Node, host_network: &str) -> Result<Vec<&'a str>, PortError> {
    let name = if host_network.is_empty() { "default" } else { host_network };
    let mut found: Vec<&str> = named_addresses(node, name).collect();
    if found.is_empty() && name == "default" {
        found
            .extend(node.node_resources.networks.iter().map(|network| network.ip.as_str()).filter(|ip| !ip.is_empty()));
    }
    if found.is_empty() { Err(PortError::NoAddress { network: name.to_owned() }) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use drover_model::node::{NodeAddress, NodeNetwork};

    use super::*;

    fn node(addresses: &[&str], range: (u16, u16)) -> Node {
        let mut node = Node::default();
        let address = |text: &&str| NodeAddress {
            alias: "default".to_owned(),
            address: (*text).to_owned(),
            ..NodeAddress::default()
        };
        let addresses = addresses.iter().map(address).collect();
        node.node_resources.node_networks = vec![NodeNetwork { addresses, ..NodeNetwork::default() }];
        (node.node_resources.min_dynamic_port, node.node_resources.max_dynamic_port) = range;
        node.reserved_resources.networks.reserved_host_ports = "22".to_owned();
        node
    }

    fn group(reserved: &[i32], dynamic: &[&str]) -> Group {
        let port = |label: &str, value| Port { label: label.to_owned(), value, ..Port::default() };
        let network = Network {
            reserved_ports: reserved.iter().map(|&value| port("s", value)).collect(),
            dynamic_ports: dynamic.iter().map(|label| Port { to: -1, ..port(label, 0) }).collect(),
            ..Network::default()
        };
        Group { networks: vec![network], ..Group::default() }
    }

    fn place(node: &Node, taken: &mut PortUse, group: &Group) -> Result<Vec<(String, i32)>, String> {
        let assigned = assign(node, taken, group, &mut Seeds::new(1, b"t")).map_err(|error| error.to_string())?;
        let mut resources = AllocatedResources::default();
        resources.shared.ports = assigned.ports;
        assert!(taken.take(&resources));
        Ok(resources.shared.ports.iter().map(|port| (port.host_ip.clone(), port.value)).collect())
    }

    #[test]
    fn a_static_port_is_taken_once_per_address() {
        let node = node(&["127.0.0.1", "::1"], (20000, 32000));
        let mut taken = PortUse::of_node(&node);
        let web = group(&[8080], &[]);
        assert_eq!(place(&node, &mut taken, &web), Ok(vec![("127.0.0.1".to_owned(), 8080)]));
        assert_eq!(place(&node, &mut taken, &web), Ok(vec![("::1".to_owned(), 8080)]));
        assert_eq!(place(&node, &mut taken, &web), Err("reserved port collision s=8080".to_owned()));
        assert_eq!(place(&node, &mut taken, &group(&[22], &[])), Err("reserved port collision s=22".to_owned()));
    }

    #[test]
    fn dynamic_ports_fill_the_range_to_the_last() {
        let node = node(&["127.0.0.1"], (20000, 20003));
        let mut taken = PortUse::of_node(&node);
        let mut got: Vec<i32> = Vec::new();
        for _ in 0..2 {
            got.extend(place(&node, &mut taken, &group(&[], &["a", "b"])).unwrap().iter().map(|(_, value)| value));
        }
        got.sort_unstable();
        assert_eq!(got, [20000, 20001, 20002, 20003]);
        assert_eq!(place(&node, &mut taken, &group(&[], &["a"])), Err("dynamic port selection failed".to_owned()));
    }

    #[test]
    fn a_node_without_addresses_gives_no_ports() {
        let node = node(&[], (20000, 32000));
        let result = place(&node, &mut PortUse::of_node(&node), &group(&[80], &[]));
        assert_eq!(result, Err("no addresses available for \"default\" network".to_owned()));
    }
}
