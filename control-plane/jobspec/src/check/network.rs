//! Networks of a group and, obsolete, of its tasks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{flag, int, items, items_of, text};

const PORT_MAX: i64 = 65_535;

/// What is taken already, over all networks.
#[derive(Default)]
struct Taken<'v> {
    labels: BTreeSet<&'v str>,
    /// By host network and number: who has it.
    fixed: BTreeMap<(&'v str, i64), String>,
    cni_args: BTreeSet<&'v str>,
}

/// Ports, CNI arguments and host names over all networks of the group.
pub fn problems(group: &Map<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut taken = Taken::default();
    for network in items_of(group, "Networks") {
        for port in ports(network) {
            let label = text(port, "Label");
            if !taken.labels.insert(label) {
                problems.push(format!("Port label {label} already in use by taskgroup network"));
            }
            fixed(port, "taskgroup network", true, &mut taken, &mut problems);
            mapping(port, &mut problems);
            let mode = text(network, "Mode");
            if flag(port, "IgnoreCollision") && !matches!(mode, "" | "host") {
                problems.push(format!("Port {label:?} collision may not be ignored on non-host network mode {mode:?}"));
            }
        }
        cni_args(network, &mut taken, &mut problems);
        let host = text(network, "Hostname");
        if !host.is_empty() && !host.contains("${") && !is_domain_name(host) {
            problems.push("Hostname is not a valid DNS name".to_owned());
        }
    }
    for task in items_of(group, "Tasks") {
        for port in items(&task["Resources"], "Networks").flat_map(ports) {
            let label = text(port, "Label");
            if taken.labels.contains(label) {
                problems.push(format!("Port label {label} already in use by taskgroup network"));
            }
            fixed(port, text(task, "Name"), false, &mut taken, &mut problems);
        }
    }
    problems
}

fn ports(network: &Value) -> impl Iterator<Item = &Value> {
    items(network, "ReservedPorts").chain(items(network, "DynamicPorts"))
}

/// A fixed number: in range, and taken once per host network.
fn fixed<'v>(port: &'v Value, owner: &str, may_collide: bool, taken: &mut Taken<'v>, problems: &mut Vec<String>) {
    let (label, number) = (text(port, "Label"), int(port, "Value"));
    if number == 0 {
        return;
    }
    let network = Some(text(port, "HostNetwork")).filter(|name| !name.is_empty()).unwrap_or("default");
    match taken.fixed.get(&(network, number)) {
        Some(_) if may_collide && flag(port, "IgnoreCollision") => {}
        Some(other) => problems.push(format!("Static port {number} already reserved by {other}")),
        None if number > PORT_MAX => {
            problems.push(format!("Port {label} ({number}) cannot be greater than {PORT_MAX}"));
        }
        None => {
            taken.fixed.insert((network, number), format!("{owner}:{label}"));
        }
    }
}

fn mapping(port: &Value, problems: &mut Vec<String>) {
    let (label, to) = (text(port, "Label"), int(port, "To"));
    if to < -1 {
        problems.push(format!("Port {label:?} cannot be mapped to negative value {to}"));
    } else if to > PORT_MAX {
        problems.push(format!("Port {label:?} cannot be mapped to a port ({to}) greater than {PORT_MAX}"));
    }
}

fn cni_args<'v>(network: &'v Value, taken: &mut Taken<'v>, problems: &mut Vec<String>) {
    for (name, value) in network["CNI"]["Args"].as_object().into_iter().flatten() {
        if !taken.cni_args.insert(name) {
            problems.push(format!("duplicate CNI arg {name:?}"));
        }
        if name.contains(';') {
            problems.push(format!("invalid ';' character in CNI arg key {name:?}"));
        }
        if value.as_str().is_some_and(|value| value.contains(';')) {
            problems.push(format!("invalid ';' character in CNI arg value {value}"));
        }
    }
}

/// Labels of 1 to 63 bytes, 255 in all. What is in them is the resolver's concern.
fn is_domain_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()))
}
