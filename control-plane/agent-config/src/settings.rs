//! The settings of an agent, with every default filled.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::client_devices::Devices;
use crate::client_network::NetworkSettings;
use crate::telemetry::TelemetrySettings;

/// How much an agent logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happens.
    #[default]
    Info,
    /// What should not be.
    Warn,
    /// What failed.
    Error,
    /// Nothing.
    Off,
}

impl LogLevel {
    /// Reads the word in any case.
    pub fn parse(text: &str) -> Option<LogLevel> {
        Some(match text.to_uppercase().as_str() {
            "TRACE" => LogLevel::Trace,
            "DEBUG" => LogLevel::Debug,
            "INFO" => LogLevel::Info,
            "WARN" => LogLevel::Warn,
            "ERROR" => LogLevel::Error,
            "OFF" => LogLevel::Off,
            _ => return None,
        })
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Trace => "TRACE",
            LogLevel::Debug => "DEBUG",
            LogLevel::Info => "INFO",
            LogLevel::Warn => "WARN",
            LogLevel::Error => "ERROR",
            LogLevel::Off => "OFF",
        }
    }
}

/// The settings of an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// A development agent: everything on loopback, a temporary data directory, nothing left behind.
    pub dev: bool,
    /// The region.
    pub region: String,
    /// The datacenter.
    pub datacenter: String,
    /// The name of the agent; the host's when none is set.
    pub name: String,
    /// Where everything is kept; none in a development agent without one.
    pub data_dir: Option<PathBuf>,
    /// How much is logged.
    pub log_level: LogLevel,
    /// Log lines are JSON.
    pub log_json: bool,
    /// `bind_addr` as set.
    pub bind_addr: Option<IpAddr>,
    /// Ports.
    pub ports: Ports,
    /// Where the agent listens.
    pub listen: Listen,
    /// What others are told to dial, where that is set.
    pub advertise: Advertise,
    /// Bounds on connections.
    pub limits: Limits,
    /// The agent tells of its host.
    pub enable_debug: bool,
    /// A server leaves its region when the agent is interrupted.
    pub leave_on_interrupt: bool,
    /// A server leaves its region when the agent is terminated.
    pub leave_on_terminate: bool,
    /// The server part.
    pub server: ServerSettings,
    /// The rules for looking after servers.
    pub autopilot: AutopilotSettings,
    /// The client part.
    pub client: ClientSettings,
    /// Certificates of one's own.
    pub tls: TlsSettings,
    /// Headers added to every answer of the HTTP API.
    pub http_api_response_headers: BTreeMap<String, String>,
    /// Figures.
    pub telemetry: TelemetrySettings,
    /// The `raw_exec` driver may be used.
    pub raw_exec_enabled: bool,
    /// The `config` of each plugin block, by plugin name.
    pub plugins: BTreeMap<String, serde_json::Value>,
    /// Settings that are known but not acted on, for one warning at start.
    pub unacted: Vec<String>,
    /// What people are told at start.
    pub warnings: Vec<String>,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// Port numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// HTTP (TCP).
    pub http: u16,
    /// RPC (UDP).
    pub rpc: u16,
    /// Gossip.
    pub serf: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Ports { http: 4646, rpc: 4647, serf: 4648 }
    }
}

/// Addresses that are listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// HTTP; several are possible.
    pub http: Vec<IpAddr>,
    /// RPC.
    pub rpc: IpAddr,
    /// Gossip.
    pub serf: IpAddr,
}

/// Addresses that others are told, as `host` or `host:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertise {
    /// HTTP.
    pub http: Option<String>,
    /// RPC.
    pub rpc: Option<String>,
    /// Gossip.
    pub serf: Option<String>,
}

/// Bounds on connections; 0 switches one off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest TLS handshake of the HTTP API.
    pub https_handshake_timeout: Duration,
    /// Most HTTP connections of one address.
    pub http_connections_per_client_max: u32,
    /// Longest handshake of an RPC connection.
    pub rpc_handshake_timeout: Duration,
    /// Most RPC connections of one address; servers among themselves are not counted.
    pub rpc_connections_per_client_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            https_handshake_timeout: Duration::from_secs(5),
            http_connections_per_client_max: 100,
            rpc_handshake_timeout: Duration::from_secs(5),
            rpc_connections_per_client_max: 100,
        }
    }
}

