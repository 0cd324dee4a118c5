//! Constraints that follow from what a job asks for, added behind its own ones.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::objects;

/// Which implied constraints are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implied {
    /// All that Nomad adds.
    All,
    /// Only those for what drover acts on. A constraint for a block that is left out with a warning would keep the job
    /// from running at all, and one for a block that fails the task's setup would hide that failure.
    ActedOn,
}

/// Adds them to every group and task.
pub fn add(job: &mut Map<String, Value>, which: Implied) {
    let mut groups = job.remove("TaskGroups").unwrap_or_default();
    for group in objects(&mut groups) {
        let mut list = Vec::new();
        if which == Implied::All {
            secrets(group, &mut list);
        }
        signals(group, &mut list);
        if which == Implied::All {
            services(group, &mut list);
            cni(group, &mut list);
            identities(group, &mut list);
            partitions(group);
        }
        append(group, list);
    }
    job.insert("TaskGroups".to_owned(), groups);
}

fn constraint(left: &str, operand: &str, right: &str) -> Value {
    json!({ "LTarget": left, "Operand": operand, "RTarget": right })
}

fn append(body: &mut Map<String, Value>, more: Vec<Value>) {
    if more.is_empty() {
        return;
    }
    let mut constraints = match body.remove("Constraints") {
        Some(Value::Array(constraints)) => constraints,
        _ => Vec::new(),
    };
    for constraint in more {
        // Registering a job that was read back adds nothing twice.
        if !constraints.contains(&constraint) {
            constraints.push(constraint);
        }
    }
    body.insert("Constraints".to_owned(), json!(constraints));
}

fn items<'v>(body: &'v Map<String, Value>, key: &str) -> impl Iterator<Item = &'v Value> {
    body.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn inner<'v>(body: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    body.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text<'v>(body: &'v Value, key: &str) -> &'v str {
    body[key].as_str().unwrap_or_default()
}

fn secrets(group: &Map<String, Value>, list: &mut Vec<Value>) {
    for secret in items(group, "Tasks").flat_map(|task| inner(task, "Secrets")) {
        let left = format!("${{attr.plugins.secrets.{}.version}}", text(secret, "Provider"));
        let constraint = constraint(&left, "is_set", "");
        if !list.contains(&constraint) {
            list.push(constraint);
        }
    }
}

/// The node must know the signals that the tasks want to be sent.
fn signals(group: &Map<String, Value>, list: &mut Vec<Value>) {
    let mut wanted = BTreeSet::new();
    for task in items(group, "Tasks") {
        wanted.insert(text(task, "KillSignal"));
        for template in inner(task, "Templates").filter(|template| template["ChangeMode"] == "signal") {
            wanted.insert(text(template, "ChangeSignal"));
        }
    }
    wanted.remove("");
    if !wanted.is_empty() {
        let wanted: Vec<&str> = wanted.into_iter().collect();
        list.push(constraint("${attr.os.signals}", "set_contains", &wanted.join(",")));
    }
}

fn services(group: &mut Map<String, Value>, list: &mut Vec<Value>) {
    let consul = || constraint("${attr.consul.version}", "semver", ">= 1.8.0");
    let is_consul = |service: &&Value| service["Provider"] == "consul";
    let is_nomad = |service: &&Value| service["Provider"] == "nomad";
    if items(group, "Services").any(|service| is_consul(&service)) {
        list.push(consul());
    }
    let of_tasks = items(group, "Tasks").flat_map(|task| inner(task, "Services"));
    let nomad: Vec<&Value> = items(group, "Services").chain(of_tasks).filter(is_nomad).collect();
    if !nomad.is_empty() {
        list.push(constraint("${attr.nomad.service_discovery}", "=", "true"));
    }
    if nomad.iter().any(|service| inner(service, "Checks").next().is_some()) {
        list.push(constraint("${attr.nomad.version}", "semver", ">= 1.4.0"));
    }
    for task in group.get_mut("Tasks").into_iter().flat_map(objects) {
        if items(task, "Services").any(|service| is_consul(&service)) {
            append(task, vec![consul()]);
        }
    }
}

fn cni(group: &Map<String, Value>, list: &mut Vec<Value>) {
    if items(group, "Networks").any(|network| network["Mode"] == "bridge") {
        for plugin in ["bridge", "firewall", "host-local", "loopback", "portmap"] {
            let left = format!("${{attr.plugins.cni.version.{plugin}}}");
            list.push(constraint(&left, "semver", ">= 0.4.0"));
        }
    }
    let is_transparent = items(group, "Services")
        .any(|service| service["Connect"]["SidecarService"]["Proxy"]["TransparentProxy"].is_object());
    if is_transparent {
        list.push(constraint("${attr.plugins.cni.version.consul-cni}", "semver", ">= 1.4.2"));
        list.push(constraint("${attr.nomad.version}", "semver", ">= 1.8.0-dev"));
    }
}

fn identities(group: &Map<String, Value>, list: &mut Vec<Value>) {
    let of_tasks = items(group, "Tasks")
        .any(|task| inner(task, "Identities").next().is_some() || inner(task, "Services").any(has_identity));
    if of_tasks || items(group, "Services").any(has_identity) {
        list.push(constraint("${attr.nomad.version}", "semver", ">= 1.7.0-a"));
    }
}

fn has_identity(service: &Value) -> bool {
    service["Identity"].is_object()
}

fn partitions(group: &mut Map<String, Value>) {
    let of = |body: &Map<String, Value>| {
        let partition = body.get("Consul").map(|consul| text(consul, "Partition")).unwrap_or_default();
        if partition.is_empty() { vec![] } else { vec![constraint("${attr.consul.partition}", "=", partition)] }
    };
    for task in group.get_mut("Tasks").into_iter().flat_map(objects) {
        let more = of(task);
        append(task, more);
    }
    let more = of(group);
    append(group, more);
}
