//! What Consul Connect adds to a group: the proxy that stands before a service, and the ports it listens on.
//!
//! A job that was read back and is registered again has its proxies already; they are found by their kind.

use serde_json::{Map, Value, json};

use super::{gateway, objects, task};
use crate::shapes::task::TASK;

/// The kind of a sidecar's task, before the name of its service.
pub const PROXY: &str = "connect-proxy";
const NATIVE: &str = "connect-native";

/// Adds what the services of a group ask for. The error says why that can't be worked out.
pub fn add(group: &mut Map<String, Value>, job: &Map<String, Value>) -> Result<(), String> {
    // Without a network the checks have more to say.
    if !has_items(group, "Networks") {
        return Ok(());
    }
    let mut services = group.remove("Services").unwrap_or_default();
    let mut result = Ok(());
    for service in objects(&mut services) {
        let connect = &service["Connect"];
        if connect["SidecarService"].is_object() {
            interpolate_name(service, group, job);
            sidecar(service, group, job);
        } else if connect["Native"] == true {
            result = result.and_then(|()| native(service, group));
        } else if connect["Gateway"].is_object() {
            interpolate_name(service, group, job);
            result = result.and_then(|()| gateway::add(service, group, job));
        }
    }
    group.insert("Services".to_owned(), services);
    result
}

/// Names of tasks are made of the service's name, so what is known of it now is put in now.
fn interpolate_name(service: &mut Map<String, Value>, group: &Map<String, Value>, job: &Map<String, Value>) {
    let mut name = name_of(service).to_owned();
    let known = [
        ("NOMAD_JOB_ID", &job["ID"]),
        ("NOMAD_JOB_NAME", &job["Name"]),
        ("NOMAD_JOB_PARENT_ID", &job["ParentID"]),
        ("NOMAD_GROUP_NAME", &group["Name"]),
        ("NOMAD_REGION", &job["Region"]),
    ];
    for (variable, value) in known {
        if let Some(value) = value.as_str().filter(|value| !value.is_empty()) {
            name = name.replace(&format!("${{{variable}}}"), value);
        }
    }
    for meta in [&job["Meta"], &group["Meta"]] {
        for (key, value) in meta.as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            name = name.replace(&format!("${{NOMAD_META_{key}}}"), value);
            name = name.replace(&format!("${{NOMAD_META_{}}}", key.to_uppercase()), value);
        }
    }
    service.insert("Name".to_owned(), json!(name));
}

fn sidecar(service: &mut Map<String, Value>, group: &mut Map<String, Value>, job: &Map<String, Value>) {
    let name = name_of(service).to_owned();
    let kind = format!("{PROXY}:{name}");
    let mut tasks = take_tasks(group);
    let place = tasks.iter().position(|task| task["Kind"] == *kind).unwrap_or_else(|| {
        let mut task = proxy_task(&kind, &name, guess_driver(&tasks), "${meta.connect.sidecar_image}");
        if tasks.iter().any(|other| other["Name"] == task["Name"]) {
            let free = free_name(&tasks, task["Name"].as_str().unwrap_or_default());
            task.insert("Name".to_owned(), json!(free));
        }
        task.insert("Lifecycle".to_owned(), json!({ "Hook": "prestart", "Sidecar": true }));
        task.insert("Constraints".to_owned(), json!(consul_constraints(cluster(service, group))));
        tasks.push(Value::Object(task));
        tasks.len() - 1
    });
    finish(&mut tasks[place], &service["Connect"]["SidecarTask"], group, job);
    group.insert("Tasks".to_owned(), Value::Array(tasks));
    let port = service["Connect"]["SidecarService"]["Port"].as_str().unwrap_or_default();
    let label = if port.is_empty() { format!("{PROXY}-{name}") } else { port.to_owned() };
    add_port(group, &label);
}

