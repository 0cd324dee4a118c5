//! What the command line says, laid over the files by [`crate::load`].

use std::path::PathBuf;

use drover_hcl::Value;

/// Flags of `agent`; each is none or empty when it was not given.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `-dev`: server and edge in one, on loopback, with a data directory of its own.
    pub dev: bool,
    /// `-server`.
    pub server: bool,
    /// `-client`.
    pub client: bool,
    /// `-bind`.
    pub bind: Option<String>,
    /// `-data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `-alloc-dir`.
    pub alloc_dir: Option<PathBuf>,
    /// `-state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `-region`.
    pub region: Option<String>,
    /// `-dc`.
    pub datacenter: Option<String>,
    /// `-node`.
    pub name: Option<String>,
    /// `-log-level`.
    pub log_level: Option<String>,
    /// `-log-json`.
    pub log_json: bool,
    /// `-bootstrap-expect`.
    pub bootstrap_expect: Option<u32>,
    /// `-servers`, each a list with commas.
    pub servers: Vec<String>,
    /// `-join` and `-retry-join`.
    pub retry_join: Vec<String>,
    /// `-node-class`.
    pub node_class: Option<String>,
    /// `-node-pool`.
    pub node_pool: Option<String>,
    /// `-network-interface`.
    pub network_interface: Option<String>,
    /// `-meta`, each `key=value`.
    pub meta: Vec<String>,
    /// Flags that are settings of the files by another name.
    pub settings: Vec<FlagSetting>,
}

/// A flag that is a setting of the files by another name.
#[derive(Clone, Debug)]
pub struct FlagSetting {
    /// The flag, with its dash.
    pub flag: &'static str,
    /// The setting, blocks before dots: `consul.address`.
    pub path: &'static str,
    /// What it is set to.
    pub value: Value,
}