/// The `server` block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// The agent is a server.
    pub enabled: bool,
    /// How many servers form the region; 0 waits to join one.
    pub bootstrap_expect: u32,
    /// Where the server keeps its state; below `data_dir` when none.
    pub data_dir: Option<PathBuf>,
    /// How it finds other servers.
    pub join: ServerJoin,
    /// A file that holds a token to join with.
    pub join_token_file: Option<PathBuf>,
    /// A key in base64 that all servers must know to take part in gossip.
    pub encrypt: Option<String>,
    /// The snapshots of the state that the server keeps by itself.
    pub kept_snapshots: KeptSnapshots,
    /// The region's log.
    pub raft: RaftSettings,
    /// The event stream.
    pub events: EventSettings,
}

/// The event stream of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventSettings {
    /// There is one.
    pub is_on: bool,
    /// How many log entries are kept for those who come late.
    pub buffer: usize,
}

impl Default for EventSettings {
    fn default() -> Self {
        EventSettings { is_on: true, buffer: 100 }
    }
}

/// How a server takes part in the region's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftSettings {
    /// All times of elections, as a multiple of the shortest: 1 to 10.
    pub multiplier: u32,
    /// Entries between two snapshots; the server's own number when none.
    pub snapshot_threshold: Option<u64>,
    /// How often it is looked whether a snapshot is due; with each entry when none.
    pub snapshot_interval: Option<Duration>,
    /// Entries that stay in the log behind a snapshot; the server's own number when none.
    pub trailing_logs: Option<u64>,
}

impl Default for RaftSettings {
    fn default() -> Self {
        RaftSettings { multiplier: 1, snapshot_threshold: None, snapshot_interval: None, trailing_logs: None }
    }
}

/// The snapshots of the state that a server keeps by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptSnapshots {
    /// The time from one to the next; zero makes none.
    pub interval: Duration,
    /// How many are kept; 0 makes none.
    pub count: usize,
}

impl Default for KeptSnapshots {
    fn default() -> Self {
        KeptSnapshots { interval: Duration::from_secs(4 * 3600), count: 6 }
    }
}

/// How a server finds others: gossip addresses as `host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerJoin {
    /// Tried once.
    pub start_join: Vec<String>,
    /// Tried until one answers.
    pub retry_join: Vec<String>,
    /// The time between two attempts.
    pub retry_interval: Duration,
    /// How many attempts; 0 for as long as it takes.
    pub retry_max: u32,
}

impl Default for ServerJoin {
    fn default() -> Self {
        ServerJoin {
            start_join: Vec::new(),
            retry_join: Vec::new(),
            retry_interval: Duration::from_secs(30),
            retry_max: 0,
        }
    }
}

/// The `autopilot` block: the rules for looking after servers until somebody sets others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutopilotSettings {
    /// Dead servers are taken out.
    pub cleanup_dead_servers: bool,
    /// One that was not heard for longer is not well.
    pub last_contact_threshold: Duration,
    /// One that is more entries behind is not well.
    pub max_trailing_logs: u64,
    /// Never fewer voters by taking out dead ones.
    pub min_quorum: u64,
    /// A new server votes after it has been well for so long.
    pub server_stabilization_time: Duration,
}

impl Default for AutopilotSettings {
    fn default() -> Self {
        AutopilotSettings {
            cleanup_dead_servers: true,
            last_contact_threshold: Duration::from_millis(200),
            max_trailing_logs: 250,
            min_quorum: 0,
            server_stabilization_time: Duration::from_secs(10),
        }
    }
}