/// Gives a proxy's task what its owner wrote of it, and the defaults of every task.
pub fn finish(task: &mut Value, written: &Value, group: &Map<String, Value>, job: &Map<String, Value>) {
    let Value::Object(task) = task else { return };
    if let Value::Object(written) = written {
        merge(written, task);
    }
    task::fill(task, group, job);
    super::settle::settle(task, &TASK);
}

/// The task that does the work of a native service, which may be left unnamed where there is one alone.
fn native(service: &mut Map<String, Value>, group: &mut Map<String, Value>) -> Result<(), String> {
    let task = native_task(service, group)?;
    let kind = format!("{NATIVE}:{}", name_of(service));
    if let Some(other) = group.get_mut("Tasks").into_iter().flat_map(objects).find(|other| other["Name"] == *task) {
        other.insert("Kind".to_owned(), json!(kind));
    }
    service.insert("TaskName".to_owned(), json!(task));
    Ok(())
}

/// The name of that task.
pub fn native_task(service: &Map<String, Value>, group: &Map<String, Value>) -> Result<String, String> {
    let wanted = service["TaskName"].as_str().unwrap_or_default();
    let names: Vec<&str> =
        group["Tasks"].as_array().into_iter().flatten().map(|task| task["Name"].as_str().unwrap_or_default()).collect();
    let (group, name) = (group["Name"].as_str().unwrap_or_default(), name_of(service));
    match (wanted, names.as_slice()) {
        ("", [only]) => Ok((*only).to_owned()),
        ("", _) => Err(format!("task for Consul Connect Native service {group}->{name} is ambiguous and must be set")),
        (wanted, names) if names.contains(&wanted) => Ok(wanted.to_owned()),
        (wanted, _) => {
            Err(format!("task {wanted} named by Consul Connect Native service {group}->{name} does not exist"))
        }
    }
}

/// A proxy before its owner's wishes: Envoy, with what it reads from the node's metadata.
pub fn proxy_task(kind: &str, service: &str, driver: &str, image: &str) -> Map<String, Value> {
    let prefix = kind.split(':').next().unwrap_or_default();
    let args = [
        "-c",
        "${NOMAD_SECRETS_DIR}/envoy_bootstrap.json",
        "-l",
        "${meta.connect.log_level}",
        "--concurrency",
        "${meta.connect.proxy_concurrency}",
        "--disable-hot-restart",
    ];
    let given = json!({
        "Name": format!("{prefix}-{service}"), "Kind": kind, "Driver": driver,
        "Config": { "image": image, "args": args },
        "ShutdownDelay": 5_000_000_000_i64,
        "LogConfig": { "MaxFiles": 2, "MaxFileSizeMB": 2, "Disabled": false },
        "Resources": { "CPU": 250, "MemoryMB": 128 },
    });
    let mut task = TASK.empty();
    if let Value::Object(given) = given {
        task.extend(given);
    }
    // A table's empty block has every key; what is given above is only what differs.
    if let Some(Value::Object(given)) = task.remove("Resources") {
        let mut resources = crate::shapes::task::RESOURCES.empty();
        resources.extend(given);
        task.insert("Resources".to_owned(), Value::Object(resources));
    }
    task
}

/// Docker, unless the group has Podman alone.
pub fn guess_driver(tasks: &[Value]) -> &'static str {
    let has = |driver: &str| tasks.iter().any(|task| task["Driver"] == *driver);
    if has("podman") && !has("docker") { "podman" } else { "docker" }
}

/// The Consul cluster of a service, by itself or by its group.
pub fn cluster(service: &Map<String, Value>, group: &Map<String, Value>) -> String {
    let of = |value: &Value| value.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    of(&service["Cluster"]).or_else(|| of(&group["Consul"]["Cluster"])).unwrap_or_else(|| "default".to_owned())
}

/// An attribute of a cluster's Consul agent.
pub fn consul_attribute(cluster: &str, name: &str) -> String {
    match cluster {
        "" | "default" => format!("${{attr.consul.{name}}}"),
        cluster => format!("${{attr.consul.{cluster}.{name}}}"),
    }
}

