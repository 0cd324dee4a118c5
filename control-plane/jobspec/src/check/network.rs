//! Networks of a group.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{flag, int, items, items_of, text};

/// Ports and CNI arguments over all networks of the group.
pub fn problems(group: &Map<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut labels = BTreeSet::new();
    let mut statics: BTreeMap<(String, i64), String> = BTreeMap::new();
    let mut cni_args = BTreeSet::new();
    for network in items_of(group, "Networks") {
        for port in items(network, "ReservedPorts").chain(items(network, "DynamicPorts")) {
            let label = text(port, "Label");
            if !labels.insert(label) {
                problems.push(format!("Port label {label} already in use by taskgroup network"));
            }
            fixed(port, &mut statics, &mut problems);
            mapping(port, &mut problems);
            let mode = text(network, "Mode");
            if flag(port, "IgnoreCollision") && !matches!(mode, "" | "host") {
                problems.push(format!("Port {label:?} collision may not be ignored on non-host network mode {mode:?}"));
            }
        }
        for (name, value) in network["CNI"]["Args"].as_object().into_iter().flatten() {
            if !cni_args.insert(name) {
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
    problems
}

/// A fixed number: in range, and taken once per host network.
fn fixed(port: &Value, statics: &mut BTreeMap<(String, i64), String>, problems: &mut Vec<String>) {
    let (label, number) = (text(port, "Label"), int(port, "Value"));
    if number <= 0 {
        return;
    }
    let place = (text(port, "HostNetwork").to_owned(), number);
    match statics.get(&place) {
        Some(other) => {
            problems.push(format!("Static port {number} already reserved by taskgroup network:{other}"));
        }
        None => {
            statics.insert(place, label.to_owned());
        }
    }
    if number > 65_535 {
        problems.push(format!("Port {label} ({number}) cannot be greater than 65535"));
    }
}

fn mapping(port: &Value, problems: &mut Vec<String>) {
    let (label, to) = (text(port, "Label"), int(port, "To"));
    if to < -1 {
        problems.push(format!("Port {label:?} cannot be mapped to negative value {to}"));
    } else if to > 65_535 {
        problems.push(format!("Port {label:?} cannot be mapped to a port ({to}) greater than 65535"));
    }
}
