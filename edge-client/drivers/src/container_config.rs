//! What a job says about a container: its task's `config`, in the words of Nomad's `docker` driver.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_images::{Credentials, PullPolicy, Reference};

use crate::driver::StartError;
use crate::task_config::ConfigReader;

/// Keys of the language that drover does not act on: a task that asks for one would lack it.
const UNSUPPORTED: &[&str] = &[
    "network_aliases",
    "ipv4_address",
    "ipv6_address",
    "advertise_ipv6_address",
    "mac_address",
    "volume_driver",
    "security_opt",
    "init",
    "interactive",
    "tty",
    "uts_mode",
    "userns_mode",
    "cgroupns",
    "isolation",
    "cpu_hard_limit",
    "cpu_cfs_period",
    "storage_opt",
    "port_map",
];
/// Keys that tell an engine what there is no engine for; a task lacks nothing without.
const POINTLESS: &[&str] = &["labels", "logging", "healthchecks", "container_exists_attempts"];

/// A task's `config`.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContainerTask {
    pub(crate) image: String,
    pub(crate) load: String,
    pub(crate) policy: PullPolicy,
    pub(crate) pull_max: Option<Duration>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) without_login_too: bool,
    pub(crate) command: String,
    pub(crate) args: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) work_dir: String,
    pub(crate) hostname: String,
    pub(crate) ports: Vec<String>,
    pub(crate) network_mode: String,
    pub(crate) dns_servers: Vec<String>,
    pub(crate) dns_searches: Vec<String>,
    pub(crate) dns_options: Vec<String>,
    pub(crate) extra_hosts: Vec<String>,
    pub(crate) volumes: Vec<String>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) tmpfs: Vec<String>,
    pub(crate) devices: Vec<(String, String, String)>,
    pub(crate) is_privileged: bool,
    pub(crate) cap_add: Vec<String>,
    pub(crate) cap_drop: Vec<String>,
    pub(crate) is_read_only: bool,
    pub(crate) pid_mode: String,
    pub(crate) ipc_mode: String,
    pub(crate) cpuset: String,
    pub(crate) memory_hard_limit_mib: Option<i64>,
    pub(crate) oom_score_adj: Option<i64>,
    pub(crate) pids_limit: Option<i64>,
    pub(crate) shm_bytes: Option<i64>,
    pub(crate) sysctl: BTreeMap<String, String>,
    pub(crate) ulimit: BTreeMap<String, String>,
    pub(crate) groups: Vec<String>,
}

/// A `mount` block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mount {
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) is_read_only: bool,
    pub(crate) size_bytes: Option<i64>,
    pub(crate) mode: Option<i64>,
}

impl ContainerTask {
    /// Reads it; all problems come together.
    pub(crate) fn read(config: &BTreeMap<String, serde_json::Value>) -> Result<ContainerTask, StartError> {
        let mut config = ConfigReader::new(config);
        for key in UNSUPPORTED {
            if config.is_wanted(key) {
                config.problem(format!("{key:?} is not supported: containers are run without an engine."));
            }
        }
        for key in POINTLESS {
            let _ = config.is_given(key);
        }
        let runtime = config.text("runtime");
        if !matches!(runtime.as_str(), "" | "runc") {
            config.problem(format!("runtime {runtime:?} is not supported: containers are run without an engine."));
        }
        let image = config.required_text("image");
        let is_forced = config.flag("force_pull").unwrap_or(false);
        let auth = config.blocks("auth", |auth| {
            let _ = (auth.is_given("email"), auth.is_given("server_address"));
            Credentials { username: auth.text("username"), password: auth.text("password") }
        });
        let mut mounts = Vec::new();
        for key in ["mount", "mounts"] {
            mounts.extend(config.blocks(key, mount));
        }
        let devices = config.blocks("devices", |device| {
            (device.text("host_path"), device.text("container_path"), device.text("cgroup_permissions"))
        });
        let task = ContainerTask {
            image: image.strip_prefix("https://").unwrap_or(&image).to_owned(),
            load: config.text("load"),
            policy: if is_forced { PullPolicy::Always } else { PullPolicy::Default },
            pull_max: config.duration("image_pull_timeout"),
            credentials: auth.into_iter().find(|auth| !auth.username.is_empty()),
            without_login_too: config.flag("auth_soft_fail").unwrap_or(false),
            command: config.text("command"),
            args: config.texts("args"),
            entrypoint: config.texts_or_text("entrypoint"),
            work_dir: config.text("work_dir"),
            hostname: config.text("hostname"),
            ports: config.texts("ports"),
            network_mode: config.text("network_mode"),
            dns_servers: config.texts("dns_servers"),
            dns_searches: config.texts("dns_search_domains"),
            dns_options: config.texts("dns_options"),
            extra_hosts: config.texts("extra_hosts"),
            volumes: config.texts("volumes"),
            mounts,
            tmpfs: config.texts("tmpfs"),
            devices,
            is_privileged: config.flag("privileged").unwrap_or(false),
            cap_add: config.texts("cap_add"),
            cap_drop: config.texts("cap_drop"),
            is_read_only: config.flag("readonly_rootfs").unwrap_or(false),
            pid_mode: config.text("pid_mode"),
            ipc_mode: config.text("ipc_mode"),
            cpuset: config.text("cpuset_cpus"),
            memory_hard_limit_mib: config.number("memory_hard_limit"),
            oom_score_adj: config.number("oom_score_adj"),
            pids_limit: config.number("pids_limit"),
            shm_bytes: config.number("shm_size"),
            sysctl: config.entries("sysctl"),
            ulimit: config.entries("ulimit"),
            groups: config.texts("group_add"),
        };
        config.finish()?;
        Ok(task)
    }

    /// The image's name.
    pub(crate) fn reference(&self) -> Result<Reference, StartError> {
        self.image.parse().map_err(|error| StartError::Final(format!("invalid image {:?}: {error}", self.image)))
    }
}

fn mount(block: &mut ConfigReader<'_>) -> Mount {
    let tmpfs = block.blocks("tmpfs_options", |options| (options.number("size"), options.number("mode")));
    let (size_bytes, mode) = tmpfs.into_iter().next().unwrap_or_default();
    let propagation = block.blocks("bind_options", |options| options.text("propagation"));
    if let Some(propagation) = propagation.iter().find(|mode| !matches!(mode.as_str(), "" | "private" | "rprivate")) {
        block.problem(format!("mount propagation {propagation:?} is not supported."));
    }
    let _ = block.is_given("volume_options");
    Mount {
        kind: block.text("type"),
        source: block.text("source"),
        target: block.text("target"),
        is_read_only: block.flag("readonly").unwrap_or(false),
        size_bytes,
        mode,
    }
}
