//! Services of groups and tasks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{connect, flag, items, items_of, service_check, text, text_of};
use crate::multierror::nested;

/// Services of a group, together with what must hold across its tasks.
pub fn of_group(group: &Map<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    let tasks: BTreeSet<&str> = items_of(group, "Tasks").map(|task| text(task, "Name")).collect();
    for task in items_of(group, "Tasks") {
        let owner = text(task, "Name");
        for service in items(task, "Services") {
            let of = |what: &str, body: &Value, thing: &str| {
                let (name, other) = (text(body, "Name"), text(body, "TaskName"));
                (!other.is_empty() && other != owner).then(|| {
                    format!("{what} {name} is invalid: may only specify task the {thing} belongs to, got {other:?}")
                })
            };
            problems.extend(of("Service", service, "service"));
            problems.extend(items(service, "Checks").filter_map(|check| of("Check", check, "check")));
        }
    }
    for (place, service) in items_of(group, "Services").enumerate() {
        let name = text(service, "Name");
        let inner = service_problems(service);
        if !inner.is_empty() {
            nested(&mut problems, format!("Service[{place}] {name} validation failed: "), inner);
            continue;
        }
        if text(service, "AddressMode") == "driver" {
            problems.push(format!(
                "service {name:?} cannot use address_mode=\"driver\", only services defined in a \"task\" block can use this mode"
            ));
        }
        for check in items(service, "Checks").filter(|check| !text(check, "TaskName").is_empty()) {
            let (check_name, owner) = (text(check, "Name"), text(check, "TaskName"));
            if text(check, "AddressMode") == "driver" {
                problems.push(format!(
                    "Check {name:?} invalid: cannot use address_mode=\"driver\", only checks defined in a \"task\" service block can use this mode"
                ));
            }
            if !tasks.contains(owner) {
                problems.push(format!("Check {check_name} invalid: refers to non-existent task {owner}"));
            }
        }
    }
    unique(group, &mut problems);
    let of_tasks = items_of(group, "Tasks").flat_map(|task| items(task, "Services"));
    let providers: BTreeSet<&str> =
        items_of(group, "Services").chain(of_tasks).map(|service| text(service, "Provider")).collect();
    if providers.len() > 1 {
        problems.push("Multiple service providers used: task group services must use the same provider".to_owned());
    }
    problems
}

fn unique(group: &Map<String, Value>, problems: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    let own = items_of(group, "Services").map(|service| ("group", service));
    let of_tasks = items_of(group, "Tasks")
        .flat_map(|task| items(task, "Services").map(move |service| (text(task, "Name"), service)));
    for (owner, service) in of_tasks.chain(own) {
        let id = (owner, text(service, "Name"), text(service, "PortLabel"));
        if !seen.insert(id) {
            twice.insert(id);
        }
    }
    let named = |(owner, name, port): &(&str, &str, &str)| match *port {
        "" => format!("{owner}->{name}"),
        port => format!("{owner}->{name}:{port}"),
    };
    if !twice.is_empty() {
        let twice: Vec<String> = twice.iter().map(named).collect();
        problems.push(format!("Services are not unique: [{}]", twice.join(" ")));
    }
}

/// Scripts run in a task, so a group's script check must name one.
pub fn script_checks(group: &Map<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    for service in items_of(group, "Services").filter(|service| text(service, "TaskName").is_empty()) {
        for check in items(service, "Checks") {
            if text(check, "Type") == "script" && text(check, "TaskName").is_empty() {
                let (group, service, check) = (text_of(group, "Name"), text(service, "Name"), text(check, "Name"));
                problems.push(format!("Service [{group}]->{service} or Check {check} must specify task parameter"));
            }
        }
    }
    problems
}

