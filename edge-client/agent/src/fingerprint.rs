//! What this machine is and has, as its servers get to know it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use drover_model::node::{
    DriverInfo, Node, NodeCpu, NodeDisk, NodeMemory, NodeResources, NodeStatus, ReservedCpu, ReservedPorts,
    ReservedResources,
};
use drover_model::{NodeId, Timestamp};
use drover_runner::drivers::Drivers;
use drover_runner::signal;
use serde_json::json;

use crate::config::EdgeConfig;
use crate::machine::{self, Processors};
use crate::networks;

/// The version of the other orchestrator whose job files and constraints are understood.
const COMPATIBLE_VERSION: &str = "2.0.6";
/// The attribute with the size of the file system of the allocs.
pub const DISK_BYTES: &str = "unique.storage.bytestotal";

/// The node as it is registered, devices left out.
pub fn node(id: NodeId, config: &EdgeConfig, drivers: &Drivers, now: Timestamp) -> Node {
    look(id, config, drivers, now, None)
}

/// The same once more. What is measured, and comes out a little different each time, stays as it was.
pub fn again(known: &Node, config: &EdgeConfig, drivers: &Drivers, now: Timestamp) -> Node {
    look(known.id, config, drivers, now, Some(known))
}

fn look(id: NodeId, config: &EdgeConfig, drivers: &Drivers, now: Timestamp, known: Option<&Node>) -> Node {
    let mut attributes = BTreeMap::new();
    host(&mut attributes);
    let known_mhz = known.and_then(|node| node.attributes.get("cpu.frequency")?.parse().ok());
    let (cpu, processors) = cpu(&mut attributes, config, known_mhz);
    let memory = memory(&mut attributes, config);
    let disk = disk(&mut attributes, config);
    let offered = networks::offered(config, &mut attributes);
    if let Some(ip) = offered.ip {
        attributes.insert("unique.network.ip-address".to_owned(), ip.to_string());
    }
    if !config.http_addr.is_empty() {
        attributes.insert("unique.advertise.address".to_owned(), config.http_addr.clone());
    }
    for (limit, reason) in drivers.unenforced() {
        set(&mut attributes, &format!("os.cgroups.unenforced.{limit}"), reason.as_str());
    }
    let drivers = driver_infos(&mut attributes, drivers, now);
    Node {
        id,
        datacenter: config.datacenter.clone(),
        name: config.name.clone(),
        http_addr: config.http_addr.clone(),
        tls_enabled: config.http_tls && !config.http_addr.is_empty(),
        attributes,
        node_resources: NodeResources {
            cpu,
            memory: NodeMemory { mib: memory },
            disk: NodeDisk { mib: disk },
            networks: offered.networks,
            node_networks: offered.node_networks,
            devices: Vec::new(),
            min_dynamic_port: config.dynamic_ports.0,
            max_dynamic_port: config.dynamic_ports.1,
            processors: topology(&processors),
        },
        reserved_resources: ReservedResources {
            cpu: ReservedCpu { mhz: config.reserved.cpu_mhz, cores: config.reserved.cores.clone() },
            memory: NodeMemory { mib: config.reserved.memory_mib },
            disk: NodeDisk { mib: config.reserved.disk_mib },
            networks: ReservedPorts { reserved_host_ports: config.reserved.ports.clone() },
        },
        meta: config.meta.clone(),
        node_class: config.node_class.clone(),
        node_pool: config.node_pool.clone(),
        cgroup_parent: "drover".to_owned(),
        drivers,
        host_volumes: host_volumes(config),
        host_networks: offered.host_networks,
        status: NodeStatus::Initializing,
        ..Node::default()
    }
}

fn set(attributes: &mut BTreeMap<String, String>, name: &str, value: impl Into<String>) {
    attributes.insert(name.to_owned(), value.into());
}

