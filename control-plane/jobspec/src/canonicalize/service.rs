//! Defaults of services and their checks.

use serde_json::{Map, Value, json};

use super::objects;
use super::settle::{default, is_unset, merged};

/// Fills a service of a group, or of a task when one is named.
pub fn fill(service: &mut Map<String, Value>, job: &Map<String, Value>, group: &str, task: Option<&str>) {
    let id = job["ID"].as_str().unwrap_or_default();
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
    service.insert("Name".to_owned(), json!(name));
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
    identity(service, task, &name);
    checks(service, &name);
}

fn identity(service: &mut Map<String, Value>, task: Option<&str>, name: &str) {
    let port = service["PortLabel"].as_str().unwrap_or_default().to_owned();
    let is_consul = matches!(service["Provider"].as_str(), Some("" | "consul"));
    if let Some(Value::Object(identity)) = service.get_mut("Identity") {
        if is_consul {
            let task = task.map(|task| format!("{task}-")).unwrap_or_default();
            default(identity, "Name", format!("consul-service_{task}{name}-{port}"));
        }
        default(identity, "ServiceName", name);
    }
}

fn checks(service: &mut Map<String, Value>, name: &str) {
    let outer = service["CheckRestart"].clone();
    let on_update = service["OnUpdate"].clone();
    let task = service["TaskName"].clone();
    for check in service.get_mut("Checks").into_iter().flat_map(objects) {
        default(check, "Name", format!("service: {name:?} check"));
        default(check, "OnUpdate", on_update.clone());
        if is_unset(check, "TaskName") {
            check.insert("TaskName".to_owned(), task.clone());
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
    merged(&[&inner, outer], &defaults)
}

/// What a stored service has beyond the table's keys.
pub fn close(group: &mut Map<String, Value>) {
    let mut tasks = group.remove("Tasks").unwrap_or_default();
    let of_tasks = objects(&mut tasks).filter_map(|task| task.get_mut("Services")).flat_map(objects);
    for service in group.get_mut("Services").into_iter().flat_map(objects).chain(of_tasks) {
        service.insert("Namespace".to_owned(), json!("default"));
    }
    group.insert("Tasks".to_owned(), tasks);
}
