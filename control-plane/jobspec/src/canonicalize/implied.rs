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

/// Whether a constraint of the job file's own makes an implied one needless.
#[derive(Clone, Copy)]
enum Yields {
    /// One with the same left side does.
    ToSameLeft,
    /// Only the very same one does.
    ToSame,
}

/// Adds them to a group and its tasks.
pub fn add(group: &mut Map<String, Value>, which: Implied) {
    if which == Implied::All {
        vault(group);
        secrets(group);
    }
    signals(group);
    if which == Implied::All {
        services(group);
        networks(group);
        identities(group);
    }
}

/// A Consul partition that a group or its tasks name.
pub fn partitions(group: &mut Map<String, Value>) {
    let of = |body: &Map<String, Value>| {
        let consul = &body["Consul"];
        let partition = text(consul, "Partition");
        let left = || super::connect::consul_attribute(text(consul, "Cluster"), "partition");
        (!partition.is_empty()).then(|| constraint(&left(), "=", partition))
    };
    for task in group.get_mut("Tasks").into_iter().flat_map(objects) {
        let more = of(task);
        append(task, Yields::ToSame, more);
    }
    let more = of(group);
    append(group, Yields::ToSame, more);
}

fn constraint(left: &str, operand: &str, right: &str) -> Value {
    json!({ "LTarget": left, "Operand": operand, "RTarget": right })
}

/// Registering a job that was read back adds nothing twice.
fn append(body: &mut Map<String, Value>, yields: Yields, more: impl IntoIterator<Item = Value>) {
    for new in more {
        let is_there = items(body, "Constraints").any(|old| match yields {
            Yields::ToSameLeft => old["LTarget"] == new["LTarget"],
            Yields::ToSame => *old == new,
        });
        if is_there {
            continue;
        }
        match body.get_mut("Constraints") {
            Some(Value::Array(constraints)) => constraints.push(new),
            _ => {
                body.insert("Constraints".to_owned(), json!([new]));
            }
        }
    }
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

fn vault(group: &mut Map<String, Value>) {
    let mut of_tasks: Vec<(&str, &str)> = items(group, "Tasks")
        .filter(|task| task["Vault"].is_object())
        .map(|task| (text(task, "Name"), text(&task["Vault"], "Cluster")))
        .collect();
    of_tasks.sort_unstable();
    let constraints: Vec<Value> = of_tasks
        .iter()
        .map(|(_, cluster)| match *cluster {
            "" | "default" => constraint("${attr.vault.version}", "semver", ">= 0.6.1"),
            cluster => constraint(&format!("${{attr.vault.{cluster}.version}}"), "semver", ">= 1.11.0"),
        })
        .collect();
    append(group, Yields::ToSameLeft, constraints);
}

fn secrets(group: &mut Map<String, Value>) {
    let providers = items(group, "Tasks").flat_map(|task| inner(task, "Secrets")).map(|secret| {
        let left = format!("${{attr.plugins.secrets.{}.version}}", text(secret, "Provider"));
        constraint(&left, "is_set", "")
    });
    let constraints: Vec<Value> = providers.collect();
    append(group, Yields::ToSameLeft, constraints);
}

/// The node must know the signals that the tasks want to be sent.
fn signals(group: &mut Map<String, Value>) {
    let mut wanted = BTreeSet::new();
    for task in items(group, "Tasks") {
        wanted.insert(text(task, "KillSignal"));
        if task["Vault"]["ChangeMode"] == "signal" {
            wanted.insert(text(&task["Vault"], "ChangeSignal"));
        }
        for template in inner(task, "Templates").filter(|template| template["ChangeMode"] == "signal") {
            wanted.insert(text(template, "ChangeSignal"));
        }
    }
    wanted.remove("");
    if !wanted.is_empty() {
        let wanted: Vec<&str> = wanted.into_iter().collect();
        let constraint = constraint("${attr.os.signals}", "set_contains", &wanted.join(","));
        append(group, Yields::ToSame, [constraint]);
    }
}

fn services(group: &mut Map<String, Value>) {
    let of_tasks = items(group, "Tasks").flat_map(|task| inner(task, "Services"));
    let nomad: Vec<&Value> =
        items(group, "Services").chain(of_tasks).filter(|service| service["Provider"] == "nomad").collect();
    let mut native = Vec::new();
    if !nomad.is_empty() {
        native.push(constraint("${attr.nomad.service_discovery}", "=", "true"));
    }
    if nomad.iter().any(|service| inner(service, "Checks").next().is_some()) {
        native.push(constraint("${attr.nomad.version}", "semver", ">= 1.4.0"));
    }
    append(group, Yields::ToSame, native);
    let consul = |body: &Map<String, Value>| -> Vec<Value> {
        let services = items(body, "Services").filter(|service| service["Provider"] == "consul");
        let left = |service: &Value| super::connect::consul_attribute(text(service, "Cluster"), "version");
        services.map(|service| constraint(&left(service), "semver", ">= 1.8.0")).collect()
    };
    let more = consul(group);
    append(group, Yields::ToSameLeft, more);
    for task in group.get_mut("Tasks").into_iter().flat_map(objects) {
        let more = consul(task);
        append(task, Yields::ToSameLeft, more);
    }
}

fn networks(group: &mut Map<String, Value>) {
    let mut more = Vec::new();
    if items(group, "Networks").any(|network| network["Mode"] == "bridge") {
        for plugin in ["bridge", "firewall", "host-local", "loopback", "portmap"] {
            let left = format!("${{attr.plugins.cni.version.{plugin}}}");
            more.push(constraint(&left, "semver", ">= 0.4.0"));
        }
    }
    let is_transparent = items(group, "Services")
        .any(|service| service["Connect"]["SidecarService"]["Proxy"]["TransparentProxy"].is_object());
    if is_transparent {
        more.push(constraint("${attr.plugins.cni.version.consul-cni}", "semver", ">= 1.4.2"));
        more.push(constraint("${attr.nomad.version}", "semver", ">= 1.8.0-dev"));
    }
    append(group, Yields::ToSameLeft, more);
}

fn identities(group: &mut Map<String, Value>) {
    let has_identity = |service: &Value| service["Identity"].is_object();
    let of_tasks = items(group, "Tasks")
        .any(|task| inner(task, "Identities").next().is_some() || inner(task, "Services").any(has_identity));
    if of_tasks || items(group, "Services").any(has_identity) {
        append(group, Yields::ToSame, [constraint("${attr.nomad.version}", "semver", ">= 1.7.0-a")]);
    }
}
