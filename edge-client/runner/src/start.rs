//! Starting one task: the hooks, the environment, the driver. Blocking.

use std::collections::BTreeMap;
use std::sync::Arc;

use drover_drivers::{Driver, StartError, TaskDns, TaskLogs, TaskPort, TaskStart, View};
use drover_model::AllocId;
use drover_model::alloc::NetworkStatus;
use drover_model::group::Group;

use crate::alloc_dir::AllocDir;
use crate::alloc_runner::Edge;
use crate::decide::actual::StartFailure;
use crate::decide::wanted::Wanted;
use crate::hooks::{self, Measured};
use crate::task_env::{EdgeFacts, TaskEnv};

/// The id under which the supervisor knows a task.
pub fn task_id(alloc: AllocId, task: &str) -> String {
    format!("{alloc}.{task}")
}

/// Makes what the task of that name needs around it; what is left is its driver's. `tell_network` learns of the alloc's
/// network before the task starts.
pub fn ready(
    edge: &Edge,
    wanted: &Wanted,
    name: &str,
    tell_network: impl FnOnce(NetworkStatus),
) -> Result<(Arc<dyn Driver>, TaskStart), StartFailure> {
    let gone = || StartFailure::Setup(format!("the job has no task {name:?}"));
    let group = wanted.group().ok_or_else(gone)?;
    let task = group.task(name).ok_or_else(gone)?;
    let driver = edge
        .drivers
        .get(&task.driver)
        .cloned()
        .ok_or_else(|| StartFailure::DriverFinal(format!("failed to find driver plugin {:?}", task.driver)))?;
    let mut facts = edge.facts();
    if driver.view() == View::Image {
        // The image brings an environment of its own.
        facts = Arc::new(EdgeFacts { host_env: BTreeMap::new(), ..EdgeFacts::clone(&facts) });
    }
    let dir = AllocDir::new(&edge.allocs_dir, wanted.alloc.id);
    let view = driver.view();

    let (node, namespace) = (facts.node.clone(), wanted.alloc.namespace.to_string());
    let measured = Measured { node: &node, namespace: &namespace };
    hooks::unacted::prestart(group, task)?;
    let joined = measured.of_alloc("network", || edge.networks.prestart(wanted, group))?;
    if let Some(status) = joined.status.clone() {
        tell_network(status);
    }
    let wanted = &wanted.clone().with_network(joined.status);
    let mut env = TaskEnv::build(wanted, task, &facts, &dir.seen_by(name, view));
    let given = wanted.alloc.allocated_resources.tasks.get(name);
    let takes_devices = driver.takes_devices();
    let devices =
        measured.of_task("devices", || hooks::devices::prestart(&task.driver, takes_devices, &facts.devices, given))?;
    env.vars.extend(devices.env);
    let user = env.text(&task.user);
    hooks::user::prestart(&task.driver, &user)?;
    let mounts = measured.of_task("volumes", || {
        hooks::volumes::prestart(driver.as_ref(), &facts.node, group, task, &wanted.alloc.name, &env)
    })?;
    measured.of_task("task_dir", || hooks::dirs::prestart(&dir, task, view))?;
    measured.of_task("dispatch_payload", || {
        hooks::dispatch_payload::prestart(&dir.of_task(name).task_dir.join("local"), &wanted.job, task)
    })?;
    let config = env.config(&task.config).map_err(|problems| {
        let lines = std::iter::once("failed to parse config: ".to_owned()).chain(problems).collect();
        StartFailure::Validation(StartError::Config(lines).to_string())
    })?;

    let logs = (!task.log_config.disabled).then(|| TaskLogs {
        dir: dir.logs(),
        task: name.to_owned(),
        files_max: task.log_config.max_files,
        file_bytes_max: u64::from(task.log_config.max_file_size_mib) << 20,
    });
    let (dns, hostname) = (dns(group, &env), env.text(&joined.hostname));
    let start = TaskStart {
        id: task_id(wanted.alloc.id, name),
        config,
        user,
        env: env.vars,
        dirs: dir.of_task(name),
        logs,
        resources: given.cloned().unwrap_or_default(),
        ports: ports(wanted, name),
        mounts,
        devices: devices.files,
        dns,
        network_namespace: joined.namespace,
        hostname,
    };
    Ok((driver, start))
}

/// A driver's refusal as the alloc is told of it.
pub fn failure(error: StartError) -> StartFailure {
    match error {
        StartError::Config(_) => StartFailure::Validation(error.to_string()),
        StartError::Final(text) => StartFailure::DriverFinal(text),
        StartError::Failed(text) => StartFailure::Driver(text),
    }
}

/// How the group's tasks find names, where its network says so.
fn dns(group: &Group, env: &TaskEnv) -> Option<TaskDns> {
    let said = group.networks.first()?.dns.as_ref().filter(|dns| dns.is_object())?;
    let texts = |key: &str| -> Vec<String> {
        let list = said[key].as_array().into_iter().flatten();
        list.filter_map(|text| text.as_str()).map(|text| env.text(text)).collect()
    };
    Some(TaskDns { servers: texts("Servers"), searches: texts("Searches"), options: texts("Options") })
}

/// The ports of a task, its own before those of its group.
fn ports(wanted: &Wanted, name: &str) -> Vec<TaskPort> {
    let number = |number: i32| u16::try_from(number).unwrap_or(0);
    let given = &wanted.alloc.allocated_resources;
    let networks = given.tasks.get(name).into_iter().flat_map(|task| &task.networks);
    let own = networks.flat_map(|network| {
        let ports = network.reserved_ports.iter().chain(&network.dynamic_ports);
        ports.map(|port| (port.label.clone(), network.ip.clone(), number(port.value), number(port.to)))
    });
    let shared = given.shared.ports.iter();
    let shared = shared.map(|port| (port.label.clone(), port.host_ip.clone(), number(port.value), number(port.to)));
    own.chain(shared).map(|(label, host_ip, value, to)| TaskPort { label, host_ip, value, to }).collect()
}