/// The `client` block.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientSettings {
    /// The agent runs tasks.
    pub enabled: bool,
    /// Servers, as `host[:port]`.
    pub servers: Vec<String>,
    /// A free word for grouping.
    pub node_class: String,
    /// The pool it joins.
    pub node_pool: String,
    /// Metadata of the node.
    pub meta: BTreeMap<String, String>,
    /// What of the host `exec` tasks see instead of the usual: host path to path inside; empty means the usual.
    pub chroot_env: BTreeMap<String, String>,
    /// Old settings, by name.
    pub options: BTreeMap<String, String>,
    /// Lowest port that is chosen for tasks.
    pub dynamic_port_min: u16,
    /// Highest port that is chosen for tasks.
    pub dynamic_port_max: u16,
    /// Not for tasks.
    pub reserved: Reserved,
    /// MHz, in place of what is found.
    pub cpu_total_mhz: Option<u64>,
    /// MiB, in place of what is found.
    pub memory_total_mib: Option<u64>,
    /// MiB, in place of what is found.
    pub disk_total_mib: Option<u64>,
    /// A file that holds a token to join with.
    pub join_token_file: Option<PathBuf>,
    /// Where the client keeps its state; below `data_dir` when none.
    pub state_dir: Option<PathBuf>,
    /// Where allocs get their directories; below `data_dir` when none.
    pub alloc_dir: Option<PathBuf>,
    /// The longest `kill_timeout` a task gets.
    pub kill_timeout_max: Duration,
    /// The interface whose addresses tasks are reached at; the one of the default route when none.
    pub network_interface: Option<String>,
    /// Directories that jobs may ask for, by the name they have there.
    pub host_volumes: BTreeMap<String, HostVolume>,
    /// Its networks.
    pub network: NetworkSettings,
    /// Devices that are not found by themselves.
    pub devices: Devices,
    /// How long ended allocs are kept.
    pub gc: ClientGcSettings,
}

impl Default for ClientSettings {
    fn default() -> Self {
        ClientSettings {
            enabled: false,
            servers: Vec::new(),
            node_class: String::new(),
            node_pool: "default".to_owned(),
            meta: BTreeMap::new(),
            chroot_env: BTreeMap::new(),
            options: BTreeMap::new(),
            dynamic_port_min: 20_000,
            dynamic_port_max: 32_000,
            reserved: Reserved::default(),
            cpu_total_mhz: None,
            memory_total_mib: None,
            disk_total_mib: None,
            join_token_file: None,
            state_dir: None,
            alloc_dir: None,
            kill_timeout_max: Duration::from_secs(30),
            network_interface: None,
            host_volumes: BTreeMap::new(),
            network: NetworkSettings::default(),
            devices: Devices::new(),
            gc: ClientGcSettings::default(),
        }
    }
}

/// The `gc_` settings of a client: what it keeps of ended allocs.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientGcSettings {
    /// The time between two looks.
    pub interval: Duration,
    /// Ended allocs go while the disk is fuller, in percent.
    pub disk_used_max_percent: f64,
    /// Ended allocs go while more inodes are in use, in percent.
    pub inodes_used_max_percent: f64,
    /// Ended allocs go while there are more allocs.
    pub allocs_max: usize,
    /// Allocs that are removed at a time.
    pub parallel_max: usize,
}

impl Default for ClientGcSettings {
    fn default() -> Self {
        ClientGcSettings {
            interval: Duration::from_secs(60),
            disk_used_max_percent: 80.0,
            inodes_used_max_percent: 70.0,
            allocs_max: 50,
            parallel_max: 2,
        }
    }
}

/// A directory that jobs may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostVolume {
    /// Where it is.
    pub path: PathBuf,
    /// Nothing is written to it.
    pub read_only: bool,
}

/// What a node keeps for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// MHz.
    pub cpu_mhz: u64,
    /// MiB.
    pub memory_mib: u64,
    /// MiB.
    pub disk_mib: u64,
    /// Ports as ranges: `22,8000-8100`.
    pub ports: String,
    /// Core numbers as ranges.
    pub cores: String,
}

/// The `tls` block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// TLS on HTTP; none when the file does not say.
    pub http: Option<bool>,
    /// RPC uses the certificates below in place of the region's own authority. It is encrypted whatever this says.
    pub rpc: Option<bool>,
    /// Authorities that are trusted.
    pub ca_file: Option<PathBuf>,
    /// One's own certificate.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// HTTP clients must show a certificate.
    pub verify_https_client: bool,
    /// Servers are known by the names in their certificates. They always are; `false` is told to be without effect.
    pub verify_server_hostname: Option<bool>,
}

/// Certificates of one's own for RPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcFiles {
    /// Authorities that are trusted.
    pub ca: PathBuf,
    /// The certificate with its chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl TlsSettings {
    /// The files for RPC, when RPC is to use certificates of one's own.
    pub fn rpc_files(&self) -> Option<RpcFiles> {
        if self.rpc != Some(true) {
            return None;
        }
        Some(RpcFiles { ca: self.ca_file.clone()?, cert: self.cert_file.clone()?, key: self.key_file.clone()? })
    }
}
