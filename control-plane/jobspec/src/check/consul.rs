//! Which Consul and Vault a job may name: the default cluster of either, and Vault only where it is set up.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{items, items_of, text};

/// The first thing wrong with what a group wants of Consul.
pub fn group_problem(group: &Map<String, Value>) -> Option<String> {
    let is_other = |cluster: &str| cluster != "default";
    let other = || Some("non-default Consul cluster requires Nomad Enterprise".to_owned());
    let is_elsewhere = |service: &Value| text(service, "Provider") == "consul" && is_other(text(service, "Cluster"));
    let outer = &group["Consul"];
    let partition = text(outer, "Partition");
    if (outer.is_object() && is_other(text(outer, "Cluster"))) || items_of(group, "Services").any(is_elsewhere) {
        return other();
    }
    for task in items_of(group, "Tasks") {
        if items(task, "Services").any(is_elsewhere) {
            return other();
        }
        let consul = &task["Consul"];
        if !consul.is_object() {
            continue;
        }
        let own = text(consul, "Partition");
        if !own.is_empty() && !partition.is_empty() && own != partition {
            return Some(format!(
                "task.consul.partition {own:?} must match group.consul.partition {partition:?} if both are set"
            ));
        }
        if is_other(text(consul, "Cluster")) {
            return other();
        }
    }
    None
}

/// Why a job with these `vault` blocks can't have a Vault token: its cluster is not set up, or it takes more than one
/// of the free kind.
pub fn vault(vaults: &[Value], clusters: Option<&BTreeSet<String>>) -> Option<String> {
    let wanted = || vaults.iter().map(|vault| text(vault, "Cluster"));
    if let Some(unknown) = wanted().find(|cluster| clusters.is_some_and(|known| !known.contains(*cluster))) {
        return Some(format!("Vault {unknown:?} not enabled but used in the job"));
    }
    let namespaces: BTreeSet<&str> =
        vaults.iter().map(|vault| text(vault, "Namespace")).filter(|name| !name.is_empty()).collect();
    if !namespaces.is_empty() {
        let names: Vec<&str> = namespaces.into_iter().collect();
        return Some(format!("multiple Vault namespaces requires Nomad Enterprise, Namespaces: {}", names.join(", ")));
    }
    wanted()
        .any(|cluster| cluster != "default")
        .then(|| "non-default Vault cluster requires Nomad Enterprise".to_owned())
}

/// Another cluster of Vault than the default one is reached with an identity of its own.
pub fn vault_identity(task: &Value) -> Option<String> {
    let vault = &task["Vault"];
    if !vault.is_object() {
        return None;
    }
    let cluster = text(vault, "Cluster");
    let wanted = format!("vault_{cluster}");
    let has_identity = items(task, "Identities").any(|identity| text(identity, "Name") == wanted);
    (cluster != "default" && !has_identity).then(|| {
        format!(
            "Task {} uses Vault cluster {cluster} but does not have an identity named {wanted} and no default identity is provided in agent configuration",
            text(task, "Name")
        )
    })
}

/// What a task without Vault should know of its identities.
pub fn vault_warnings(task: &Value) -> Vec<String> {
    if task["Vault"].is_object() {
        return Vec::new();
    }
    let names = items(task, "Identities").map(|identity| text(identity, "Name"));
    let of_vault = names.filter(|name| name.starts_with("vault_"));
    let task = text(task, "Name");
    of_vault.map(|name| format!("Task {task} has an identity called {name} but no vault block")).collect()
}