/// What a node must have for a proxy to be set up.
pub fn consul_constraints(cluster: String) -> Vec<Value> {
    let constraint = |name: &str, operand: &str, right: &str| json!({ "LTarget": consul_attribute(&cluster, name), "Operand": operand, "RTarget": right });
    vec![constraint("version", "semver", ">= 1.8.0"), constraint("grpc", ">", "0")]
}

/// A dynamic port of the group's first network, the same inside and outside; one that is there already is kept.
pub fn add_port(group: &mut Map<String, Value>, label: &str) {
    let Some(network) = group.get_mut("Networks").into_iter().flat_map(objects).next() else { return };
    let mut ports = match network.remove("DynamicPorts") {
        Some(Value::Array(ports)) => ports,
        _ => Vec::new(),
    };
    if !ports.iter().any(|port| port["Label"] == *label) {
        ports.push(json!({ "Label": label, "Value": 0, "To": -1, "HostNetwork": "default", "IgnoreCollision": false }));
    }
    network.insert("DynamicPorts".to_owned(), Value::Array(ports));
}

/// The tasks of a group, to be put back.
pub fn take_tasks(group: &mut Map<String, Value>) -> Vec<Value> {
    match group.remove("Tasks") {
        Some(Value::Array(tasks)) => tasks,
        _ => Vec::new(),
    }
}

fn free_name(tasks: &[Value], name: &str) -> String {
    let free = |number: &usize| !tasks.iter().any(|task| task["Name"] == format!("{name}-{number}"));
    // One of the first `tasks + 1` numbers is free.
    let number = (1..=tasks.len() + 1).find(free).unwrap_or_default();
    format!("{name}-{number}")
}

/// Lays what `sidecar_task` says over a proxy's task. Another driver starts from its own settings alone.
fn merge(written: &Map<String, Value>, task: &mut Map<String, Value>) {
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let driver_changes = is_text(&written["Driver"]) && written["Driver"] != task["Driver"];
    for key in ["Name", "Driver", "User", "KillSignal"] {
        if is_text(&written[key]) {
            task.insert(key.to_owned(), written[key].clone());
        }
    }
    if driver_changes {
        task.insert("Config".to_owned(), written["Config"].clone());
    } else {
        lay_over(&written["Config"], task, "Config");
    }
    lay_over(&written["Env"], task, "Env");
    lay_over(&written["Meta"], task, "Meta");
    numbers_over(&written["Resources"], task, "Resources");
    numbers_over(&written["LogConfig"], task, "LogConfig");
    for key in ["KillTimeout", "ShutdownDelay", "VolumeMounts", "Identities"] {
        if !written[key].is_null() {
            task.insert(key.to_owned(), written[key].clone());
        }
    }
}

fn lay_over(written: &Value, task: &mut Map<String, Value>, key: &str) {
    let Value::Object(written) = written else { return };
    let mut under = match task.remove(key) {
        Some(Value::Object(under)) => under,
        _ => Map::new(),
    };
    under.extend(written.clone());
    task.insert(key.to_owned(), Value::Object(under));
}

/// Numbers that are not zero and lists that are not empty win; flags and limits of another kind stay.
fn numbers_over(written: &Value, task: &mut Map<String, Value>, key: &str) {
    let (Value::Object(written), Some(Value::Object(under))) = (written, task.get_mut(key)) else { return };
    for (name, value) in written {
        let counts = match value {
            Value::Number(number) => number.as_i64() != Some(0) && name != "IOPS",
            Value::Array(items) => !items.is_empty(),
            _ => false,
        };
        if counts {
            under.insert(name.clone(), value.clone());
        }
    }
}

/// The name of a service.
pub fn name_of(service: &Map<String, Value>) -> &str {
    service["Name"].as_str().unwrap_or_default()
}

fn has_items(body: &Map<String, Value>, key: &str) -> bool {
    body.get(key).and_then(Value::as_array).is_some_and(|items| !items.is_empty())
}
