//! The networks of this machine as its servers get to know them, and those that its allocs get.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use drover_agent_config::client_network::{HostNetwork, NetworkSettings};
use drover_model::NodeId;
use drover_model::network::Network;
use drover_model::node::{NodeAddress, NodeNetwork};
use drover_runner::hooks::network::EdgeNetworks;
use drover_runner::networks::{Networks, Settings, Subnet, probe};
use serde_json::{Value, json};

use crate::cni_plugins;
use crate::config::EdgeConfig;
use crate::interfaces::{self, InterfaceAddress};

/// What jobs with bridge networks are constrained to; the own bridge stands in for them.
const PLUGINS: &[&str] = &["bridge", "firewall", "host-local", "loopback", "portmap"];
/// The version of those whose part the own bridge takes.
const PLUGIN_VERSION: &str = "1.0.0";
/// The host network that is asked for where a job names none.
const DEFAULT: &str = "default";

/// The networks of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offered {
    /// The older form: one entry for each address of the default network.
    pub networks: Vec<Network>,
    /// Interfaces with their addresses.
    pub node_networks: Vec<NodeNetwork>,
    /// The operator's names.
    pub host_networks: BTreeMap<String, Value>,
    /// The first address of the default network.
    pub ip: Option<IpAddr>,
}

/// What this machine offers, with the attributes that go with it.
pub fn offered(config: &EdgeConfig, attributes: &mut BTreeMap<String, String>) -> Offered {
    let mut offered = of_addresses(config, &interfaces::addresses(), interfaces::default_interface().as_deref());
    attributes.insert("nomad.bridge.hairpin_mode".to_owned(), config.network.is_hairpin.to_string());
    match can_bridge() {
        Ok(()) => {
            let path = config.network.cni_path.as_deref().unwrap_or(cni_plugins::DEFAULT_PATH);
            for name in PLUGINS {
                let installed = cni_plugins::version(path, name).unwrap_or_default();
                let version = cni_plugins::newer(PLUGIN_VERSION, &installed).to_owned();
                attributes.insert(format!("plugins.cni.version.{name}"), version);
            }
            let mode = "bridge".to_owned();
            offered.networks.insert(0, Network { mode: mode.clone(), ..Network::default() });
            offered.node_networks.insert(0, NodeNetwork { mode, ..NodeNetwork::default() });
        }
        // Not part of the class: reasons differ where nothing else does.
        Err(reason) => drop(attributes.insert("unique.network.bridge.undetected".to_owned(), reason.clone())),
    }
    offered
}

/// Whether bridge networks work here; tried out once.
fn can_bridge() -> &'static Result<(), String> {
    static KNOWN: OnceLock<Result<(), String>> = OnceLock::new();
    KNOWN.get_or_init(probe)
}

/// What makes the networks of this edge's allocs.
pub fn of_allocs(config: &EdgeConfig, node_id: NodeId) -> EdgeNetworks {
    let networks = can_bridge().clone().and_then(|()| {
        let settings = settings(&config.network, &config.state_dir, node_id).map_err(|error| format!("{error:#}"))?;
        Ok(Networks::new(settings))
    });
    EdgeNetworks::new(networks, config.network.binds_wildcard).of_node(node_id.to_string())
}

/// Refuses what can't be read.
pub fn check(config: &NetworkSettings) -> Result<()> {
    settings(config, Path::new(""), NodeId::default())?;
    for (name, network) in &config.host_networks {
        ranges(network).with_context(|| format!("invalid cidr of host_network {name:?}"))?;
    }
    Ok(())
}

fn settings(config: &NetworkSettings, state_dir: &Path, node_id: NodeId) -> Result<Settings> {
    let range = |what: &str, text: &Option<String>, is_v4: bool| -> Result<Option<Subnet>> {
        let Some(text) = text else { return Ok(None) };
        let range: Subnet = text.parse().with_context(|| format!("client setup failed: invalid {what}"))?;
        anyhow::ensure!(range.gateway().is_ipv4() == is_v4, "client setup failed: invalid {what}: {text}");
        Ok(Some(range))
    };
    if let Some(name) = &config.bridge_name {
        let is_fit = (1..=15).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        anyhow::ensure!(
            is_fit,
            "client setup failed: invalid bridge_network_name: {name:?} can't be the name of a link"
        );
    }
    Ok(Settings {
        node_id: node_id.to_string(),
        dir: state_dir.join("netns"),
        bridge_name: config.bridge_name.clone(),
        range: range("bridge_network_subnet", &config.bridge_subnet, true)?,
        range_v6: range("bridge_network_subnet_ipv6", &config.bridge_subnet_ipv6, false)?,
        is_hairpin: config.is_hairpin,
    })
}

