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
use crate::networks;

/// The version of the other orchestrator whose job files and constraints are understood.
const COMPATIBLE_VERSION: &str = "2.0.6";
/// MHz of a core whose kernel does not say.
const GUESSED_MHZ: u64 = 1000;

/// The node as it is registered.
pub fn node(id: NodeId, config: &EdgeConfig, drivers: &Drivers, now: Timestamp) -> Node {
    let mut attributes = BTreeMap::new();
    host(&mut attributes);
    let cpu = cpu(&mut attributes, config);
    let memory = memory(&mut attributes, config);
    let disk = disk(&mut attributes, config);
    let offered = networks::offered(config, &mut attributes);
    if let Some(ip) = offered.ip {
        attributes.insert("unique.network.ip-address".to_owned(), ip.to_string());
    }
    if !config.http_addr.is_empty() {
        attributes.insert("unique.advertise.address".to_owned(), config.http_addr.clone());
    }
    let drivers = driver_infos(&mut attributes, drivers, now);
    let cores = cpu.cores;
    let frequency = attributes.get("cpu.frequency").and_then(|text| text.parse().ok()).unwrap_or(GUESSED_MHZ);
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
            processors: processors(cores, frequency),
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
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    set(attributes, "os.name", os_release(&release, "ID").unwrap_or_else(|| "linux".to_owned()));
    set(attributes, "os.version", os_release(&release, "VERSION_ID").unwrap_or_default());
    let signals: Vec<&str> = signal::NAMES.iter().map(|(name, _)| *name).collect();
    set(attributes, "os.signals", signals.join(","));
    let is_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    set(attributes, "os.cgroups.version", if is_v2 { "2" } else { "1" });
    if let Some(id) = host_id() {
        set(attributes, "unique.host_id", id);
    }
    // Constraints of job files ask for these; what drover itself is stands beside them.
    set(attributes, "nomad.version", COMPATIBLE_VERSION);
    set(attributes, "drover.version", env!("CARGO_PKG_VERSION"));
    set(attributes, "nomad.service_discovery", "false");
}

/// The machine's id in the form of a UUID.
fn host_id() -> Option<String> {
    let id = fs::read_to_string("/etc/machine-id").ok()?;
    let id = id.trim();
    if id.len() != 32 || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    Some(format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]))
}

fn os_release(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

fn cpu(attributes: &mut BTreeMap<String, String>, config: &EdgeConfig) -> NodeCpu {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        info.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = u16::try_from(cores).unwrap_or(u16::MAX);
    let khz = |file: &str| {
        let text = fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cpufreq/{file}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let from_info = || field("cpu MHz").and_then(|text| text.parse::<f64>().ok()).map(|mhz| mhz as u64);
    let frequency = khz("base_frequency")
        .or_else(|| khz("cpuinfo_max_freq"))
        .map(|khz| khz / 1000)
        .or_else(from_info)
        .filter(|mhz| *mhz > 0)
        .unwrap_or(GUESSED_MHZ);
    let total = match config.cpu_total_mhz {
        0 => frequency * u64::from(cores),
        given => given,
    };
    let total = i64::try_from(total).unwrap_or(i64::MAX);
    let reservable: Vec<u16> = (0..cores).filter(|core| !config.reserved.cores.contains(core)).collect();
    if let Some(name) = field("model name") {
        set(attributes, "cpu.modelname", name);
    }
    set(attributes, "cpu.numcores", cores.to_string());
    set(attributes, "cpu.frequency", frequency.to_string());
    set(attributes, "cpu.totalcompute", total.to_string());
    set(attributes, "cpu.usablecompute", (total - config.reserved.cpu_mhz).max(0).to_string());
    set(attributes, "cpu.reservablecores", reservable.len().to_string());
    set(attributes, "numa.node.count", "1");
    set(attributes, "numa.node0.cores", if cores > 1 { format!("0-{}", cores - 1) } else { "0".to_owned() });
    NodeCpu { mhz: total, cores, reservable_cores: reservable }
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
    set(attributes, "unique.storage.volume", dir.to_string_lossy());
    set(attributes, "unique.storage.bytestotal", (stat.f_blocks.saturating_mul(stat.f_frsize)).to_string());
    let free = match config.disk_total_mib {
        0 => stat.f_bavail.saturating_mul(stat.f_frsize) >> 20,
        mib => mib,
    };
    i64::try_from(free).unwrap_or(i64::MAX)
}

fn driver_infos(
    attributes: &mut BTreeMap<String, String>,
    drivers: &Drivers,
    now: Timestamp,
) -> BTreeMap<String, DriverInfo> {
    let mut infos = BTreeMap::new();
    for (name, found) in drivers.fingerprints() {
        if found.detected && found.healthy {
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

fn processors(cores: u16, mhz: u64) -> serde_json::Value {
    let core = |id: u16| {
        json!({
            "BaseSpeed": mhz, "Disable": false, "Grade": true, "GuessSpeed": 0, "ID": id, "MaxSpeed": 0, "NodeID": 0,
            "SocketID": 0,
        })
    };
    json!({"Topology": {
        "Cores": (0..cores).map(core).collect::<Vec<_>>(),
        "Distances": null,
        "Nodes": [0],
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
    fn os_release_is_read() {
        let text = "NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID=\"12\"\n";
        assert_eq!(os_release(text, "ID").as_deref(), Some("debian"));
        assert_eq!(os_release(text, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(os_release(text, "NOPE"), None);
    }
}
