//! Everything an edge has to be told, with all defaults filled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use drover_agent_config::Settings;
use drover_agent_config::client_devices::{Devices, NVIDIA_PLUGIN};
use drover_agent_config::client_network::NetworkSettings;
use drover_agent_config::settings::HostVolume;
use drover_runner::decide::gc::GcLimits;
use drover_runner::drivers::DriverSettings;

use crate::cloud;
use crate::devices::NvidiaSettings;
use crate::figures::FigureSettings;
use crate::gc::GcSettings;

/// The RPC port where an address names none.
pub const RPC_PORT: u16 = 4647;

/// Settings of an edge.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Its state: the node's id, certificate, allocs, the supervisor's socket.
    pub state_dir: PathBuf,
    /// One directory per alloc below it.
    pub alloc_dir: PathBuf,
    /// Tasks end with the agent (`-dev`); after a crash, ten seconds later.
    pub ends_tasks: bool,
    /// Belongs to the agent alone and goes with the tasks, when those end with the agent.
    pub temporary_dir: Option<PathBuf>,
    /// The region of its servers.
    pub region: String,
    /// Its datacenter.
    pub datacenter: String,
    /// Its name, for people.
    pub name: String,
    /// Given by the operator.
    pub node_class: String,
    /// Its pool.
    pub node_pool: String,
    /// Given by the operator.
    pub meta: BTreeMap<String, String>,
    /// Where its agent answers HTTP; empty when it does not.
    pub http_addr: String,
    /// HTTP is answered there inside TLS.
    pub http_tls: bool,
    /// RPC addresses of servers; empty means those of this host.
    pub servers: Vec<String>,
    /// Lets it join from another host.
    pub join_token: Option<String>,
    /// Certificates that the operator made.
    pub own_tls: Option<OwnTls>,
    /// What the operator says about drivers.
    pub drivers: DriverSettings,
    /// What the operator keeps back.
    pub reserved: Reserved,
    /// MHz to offer instead of what was found out; 0 means what was found out.
    pub cpu_total_mhz: u64,
    /// MiB to offer instead of what was found out; 0 means what was found out.
    pub memory_total_mib: u64,
    /// MiB of disk to offer instead of what was found out; 0 means what was found out.
    pub disk_total_mib: u64,
    /// The interface whose addresses allocs get; none means that of the default route.
    pub network_interface: Option<String>,
    /// First and last port that the servers may choose.
    pub dynamic_ports: (u16, u16),
    /// What it says of itself in figures; none says nothing.
    pub figures: Option<FigureSettings>,
    /// The longest time a task may take to end.
    pub kill_timeout_max: Duration,
    /// The clouds that may be asked what this machine is, by the names of their fingerprints.
    pub clouds: Vec<&'static str>,
    /// Names of the agent's environment that no task gets, in addition to the usual ones.
    pub env_denylist: Vec<String>,
    /// Directories that jobs may ask for, by the name they have there.
    pub host_volumes: BTreeMap<String, HostVolume>,
    /// Its networks.
    pub network: NetworkSettings,
    /// Devices that the operator declares.
    pub devices: Devices,
    /// Devices of NVIDIA.
    pub nvidia: NvidiaSettings,
    /// When what is left of ended allocs goes.
    pub gc: GcSettings,
    /// The longest time until what is there is held against what is wanted once more; half of it is the shortest.
    pub audit_every: Duration,
}

/// Certificates that the operator made, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnTls {
    /// The roots to believe.
    pub ca_file: PathBuf,
    /// The node's certificate with its chain.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

/// What the operator keeps back from allocs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// MHz.
    pub cpu_mhz: i64,
    /// Core numbers.
    pub cores: Vec<u16>,
    /// MiB.
    pub memory_mib: i64,
    /// MiB.
    pub disk_mib: i64,
    /// Ports, as a list of numbers and ranges.
    pub ports: String,
}