fn host(attributes: &mut BTreeMap<String, String>) {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let machine = text(uname.machine());
    set(attributes, "kernel.name", "linux");
    set(attributes, "kernel.version", text(uname.release()));
    set(attributes, "unique.hostname", text(uname.nodename()));
    set(
        attributes,
        "cpu.arch",
        match machine.as_str() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "armv7l" | "armv6l" => "arm",
            "i686" | "i386" => "386",
            other => other,
        },
    );
    set(attributes, "kernel.arch", machine);
    let (name, version) = machine::distribution(Path::new("/"));
    set(attributes, "os.name", name);
    set(attributes, "os.version", version);
    let signals: Vec<&str> = signal::NAMES.iter().map(|(name, _)| *name).collect();
    set(attributes, "os.signals", signals.join(","));
    let is_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    set(attributes, "os.cgroups.version", if is_v2 { "2" } else { "1" });
    if let Some(id) = machine::host_id(Path::new("/")) {
        set(attributes, "unique.host_id", id);
    }
    if let Some(version) = machine::landlock() {
        set(attributes, "kernel.landlock", format!("v{version}"));
    }
    // Constraints of job files ask for these; what drover itself is stands beside them.
    set(attributes, "nomad.version", COMPATIBLE_VERSION);
    set(attributes, "drover.version", env!("CARGO_PKG_VERSION"));
    set(attributes, "nomad.service_discovery", "false");
}

fn cpu(
    attributes: &mut BTreeMap<String, String>,
    config: &EdgeConfig,
    known_mhz: Option<u64>,
) -> (NodeCpu, Processors) {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == "model name"));
    if let Some((_, model)) = model {
        set(attributes, "cpu.modelname", model.trim());
    }
    let found = Processors::find(known_mhz);
    let total = match config.cpu_total_mhz {
        0 => found.total_mhz(),
        given => given,
    };
    let total = i64::try_from(total).unwrap_or(i64::MAX);
    let cores = u16::try_from(found.cores.len()).unwrap_or(u16::MAX);
    let reservable: Vec<u16> =
        found.cores.iter().filter(|core| !config.reserved.cores.contains(core)).copied().collect();
    set(attributes, "cpu.numcores", cores.to_string());
    set(attributes, "cpu.frequency", found.mhz.to_string());
    if !found.efficient.is_empty() {
        let efficient = found.efficient.len();
        set(attributes, "cpu.numcores.performance", (found.cores.len() - efficient).to_string());
        set(attributes, "cpu.numcores.efficiency", efficient.to_string());
        set(attributes, "cpu.frequency.performance", found.mhz.to_string());
        set(attributes, "cpu.frequency.efficiency", found.efficient_mhz.to_string());
    }
    set(attributes, "cpu.totalcompute", total.to_string());
    set(attributes, "cpu.usablecompute", (total - config.reserved.cpu_mhz).max(0).to_string());
    set(attributes, "cpu.reservablecores", reservable.len().to_string());
    set(attributes, "numa.node.count", found.nodes.len().to_string());
    for (node, cores) in &found.nodes {
        set(attributes, &format!("numa.node{node}.cores"), machine::ranges(cores));
    }
    (NodeCpu { mhz: total, cores, reservable_cores: reservable }, found)
}

fn memory(attributes: &mut BTreeMap<String, String>, config: &EdgeConfig) -> i64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .unwrap_or(0);
    let bytes = match config.memory_total_mib {
        0 => kib << 10,
        mib => mib << 20,
    };
    set(attributes, "memory.totalbytes", bytes.to_string());
    i64::try_from(bytes >> 20).unwrap_or(i64::MAX)
}