fn ranges(network: &HostNetwork) -> Result<Vec<Subnet>> {
    let parts = network.cidr.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(anyhow::Error::new)).collect()
}

/// The addresses under their names: `default` for those of the configured interface, or of the default route's, or of
/// loopback; the operator's names for those that fit them.
fn of_addresses(config: &EdgeConfig, all: &[InterfaceAddress], default_interface: Option<&str>) -> Offered {
    let is_on = |name: &str| all.iter().any(|address| address.interface == name);
    let wanted = config.network_interface.as_deref().or(default_interface).filter(|name| is_on(name)).unwrap_or("lo");
    let mut sorted: Vec<&InterfaceAddress> = all.iter().collect();
    // The default network first, and IPv4: job files and scripts expect it where there is one.
    sorted.sort_by_key(|address| (address.interface != wanted, address.ip.is_ipv6()));
    let mut offered = Offered { host_networks: host_networks(&config.network), ..Offered::default() };
    for address in sorted {
        let is_default = address.interface == wanted;
        if is_default {
            offered.ip = offered.ip.or(Some(address.ip));
            offered.networks.push(network(address));
        }
        let names = config.network.host_networks.iter().filter(|(_, network)| fits(network, address));
        let names: BTreeMap<&str, &str> = is_default
            .then_some((DEFAULT, ""))
            .into_iter()
            .chain(names.map(|(name, network)| (name.as_str(), network.reserved_ports.as_str())))
            .collect();
        let entries = names.into_iter().map(|(name, reserved_ports)| NodeAddress {
            alias: name.to_owned(),
            address: address.ip.to_string(),
            family: if address.ip.is_ipv4() { "ipv4" } else { "ipv6" }.to_owned(),
            reserved_ports: reserved_ports.to_owned(),
            ..NodeAddress::default()
        });
        let entries: Vec<NodeAddress> = entries.collect();
        if entries.is_empty() {
            continue;
        }
        match offered.node_networks.iter_mut().find(|network| network.device == address.interface) {
            Some(network) => network.addresses.extend(entries),
            None => offered.node_networks.push(NodeNetwork {
                mode: "host".to_owned(),
                device: address.interface.clone(),
                mac_address: interfaces::mac_address(&address.interface),
                speed: interfaces::speed_mbits(&address.interface),
                addresses: entries,
            }),
        }
    }
    offered
}

fn fits(network: &HostNetwork, address: &InterfaceAddress) -> bool {
    let ranges = ranges(network).unwrap_or_default();
    (network.interface.is_empty() || network.interface == address.interface)
        && (network.cidr.is_empty() || ranges.iter().any(|range| range.contains(&address.ip)))
}

fn host_networks(config: &NetworkSettings) -> BTreeMap<String, Value> {
    let shown = |(name, network): (&String, &HostNetwork)| {
        let HostNetwork { cidr, interface, reserved_ports } = network;
        (name.clone(), json!({"Name": name, "CIDR": cidr, "Interface": interface, "ReservedPorts": reserved_ports}))
    };
    config.host_networks.iter().map(shown).collect()
}

fn network(address: &InterfaceAddress) -> Network {
    let bits = if address.ip.is_ipv4() { 32 } else { 128 };
    Network {
        mode: "host".to_owned(),
        device: address.interface.clone(),
        cidr: format!("{}/{bits}", address.ip),
        ip: address.ip.to_string(),
        mbits: interfaces::speed_mbits(&address.interface),
        ..Network::default()
    }
}

/// First argument of a process that removes what an agent that was killed has left in the kernel's network.
const REMOVAL_ARG: &str = "__remove-networks";

/// The arguments of such a process.
pub fn removal_args(config: &EdgeConfig, node_id: NodeId) -> Vec<String> {
    let name = config.network.bridge_name.clone().unwrap_or_default();
    let has_v6 = config.network.bridge_subnet_ipv6.clone().unwrap_or_default();
    vec![REMOVAL_ARG.to_owned(), config.state_dir.to_string_lossy().into_owned(), node_id.to_string(), name, has_v6]
}

