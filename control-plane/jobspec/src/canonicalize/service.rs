//! Defaults of services and their checks.

use serde_json::{Map, Value, json};

use super::objects;
use super::settle::{default, is_unset, merged, set, take};

/// Fills a service of a group, or of a task when one is named.
pub fn fill(service: &mut Map<String, Value>, job: &Map<String, Value>, group: &str, task: Option<&str>) {
    let id = job["Name"].as_str().unwrap_or_default();
    let unnamed = match task {
        Some(task) => format!("{id}-{group}-{task}"),
        None => format!("{id}-{group}"),
    };
    default(service, "Name", unnamed);
    let task_word = task.unwrap_or("group");
    let name = service["Name"].as_str().unwrap_or_default();
    let name = name
        .replace("${JOB}", id)
        .replace("${TASKGROUP}", group)
        .replace("${TASK}", task_word)
        .replace("${BASE}", &format!("{id}-{group}-{task_word}"));
    set(service, "Name", name.as_str());
    if let Some(task) = task {
        default(service, "TaskName", task);
    }
    default(service, "OnUpdate", "require_healthy");
    if let Some(Value::Object(weights)) = service.get_mut("Weights") {
        for weight in weights.values_mut() {
            if weight.as_i64().is_none_or(|weight| weight <= 0) {
                *weight = json!(1);
            }
        }
    }
    identity(service, &name);
    connect(service);
    checks(service, task.is_some(), &name);
}

/// Whatever was written, the names in the identity for Consul are made here.
fn identity(service: &mut Map<String, Value>, name: &str) {
    if !matches!(service["Provider"].as_str(), None | Some("" | "consul")) {
        return;
    }
    let text = |key: &str| service[key].as_str().unwrap_or_default();
    let task = text("TaskName");
    let task = if task.is_empty() { String::new() } else { format!("{task}-") };
    let own = format!("consul-service_{task}{name}-{}", text("PortLabel"));
    if let Some(Value::Object(identity)) = service.get_mut("Identity") {
        identity.insert("Name".to_owned(), json!(own));
        identity.insert("ServiceName".to_owned(), json!(name));
    }
}

/// A `connect` block may be written in older ways, and its task has defaults like any other.
fn connect(service: &mut Map<String, Value>) {
    let Some(Value::Object(connect)) = service.get_mut("Connect") else { return };
    if let Some(Value::Object(task)) = connect.get_mut("SidecarTask") {
        super::task::resources(task);
    }
    let Some(Value::Object(proxy)) = connect.get_mut("SidecarService").and_then(|sidecar| sidecar.get_mut("Proxy"))
    else {
        return;
    };
    if proxy["ExposeConfig"].is_object() {
        let expose = proxy["ExposeConfig"].take();
        proxy.insert("Expose".to_owned(), expose);
    }
    if let Some(Value::Object(expose)) = proxy.get_mut("Expose")
        && !expose["Path"].is_null()
    {
        let paths = expose["Path"].take();
        expose.insert("Paths".to_owned(), paths);
    }
}

fn checks(service: &mut Map<String, Value>, is_of_task: bool, name: &str) {
    let outer = service["CheckRestart"].clone();
    let on_update = service["OnUpdate"].clone();
    let task = service["TaskName"].clone();
    for check in service.get_mut("Checks").into_iter().flat_map(objects) {
        default(check, "Name", format!("service: {name:?} check"));
        default(check, "OnUpdate", on_update.clone());
        if is_of_task || is_unset(check, "TaskName") {
            set(check, "TaskName", task.clone());
        }
        for key in ["SuccessBeforePassing", "FailuresBeforeCritical", "FailuresBeforeWarning"] {
            if check[key].as_i64().is_some_and(|count| count < 0) {
                check.insert(key.to_owned(), json!(0));
            }
        }
        let inner = check["CheckRestart"].clone();
        if !inner.is_null() || !outer.is_null() {
            check.insert("CheckRestart".to_owned(), check_restart(inner, &outer));
        }
    }
}

/// Zero counts as unset here: the inner block then takes the outer one's value.
fn check_restart(mut inner: Value, outer: &Value) -> Value {
    if let Value::Object(inner) = &mut inner {
        for value in inner.values_mut() {
            if *value == 0 || *value == false {
                *value = Value::Null;
            }
        }
    }
    let defaults = json!({ "Limit": 0, "Grace": 1_000_000_000, "IgnoreWarnings": false });
    merged(&[&inner, outer], defaults)
}

/// What a stored service has beyond the table's keys: where it is announced.
pub fn close(group: &mut Map<String, Value>, job: &Map<String, Value>) {
    let mut tasks = take(group, "Tasks");
    let of_tasks = objects(&mut tasks).filter_map(|task| task.get_mut("Services")).flat_map(objects);
    for service in group.get_mut("Services").into_iter().flat_map(objects).chain(of_tasks) {
        let namespace = if service["Provider"] == "nomad" { job["Namespace"].clone() } else { json!("default") };
        service.insert("Namespace".to_owned(), namespace);
    }
    set(group, "Tasks", tasks);
}
