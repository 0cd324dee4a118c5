//! The environment of a task, and the replacement of `${…}` in what its job file says.
//!
//! Layers, later ones win: `NOMAD_*` and ports, metadata, what the agent's own environment has (only where nothing is
//! yet), the task's `env`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use drover_model::interpolation::Scope;
use drover_model::network::Network;
use drover_model::node::Node;
use drover_model::task::Task;
use serde_json::Value;

use crate::decide::wanted::Wanted;
use crate::hooks::devices::DeviceAccess;
use crate::task_config;

/// Names of the agent's environment that no task gets unless the operator's `env.denylist` says otherwise.
pub const DENIED: &[&str] = &[
    "CONSUL_HTTP_TOKEN",
    "CONSUL_HTTP_TOKEN_FILE",
    "CONSUL_LICENSE",
    "CONSUL_LICENSE_PATH",
    "CONSUL_TOKEN",
    "NOMAD_LICENSE",
    "NOMAD_LICENSE_PATH",
    "NOMAD_TOKEN",
    "DROVER_TOKEN",
    "DROVER_JOIN_TOKEN",
    "VAULT_LICENSE",
    "VAULT_LICENSE_PATH",
    "VAULT_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_METADATA_URL",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// What all tasks of an edge share.
#[derive(Clone, Debug, Default)]
pub struct EdgeFacts {
    /// The node as it is registered.
    pub node: Arc<Node>,
    /// The region of its servers.
    pub region: String,
    /// The agent's own environment, without what no task may have.
    pub host_env: BTreeMap<String, String>,
    /// What goes with its devices, by the ids of their groups.
    pub devices: Arc<BTreeMap<String, DeviceAccess>>,
}

/// The task's directories as the task sees them.
#[derive(Clone, Debug, Default)]
pub struct SeenDirs {
    /// Shared by the alloc.
    pub alloc: PathBuf,
    /// The task's own.
    pub local: PathBuf,
    /// Its secrets.
    pub secrets: PathBuf,
}

/// A task's environment with what else can be named in its texts.
#[derive(Clone, Debug)]
pub struct TaskEnv {
    node: Arc<Node>,
    region: String,
    /// What the process gets.
    pub vars: BTreeMap<String, String>,
}

impl TaskEnv {
    /// The environment of `task` in its alloc.
    pub fn build(wanted: &Wanted, task: &Task, facts: &EdgeFacts, dirs: &SeenDirs) -> TaskEnv {
        let mut vars = BTreeMap::new();
        identity(&mut vars, wanted, task, facts, dirs);
        resources(&mut vars, wanted, task);
        ports(&mut vars, wanted, task);
        let meta = merged_meta(wanted, task);
        for (key, value) in &meta {
            vars.insert(format!("NOMAD_META_{}", clean(key)), value.clone());
            vars.insert(format!("NOMAD_META_{}", clean(key).to_uppercase()), value.clone());
        }
        for (name, value) in &facts.host_env {
            vars.entry(name.clone()).or_insert_with(|| value.clone());
        }
        // Only the values of `env` know metadata by its name as written; and they do not know each other.
        let mut names = vars.clone();
        names.extend(meta.iter().map(|(key, value)| (format!("NOMAD_META_{key}"), value.clone())));
        let scope = Scope { node: &facts.node, region: &facts.region, env: &names };
        for (name, value) in &task.env {
            vars.insert(name.clone(), scope.replace(value));
        }
        TaskEnv { node: facts.node.clone(), region: facts.region.clone(), vars }
    }

    /// A plain field (such as `user`) with every known name replaced.
    pub fn text(&self, text: &str) -> String {
        self.scope().replace(text)
    }

    /// The driver's `config` with every name replaced; a name that nothing has is a problem. One line per problem.
    pub fn config(&self, config: &BTreeMap<String, Value>) -> Result<BTreeMap<String, Value>, Vec<String>> {
        task_config::evaluate(config, &self.scope())
    }

    fn scope(&self) -> Scope<'_> {
        Scope { node: &self.node, region: &self.region, env: &self.vars }
    }
}

fn identity(vars: &mut BTreeMap<String, String>, wanted: &Wanted, task: &Task, facts: &EdgeFacts, dirs: &SeenDirs) {
    let Wanted { alloc, job } = wanted;
    let mut set = |name: &str, value: String| vars.insert(name.to_owned(), value);
    set("NOMAD_ALLOC_DIR", dirs.alloc.to_string_lossy().into_owned());
    set("NOMAD_TASK_DIR", dirs.local.to_string_lossy().into_owned());
    set("NOMAD_SECRETS_DIR", dirs.secrets.to_string_lossy().into_owned());
    set("NOMAD_ALLOC_ID", alloc.id.to_string());
    set("NOMAD_SHORT_ALLOC_ID", alloc.id.short());
    set("NOMAD_ALLOC_NAME", alloc.name.clone());
    set("NOMAD_ALLOC_INDEX", alloc.name_index().unwrap_or(0).to_string());
    set("NOMAD_TASK_NAME", task.name.clone());
    set("NOMAD_GROUP_NAME", alloc.task_group.clone());
    set("NOMAD_JOB_ID", job.id.to_string());
    set("NOMAD_JOB_NAME", job.name.clone());
    if !job.parent_id.is_empty() {
        set("NOMAD_JOB_PARENT_ID", job.parent_id.clone());
    }
    set("NOMAD_DC", facts.node.datacenter.clone());
    set("NOMAD_NAMESPACE", alloc.namespace.to_string());
    set("NOMAD_REGION", facts.region.clone());
    set("NOMAD_PARENT_CGROUP", facts.node.cgroup_parent.clone());
}