/// When the process was started for that it does so and never returns.
pub fn main_if_removal() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [first, dir, node_id, name, range_v6] = args.as_slice() else { return };
    if first != REMOVAL_ARG {
        return;
    }
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    let config =
        NetworkSettings { bridge_name: given(name), bridge_subnet_ipv6: given(range_v6), ..NetworkSettings::default() };
    let removed = node_id
        .parse::<NodeId>()
        .map_err(anyhow::Error::new)
        .and_then(|node_id| settings(&config, Path::new(dir), node_id))
        .and_then(|settings| {
            Networks::new(settings).keep_only(&BTreeSet::new()).map_err(|error| anyhow::anyhow!(error.full_text()))
        });
    if let Err(error) = &removed {
        eprintln!("networks of allocs not removed: {error:#}");
    }
    std::process::exit(i32::from(removed.is_err()));
}

/// Removes the networks of allocs that are not among these. Blocking.
pub fn remove_strangers(networks: &EdgeNetworks, strangers: BTreeSet<drover_model::AllocId>) {
    for alloc in strangers {
        tracing::warn!(%alloc, "removing the network of an alloc that is not wanted");
        networks.poststop(alloc);
    }
    networks.tidy();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(interface: &str, ip: &str) -> InterfaceAddress {
        InterfaceAddress { interface: interface.to_owned(), ip: ip.parse().unwrap() }
    }

    fn host_network(cidr: &str, interface: &str, ports: &str) -> HostNetwork {
        HostNetwork { cidr: cidr.to_owned(), interface: interface.to_owned(), reserved_ports: ports.to_owned() }
    }

    #[test]
    fn addresses_have_the_operators_names() {
        let all = [
            address("lo", "127.0.0.1"),
            address("eth0", "fd00::5"),
            address("eth0", "10.0.0.5"),
            address("eth1", "203.0.113.9"),
            address("eth2", "192.168.0.1"),
        ];
        let mut config = EdgeConfig::new(Path::new("/d"));
        config.network.host_networks = BTreeMap::from([
            ("public".to_owned(), host_network("203.0.113.0/24, 198.51.100.0/24", "", "22")),
            ("inner".to_owned(), host_network("10.0.0.0/8", "eth0", "")),
            ("never".to_owned(), host_network("10.0.0.0/8", "eth1", "")),
        ]);
        let offered = of_addresses(&config, &all, Some("eth0"));
        let shown: Vec<(String, String, String, String)> = offered
            .node_networks
            .iter()
            .flat_map(|network| network.addresses.iter().map(|address| (network.device.clone(), address.clone())))
            .map(|(device, address)| (device, address.alias, address.address, address.reserved_ports))
            .collect();
        let row = |device: &str, alias: &str, ip: &str, ports: &str| {
            (device.to_owned(), alias.to_owned(), ip.to_owned(), ports.to_owned())
        };
        assert_eq!(
            shown,
            [
                row("eth0", "default", "10.0.0.5", ""),
                row("eth0", "inner", "10.0.0.5", ""),
                row("eth0", "default", "fd00::5", ""),
                row("eth1", "public", "203.0.113.9", "22"),
            ]
        );
        assert_eq!(offered.networks.len(), 2);
        assert_eq!(offered.ip, Some("10.0.0.5".parse().unwrap()));
        assert_eq!(offered.host_networks["public"]["ReservedPorts"], "22");
        // Without a default route it is loopback.
        assert_eq!(of_addresses(&config, &all, None).ip, Some("127.0.0.1".parse().unwrap()));
        config.network_interface = Some("eth2".to_owned());
        assert_eq!(of_addresses(&config, &all, Some("eth0")).ip, Some("192.168.0.1".parse().unwrap()));
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        let check = |change: &dyn Fn(&mut NetworkSettings), expected: &str| {
            let mut config = NetworkSettings::default();
            change(&mut config);
            assert_eq!(format!("{:#}", check(&config).unwrap_err()), expected);
        };
        check(
            &|config| config.bridge_subnet = Some("abc".to_owned()),
            "client setup failed: invalid bridge_network_subnet: invalid CIDR address: abc",
        );
        check(
            &|config| config.bridge_subnet_ipv6 = Some("10.0.0.0/24".to_owned()),
            "client setup failed: invalid bridge_network_subnet_ipv6: 10.0.0.0/24",
        );
        check(
            &|config| config.bridge_name = Some("a/b".to_owned()),
            "client setup failed: invalid bridge_network_name: \"a/b\" can't be the name of a link",
        );
        check(
            &|config| drop(config.host_networks.insert("x".to_owned(), host_network("10.0.0.0", "", ""))),
            "invalid cidr of host_network \"x\": invalid CIDR address: 10.0.0.0",
        );
    }
}