/// Services of a task.
pub fn of_task(task: &Map<String, Value>, group: &Map<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    // By port: the services that name it.
    let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (place, service) in items_of(task, "Services").enumerate() {
        let (name, port, mode) = (text(service, "Name"), text(service, "PortLabel"), text(service, "AddressMode"));
        nested(&mut problems, format!("service[{place}] {name:?} validation failed: "), service_problems(service));
        if matches!(mode, "alloc" | "alloc_ipv6") {
            problems.push(format!(
                "service {name:?} cannot use address_mode={mode:?}, only services defined in a \"group\" block can use this mode"
            ));
        }
        if !seen.insert(format!("{name}{port}")) {
            problems.push(format!("service {name:?} is duplicate"));
        }
        let is_number = mode == "driver" && port.parse::<i64>().is_ok();
        if !port.is_empty() && !is_number {
            wanted.entry(port).or_default().insert(name);
        }
        if service["Connect"].is_object() {
            problems.push(format!(
                "service {name:?} cannot have \"connect\" block, only services defined in a \"group\" block can"
            ));
        }
        let mut checks = BTreeSet::new();
        for check in items(service, "Checks") {
            if !checks.insert(text(check, "Name")) {
                problems.push(format!("check {:?} is duplicate", text(check, "Name")));
            }
            if let Some(port) = service_check::port_in_task(check, service, &mut problems) {
                wanted.entry(port).or_default().insert(name);
            }
        }
    }
    let networks = items_of(group, "Networks").take(1).chain(items(&task["Resources"], "Networks"));
    let labels: BTreeSet<&str> = networks
        .flat_map(|network| items(network, "ReservedPorts").chain(items(network, "DynamicPorts")))
        .map(|port| text(port, "Label"))
        .collect();
    for (port, services) in wanted.iter().filter(|(port, _)| !labels.contains(*port)) {
        let services: Vec<&str> = services.iter().copied().collect();
        problems.push(format!("port label {port:?} referenced by services {} does not exist", services.join(", ")));
    }
    problems
}

/// Letters, digits and inner dashes, 63 at most. What is still interpolated at run time stands for such letters.
fn is_name(name: &str) -> bool {
    let name = without_variables(name);
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    (1..=63).contains(&name.len())
        && is_edge(name.chars().next())
        && is_edge(name.chars().last())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// `${...}` replaced by a name that is good.
fn without_variables(name: &str) -> String {
    let mut plain = String::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("${") {
        plain += before;
        let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')));
        match end {
            Some(end) if end > 0 && after[end..].starts_with('}') => {
                plain += "ENV-VAR";
                rest = &after[end + 1..];
            }
            _ => {
                plain += "${";
                rest = after;
            }
        }
    }
    plain + rest
}

fn service_problems(service: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let (name, provider) = (text(service, "Name"), text(service, "Provider"));
    if !is_name(name) {
        problems.push(format!(
            "Service name must be valid per RFC 1123 and can contain only alphanumeric characters or dashes and must be no longer than 63 characters: {name:?}"
        ));
    }
    match text(service, "AddressMode") {
        "" | "auto" => {}
        "host" | "driver" | "alloc" | "alloc_ipv6" => {
            if !text(service, "Address").is_empty() {
                problems.push("Service address_mode must be \"auto\" if address is set".to_owned());
            }
        }
        mode => {
            problems.push(format!("Service address_mode must be \"auto\", \"host\", or \"driver\"; not {mode:?}"));
        }
    }
    let on_update = text(service, "OnUpdate");
    if !matches!(on_update, "" | "require_healthy" | "ignore_warnings" | "ignore") {
        problems.push(format!(
            "Service on_update must be \"require_healthy\", \"ignore_warnings\", or \"ignore\"; not {on_update:?}"
        ));
    }
    match provider {
        "consul" => of_consul(service, &mut problems),
        "nomad" => {
            problems.extend(items(service, "Checks").filter_map(|check| service_check::of_nomad(check, service)));
            if service["Connect"].is_object() {
                problems.push("Service with provider nomad cannot include Connect blocks".to_owned());
            }
        }
        provider => problems.push(format!("Service provider must be \"consul\", or \"nomad\"; not {provider:?}")),
    }
    if service["Identity"].is_object() && items(&service["Identity"], "Audience").next().is_none() {
        problems.push("Service identity must provide at least one target aud value".to_owned());
    }
    problems
}

fn of_consul(service: &Value, problems: &mut Vec<String>) {
    let name = text(service, "Name");
    problems.extend(items(service, "Checks").filter_map(|check| service_check::of_consul(check, service)));
    let kind = text(service, "Kind");
    if !matches!(kind, "" | "api-gateway" | "ingress-gateway" | "mesh-gateway" | "terminating-gateway") {
        problems.push(format!("Service {name} kind must be one of consul service kind or empty"));
    }
    let block = &service["Connect"];
    if !block.is_object() {
        return;
    }
    problems.extend(connect::block_problem(block));
    for (key, what) in [("TaskName", "task"), ("PortLabel", "port")] {
        if flag(block, "Native") && text(service, key).is_empty() {
            problems.push(format!("Service {name} is Connect Native and requires setting the {what}"));
        }
    }
}