fn resources(vars: &mut BTreeMap<String, String>, wanted: &Wanted, task: &Task) {
    let Some(given) = wanted.alloc.allocated_resources.tasks.get(&task.name) else { return };
    vars.insert("NOMAD_CPU_LIMIT".to_owned(), given.cpu.mhz.to_string());
    let cores: Vec<String> = given.cpu.reserved_cores.iter().map(u16::to_string).collect();
    // One blank where no cores are reserved: what scripts written for this language expect.
    vars.insert("NOMAD_CPU_CORES".to_owned(), if cores.is_empty() { " ".to_owned() } else { cores.join(",") });
    vars.insert("NOMAD_MEMORY_LIMIT".to_owned(), given.memory.mib.to_string());
    if given.memory.max_mib > given.memory.mib {
        vars.insert("NOMAD_MEMORY_MAX_LIMIT".to_owned(), given.memory.max_mib.to_string());
    }
}

fn ports(vars: &mut BTreeMap<String, String>, wanted: &Wanted, task: &Task) {
    let resources = &wanted.alloc.allocated_resources;
    for port in &resources.shared.ports {
        let (raw, label) = (&port.label, clean(&port.label));
        let inside = if port.to > 0 { port.to } else { port.value };
        let address = address_of(&port.host_ip, port.value);
        vars.insert(format!("NOMAD_IP_{label}"), port.host_ip.clone());
        vars.insert(format!("NOMAD_PORT_{label}"), inside.to_string());
        vars.insert(format!("NOMAD_ADDR_{label}"), address.clone());
        vars.insert(format!("NOMAD_HOST_PORT_{label}"), port.value.to_string());
        vars.insert(format!("NOMAD_HOST_IP_{raw}"), port.host_ip.clone());
        vars.insert(format!("NOMAD_HOST_ADDR_{raw}"), address);
        vars.insert(format!("NOMAD_ALLOC_PORT_{raw}"), inside.to_string());
        if let Some(network) = wanted.alloc.network_status.as_ref().filter(|network| !network.address.is_empty()) {
            let inner = address_of(&network.address, inside);
            vars.insert(format!("NOMAD_ALLOC_INTERFACE_{raw}"), network.interface_name.clone());
            vars.insert(format!("NOMAD_ALLOC_IP_{raw}"), network.address.clone());
            vars.insert(format!("NOMAD_ALLOC_ADDR_{raw}"), inner);
        }
    }
    for (name, given) in &resources.tasks {
        for network in &given.networks {
            task_network(vars, network, (*name != task.name).then_some(name));
        }
    }
}

/// Ports of a task's own network, the older form: the task's own, or those of another task under that task's name.
fn task_network(vars: &mut BTreeMap<String, String>, network: &Network, other: Option<&String>) {
    for port in network.reserved_ports.iter().chain(&network.dynamic_ports) {
        let label = match other {
            Some(task) => format!("{}_{}", clean(task), clean(&port.label)),
            None => clean(&port.label),
        };
        let inside = if port.to > 0 && other.is_none() { port.to } else { port.value };
        vars.insert(format!("NOMAD_IP_{label}"), network.ip.clone());
        vars.insert(format!("NOMAD_PORT_{label}"), inside.to_string());
        vars.insert(format!("NOMAD_ADDR_{label}"), address_of(&network.ip, port.value));
        if other.is_none() {
            let family = if network.ip.contains(':') { "6" } else { "4" };
            vars.insert(format!("NOMAD_HOST_PORT_{label}"), port.value.to_string());
            vars.insert(format!("NOMAD_IPv{family}_{label}"), network.ip.clone());
        }
    }
}

fn address_of(ip: &str, port: i32) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// Metadata of job, group and task; the narrower one wins.
fn merged_meta(wanted: &Wanted, task: &Task) -> BTreeMap<String, String> {
    let mut meta = wanted.job.meta.clone();
    meta.extend(wanted.group().map(|group| group.meta.clone()).unwrap_or_default());
    meta.extend(task.meta.clone());
    meta
}