impl EdgeConfig {
    /// The defaults of an edge with this directory.
    pub fn new(data_dir: &Path) -> EdgeConfig {
        EdgeConfig {
            alloc_dir: data_dir.join("alloc"),
            state_dir: data_dir.join("client"),
            ends_tasks: false,
            temporary_dir: None,
            region: "global".to_owned(),
            datacenter: "dc1".to_owned(),
            name: String::new(),
            node_class: String::new(),
            node_pool: "default".to_owned(),
            meta: BTreeMap::new(),
            http_addr: String::new(),
            http_tls: false,
            servers: Vec::new(),
            join_token: None,
            own_tls: None,
            drivers: DriverSettings { state_dir: Some(data_dir.join("client")), ..DriverSettings::default() },
            reserved: Reserved::default(),
            cpu_total_mhz: 0,
            memory_total_mib: 0,
            disk_total_mib: 0,
            network_interface: None,
            dynamic_ports: (20000, 32000),
            figures: None,
            kill_timeout_max: Duration::from_secs(30),
            clouds: Vec::new(),
            env_denylist: Vec::new(),
            host_volumes: BTreeMap::new(),
            network: NetworkSettings::default(),
            devices: Devices::new(),
            nvidia: NvidiaSettings::default(),
            gc: GcSettings::default(),
            audit_every: Duration::from_secs(40),
        }
    }

    /// What the agent's settings say about its edge. The join token comes from `DROVER_JOIN_TOKEN` or the file that is named.
    /// Where HTTP is answered is for the caller to fill in; so is, with [`EdgeConfig::in_directory`], where everything is
    /// kept when the settings have no `data_dir`.
    pub fn from_settings(settings: &Settings) -> Result<EdgeConfig> {
        let client = &settings.client;
        let defaults = EdgeConfig::new(settings.data_dir.as_deref().unwrap_or(Path::new("")));
        let number =
            |what: &str, number: u64| i64::try_from(number).with_context(|| format!("reserved {what} is too large"));
        Ok(EdgeConfig {
            state_dir: client.state_dir.clone().unwrap_or(defaults.state_dir.clone()),
            alloc_dir: client.alloc_dir.clone().unwrap_or(defaults.alloc_dir.clone()),
            ends_tasks: settings.dev,
            region: settings.region.clone(),
            datacenter: settings.datacenter.clone(),
            name: settings.name.clone(),
            node_class: client.node_class.clone(),
            node_pool: client.node_pool.clone(),
            meta: client.meta.clone(),
            http_tls: settings.tls.http == Some(true),
            servers: client.servers.clone(),
            join_token: join_token(client.join_token_file.as_deref())?,
            own_tls: own_tls(settings),
            drivers: drivers(settings, client.state_dir.clone().unwrap_or(defaults.state_dir.clone())),
            reserved: Reserved {
                cpu_mhz: number("cpu", client.reserved.cpu_mhz)?,
                cores: core_numbers(&client.reserved.cores).context("reserved cores")?,
                memory_mib: number("memory", client.reserved.memory_mib)?,
                disk_mib: number("disk", client.reserved.disk_mib)?,
                ports: client.reserved.ports.clone(),
            },
            cpu_total_mhz: client.cpu_total_mhz.unwrap_or(0),
            memory_total_mib: client.memory_total_mib.unwrap_or(0),
            disk_total_mib: client.disk_total_mib.unwrap_or(0),
            network_interface: match &client.network_interface {
                None if settings.dev => Some("lo".to_owned()),
                other => other.clone(),
            },
            dynamic_ports: (client.dynamic_port_min, client.dynamic_port_max),
            figures: Some(FigureSettings::from_settings(&settings.telemetry)),
            kill_timeout_max: client.kill_timeout_max,
            clouds: clouds(|option| list(client.options.get(option).map_or("", String::as_str))),
            env_denylist: list(client.options.get("env.denylist").map_or("", String::as_str)),
            host_volumes: client.host_volumes.clone(),
            network: client.network.clone(),
            devices: client.devices.clone(),
            nvidia: NvidiaSettings::read(settings.plugins.get(NVIDIA_PLUGIN)),
            gc: GcSettings {
                interval: client.gc.interval,
                limits: GcLimits {
                    disk_used_max_percent: client.gc.disk_used_max_percent,
                    inodes_used_max_percent: client.gc.inodes_used_max_percent,
                    allocs_max: client.gc.allocs_max,
                    parallel_max: client.gc.parallel_max,
                },
            },
            ..defaults
        })
    }

