//! Everything an edge has to be told, with all defaults filled.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use drover_runner::drivers::exec::ExecConfig;
use drover_runner::drivers::raw_exec::RawExecConfig;

/// The RPC port where an address names none.
pub const RPC_PORT: u16 = 4647;

/// Settings of an edge.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Its state stands in `<data_dir>/client`.
    pub data_dir: PathBuf,
    /// One directory per alloc below it.
    pub alloc_dir: PathBuf,
    /// Tasks end with the agent (`-dev`); after a crash, ten seconds later.
    pub ends_tasks: bool,
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
    /// RPC addresses of servers; empty means those of this host.
    pub servers: Vec<String>,
    /// Lets it join from another host.
    pub join_token: Option<String>,
    /// Certificates that the operator made.
    pub own_tls: Option<OwnTls>,
    /// The driver `raw_exec`, if it is turned on.
    pub raw_exec: Option<RawExecConfig>,
    /// The driver `exec`.
    pub exec: ExecConfig,
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
    /// The longest time a task may take to end.
    pub kill_timeout_max: Duration,
    /// Names of the agent's environment that no task gets, in addition to the usual ones.
    pub env_denylist: Vec<String>,
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
    pub fn new(data_dir: PathBuf) -> EdgeConfig {
        EdgeConfig {
            alloc_dir: data_dir.join("alloc"),
            data_dir,
            ends_tasks: false,
            region: "global".to_owned(),
            datacenter: "dc1".to_owned(),
            name: String::new(),
            node_class: String::new(),
            node_pool: "default".to_owned(),
            meta: BTreeMap::new(),
            http_addr: String::new(),
            servers: Vec::new(),
            join_token: None,
            own_tls: None,
            raw_exec: None,
            exec: ExecConfig::default(),
            reserved: Reserved::default(),
            cpu_total_mhz: 0,
            memory_total_mib: 0,
            disk_total_mib: 0,
            network_interface: None,
            dynamic_ports: (20000, 32000),
            kill_timeout_max: Duration::from_secs(30),
            env_denylist: Vec::new(),
        }
    }

    /// Where the edge keeps its state.
    pub fn client_dir(&self) -> PathBuf {
        self.data_dir.join("client")
    }
}