/// The name with every byte but letters, digits, `_` and `.` replaced by `_`.
fn clean(name: &str) -> String {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    name.bytes().map(|byte| if fits(byte) { char::from(byte) } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use drover_model::alloc::{Alloc, NetworkStatus};
    use drover_model::group::Group;
    use drover_model::job::Job;
    use drover_model::network::PortMapping;
    use drover_model::resources::AllocatedTask;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn build(env: &[(&str, &str)]) -> TaskEnv {
        build_with(env, None)
    }

    fn build_with(env: &[(&str, &str)], network_status: Option<NetworkStatus>) -> TaskEnv {
        let task = Task { name: "t".to_owned(), env: map(env), meta: map(&[("dash-key", "task")]), ..Task::default() };
        let group = Group { name: "g".to_owned(), meta: map(&[("dash-key", "group"), ("b", "g")]), ..Group::default() };
        let job = Job {
            id: "inv".into(),
            name: "inv".to_owned(),
            meta: map(&[("b", "job")]),
            task_groups: vec![group],
            ..Job::default()
        };
        let network_status = network_status.map(Box::new);
        let mut alloc =
            Alloc { name: "inv.g[2]".to_owned(), task_group: "g".to_owned(), network_status, ..Alloc::default() };
        let mut given = AllocatedTask::default();
        given.cpu.mhz = 100;
        given.memory.mib = 64;
        let resources = Arc::make_mut(&mut alloc.allocated_resources);
        resources.tasks.insert("t".to_owned(), given);
        resources.shared.ports =
            vec![PortMapping { label: "odd-label".to_owned(), value: 23015, to: 80, host_ip: "10.0.0.1".to_owned() }];
        let node = Node { datacenter: "dc1".to_owned(), name: "n1".to_owned(), ..Node::default() };
        let facts = EdgeFacts {
            node: Arc::new(node),
            region: "global".to_owned(),
            host_env: map(&[("PATH", "/bin"), ("NOMAD_DC", "host"), ("HOME", "/root")]),
            ..EdgeFacts::default()
        };
        let dirs = SeenDirs { alloc: "/alloc".into(), local: "/local".into(), secrets: "/secrets".into() };
        TaskEnv::build(&Wanted { alloc, job: Arc::new(job) }, &task, &facts, &dirs)
    }

    #[test]
    fn the_environment_has_what_tasks_expect() {
        let vars = build(&[]).vars;
        let check =
            |name: &str, expected: &str| assert_eq!(vars.get(name).map(String::as_str), Some(expected), "{name}");
        check("NOMAD_ALLOC_DIR", "/alloc");
        check("NOMAD_ALLOC_INDEX", "2");
        check("NOMAD_ALLOC_NAME", "inv.g[2]");
        check("NOMAD_CPU_CORES", " ");
        check("NOMAD_CPU_LIMIT", "100");
        check("NOMAD_MEMORY_LIMIT", "64");
        check("NOMAD_DC", "dc1");
        check("PATH", "/bin");
        check("NOMAD_META_dash_key", "task");
        check("NOMAD_META_DASH_KEY", "task");
        check("NOMAD_META_b", "g");
        check("NOMAD_PORT_odd_label", "80");
        check("NOMAD_HOST_PORT_odd_label", "23015");
        check("NOMAD_ADDR_odd_label", "10.0.0.1:23015");
        check("NOMAD_HOST_ADDR_odd-label", "10.0.0.1:23015");
        check("NOMAD_ALLOC_PORT_odd-label", "80");
        assert!(!vars.contains_key("NOMAD_MEMORY_MAX_LIMIT") && !vars.contains_key("NOMAD_JOB_PARENT_ID"));
    }

    #[test]
    fn a_network_of_its_own_is_named() {
        let network = NetworkStatus {
            interface_name: "eth0".to_owned(),
            address: "172.26.64.2".to_owned(),
            ..NetworkStatus::default()
        };
        let vars = build_with(&[], Some(network)).vars;
        let check =
            |name: &str, expected: &str| assert_eq!(vars.get(name).map(String::as_str), Some(expected), "{name}");
        check("NOMAD_ALLOC_INTERFACE_odd-label", "eth0");
        check("NOMAD_ALLOC_IP_odd-label", "172.26.64.2");
        check("NOMAD_ALLOC_ADDR_odd-label", "172.26.64.2:80");
        check("NOMAD_ADDR_odd_label", "10.0.0.1:23015");
        check("NOMAD_PORT_odd_label", "80");
        assert!(!build(&[]).vars.keys().any(|name| name.starts_with("NOMAD_ALLOC_IP")));
    }

    #[test]
    fn env_values_know_the_base_and_not_each_other() {
        let vars = build(&[
            ("A", "${NOMAD_TASK_NAME}-${node.unique.name}-${NOMAD_META_dash-key}-${HOME}"),
            ("B", "${A} ${attr.nope}"),
            ("NOMAD_DC", "mine"),
            ("FROM_${NOMAD_DC}", "x"),
        ])
        .vars;
        assert_eq!(vars["A"], "t-n1-task-/root");
        assert_eq!(vars["B"], "${A} ${attr.nope}");
        assert_eq!(vars["NOMAD_DC"], "mine");
        assert_eq!(vars["FROM_${NOMAD_DC}"], "x");
    }

    #[test]
    fn config_knows_the_whole_environment() {
        let env = build(&[("A", "1"), ("NOMAD_DC", "mine")]);
        let config = BTreeMap::from([("args".to_owned(), serde_json::json!(["${A}", "${NOMAD_DC}", "${env[\"A\"]}"]))]);
        assert_eq!(env.config(&config).unwrap()["args"], serde_json::json!(["1", "mine", "1"]));
    }
}