fn disk(attributes: &mut BTreeMap<String, String>, config: &EdgeConfig) -> i64 {
    // The directory may not be there yet: the file system it will be on is that of the nearest one that is.
    let Some(dir) = config.alloc_dir.ancestors().find(|dir| dir.exists()) else { return 0 };
    let Ok(stat) = rustix::fs::statvfs(dir) else { return 0 };
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let total = match config.disk_total_mib {
        // As `df` tells it, and job files rely on: what is kept for root is part of it, and is to be reserved where that matters.
        0 => stat.f_blocks.saturating_mul(stat.f_frsize),
        mib => mib.saturating_mul(1 << 20),
    };
    set(attributes, "unique.storage.volume", machine::volume_of(dir, &mounts));
    set(attributes, DISK_BYTES, total.to_string());
    i64::try_from(total >> 20).unwrap_or(i64::MAX)
}

fn driver_infos(
    attributes: &mut BTreeMap<String, String>,
    drivers: &Drivers,
    now: Timestamp,
) -> BTreeMap<String, DriverInfo> {
    let mut infos = BTreeMap::new();
    for (name, found) in drivers.fingerprints() {
        if found.detected && found.healthy {
            attributes.extend(found.attributes.clone());
            attributes.insert(format!("driver.{name}"), "1".to_owned());
        }
        infos.insert(
            name,
            DriverInfo {
                attributes: found.attributes,
                detected: found.detected,
                healthy: found.healthy,
                health_description: found.description,
                update_time: now,
            },
        );
    }
    infos
}

fn host_volumes(config: &EdgeConfig) -> BTreeMap<String, serde_json::Value> {
    let offered = config.host_volumes.iter().map(|(name, volume)| {
        let shown = json!({ "Name": name, "Path": volume.path, "ReadOnly": volume.read_only, "ID": "" });
        (name.clone(), shown)
    });
    offered.collect()
}

fn topology(processors: &Processors) -> serde_json::Value {
    let core = |id: &u16| {
        json!({
            "BaseSpeed": processors.mhz_of(*id), "Disable": false, "Grade": !processors.efficient.contains(id),
            "GuessSpeed": 0, "ID": id, "MaxSpeed": 0, "NodeID": processors.node_of(*id), "SocketID": 0,
        })
    };
    json!({"Topology": {
        "Cores": processors.cores.iter().map(core).collect::<Vec<_>>(),
        "Distances": null,
        "Nodes": processors.nodes.iter().map(|(node, _)| node).collect::<Vec<_>>(),
        "OverrideTotalCompute": 0,
        "OverrideWitholdCompute": 0,
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_what_constraints_ask_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = EdgeConfig::new(dir.path());
        config.network_interface = Some("lo".to_owned());
        config.reserved.cores = vec![0];
        let node = node(NodeId::from_random([1; 16]), &config, &Drivers::default(), Timestamp(1));
        for name in
            ["cpu.arch", "kernel.name", "kernel.version", "os.name", "os.signals", "memory.totalbytes", "nomad.version"]
        {
            assert!(node.attributes.get(name).is_some_and(|value| !value.is_empty()), "{name}");
        }
        assert_eq!(node.attributes["unique.network.ip-address"], "127.0.0.1");
        assert!(node.node_resources.networks.iter().any(|network| network.ip == "127.0.0.1"));
        assert!(
            node.node_resources.memory.mib > 0 && node.node_resources.disk.mib > 0 && node.node_resources.cpu.mhz > 0
        );
        assert!(!node.node_resources.cpu.reservable_cores.contains(&0));
    }

    #[test]
    fn a_second_look_finds_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let config = EdgeConfig::new(dir.path());
        let first = node(NodeId::from_random([1; 16]), &config, &Drivers::default(), Timestamp(1));
        let second = again(&first, &config, &Drivers::default(), Timestamp(9));
        // What others on this machine may change meanwhile is not compared.
        let steady = |node: &Node| {
            let keys =
                ["cpu.frequency", "cpu.totalcompute", "unique.host_id", "unique.storage.bytestotal", "os.version"];
            keys.map(|key| node.attributes.get(key).cloned())
        };
        assert_eq!(steady(&first), steady(&second));
        assert_eq!(first.node_resources.processors, second.node_resources.processors);
    }
}