    /// Keeps everything in this directory, which is made for this agent and goes when its tasks end with it.
    #[must_use]
    pub fn in_directory(self, dir: &Path) -> EdgeConfig {
        let EdgeConfig { state_dir, alloc_dir, .. } = EdgeConfig::new(dir);
        let drivers = DriverSettings { state_dir: Some(state_dir.clone()), ..self.drivers };
        EdgeConfig { state_dir, alloc_dir, temporary_dir: Some(dir.to_owned()), drivers, ..self }
    }
}

fn join_token(file: Option<&Path>) -> Result<Option<String>> {
    if let Ok(text) = std::env::var("DROVER_JOIN_TOKEN")
        && !text.trim().is_empty()
    {
        return Ok(Some(text.trim().to_owned()));
    }
    let Some(file) = file else { return Ok(None) };
    let text = std::fs::read_to_string(file).with_context(|| format!("read join_token_file {}", file.display()))?;
    Ok(Some(text.trim().to_owned()))
}

/// Certificates for RPC, when they are meant for it: the same block secures the HTTP API. A client beside its server shows the
/// server's: that one covers a client.
fn own_tls(settings: &Settings) -> Option<OwnTls> {
    let files = settings.tls.rpc_files()?;
    Some(OwnTls { ca_file: files.ca, cert_file: files.cert, key_file: files.key })
}

fn drivers(settings: &Settings, state_dir: PathBuf) -> DriverSettings {
    let named = |option: &str| list(settings.client.options.get(option).map_or("", String::as_str));
    DriverSettings {
        plugins: settings.plugins.clone(),
        raw_exec_enabled: settings.raw_exec_enabled,
        allowlist: named("driver.allowlist"),
        denylist: named("driver.denylist"),
        chroot_env: (!settings.client.chroot_env.is_empty()).then(|| {
            let paths = settings.client.chroot_env.iter();
            paths.map(|(host, inside)| (PathBuf::from(host), PathBuf::from(inside))).collect()
        }),
        state_dir: Some(state_dir),
    }
}

/// Those that the operator's lists leave.
fn clouds(named: impl Fn(&str) -> Vec<String>) -> Vec<&'static str> {
    let (allowed, denied) = (named("fingerprint.allowlist"), named("fingerprint.denylist"));
    let has = |list: &[String], name: &str| list.iter().any(|listed| listed == name);
    let is_left = |name: &&str| (allowed.is_empty() || has(&allowed, name)) && !has(&denied, name);
    cloud::names().filter(is_left).collect()
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Core numbers from `0-2,5`.
fn core_numbers(text: &str) -> Result<Vec<u16>> {
    let mut cores = Vec::new();
    for part in list(text) {
        let (first, last) = part.split_once('-').unwrap_or((&part, &part));
        let (first, last): (u16, u16) = (first.trim().parse()?, last.trim().parse()?);
        cores.extend(first..=last);
    }
    cores.sort_unstable();
    cores.dedup();
    Ok(cores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use drover_agent_config::{Flags, load};

    #[test]
    fn settings_become_a_config() {
        let flags = Flags { dev: true, meta: vec!["a=b".to_owned()], ..Flags::default() };
        let config = EdgeConfig::from_settings(&load(&[], &flags).unwrap()).unwrap().in_directory(Path::new("/d"));
        assert_eq!((config.state_dir, config.alloc_dir), ("/d/client".into(), "/d/alloc".into()));
        assert!(config.ends_tasks && config.drivers.raw_exec_enabled);
        assert_eq!(config.network_interface.as_deref(), Some("lo"));
        assert_eq!(config.meta["a"], "b");
    }

    #[test]
    fn clouds_are_asked_unless_the_operator_says_otherwise() {
        let check = |allowed: &str, denied: &str, expected: &[&str]| {
            let clouds = clouds(|option| list(if option == "fingerprint.allowlist" { allowed } else { denied }));
            assert_eq!(clouds, expected, "{allowed} {denied}");
        };
        check("", "", &["env_aws", "env_gce", "env_azure", "env_digitalocean"]);
        check("", "env_aws,env_gce, env_azure", &["env_digitalocean"]);
        check("cpu,env_aws,env_gce", "env_gce", &["env_aws"]);
    }

    #[test]
    fn cores_are_read_as_ranges() {
        assert_eq!(core_numbers("0-2, 5,1").unwrap(), [0, 1, 2, 5]);
        assert!(core_numbers("").unwrap().is_empty());
        assert!(core_numbers("a").is_err());
    }
}
