//! Services and their checks.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{int, items, items_of, text, text_of};
use crate::multierror::nested;

const SECOND: i64 = 1_000_000_000;

/// Services of a group, together with what must hold across its tasks.
pub fn of_group(group: &Map<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    for (place, service) in items_of(group, "Services").enumerate() {
        let name = text(service, "Name");
        if text(service, "AddressMode") == "driver" {
            problems.push(format!(
                "service {name:?} cannot use address_mode=\"driver\", only services defined in a \"task\" block can use this mode"
            ));
        }
        nested(&mut problems, format!("Service[{place}] {name} validation failed: "), service_problems(service));
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
    let mut twice = Vec::new();
    let own = items_of(group, "Services").map(|service| ("group", service));
    let of_tasks = items_of(group, "Tasks")
        .flat_map(|task| items(task, "Services").map(move |service| (text(task, "Name"), service)));
    for (owner, service) in own.chain(of_tasks) {
        let id = format!("{owner}->{}:{}", text(service, "Name"), text(service, "PortLabel"));
        if !seen.insert(id.clone()) {
            twice.push(id);
        }
    }
    if !twice.is_empty() {
        problems.push(format!("Services are not unique: [{}]", twice.join(" ")));
    }
}

/// Services of a task.
pub fn of_task(task: &Map<String, Value>, group: &Map<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    let task_name = text_of(task, "Name");
    let labels: BTreeSet<&str> = items_of(group, "Networks")
        .chain(items(&task["Resources"], "Networks"))
        .flat_map(|network| items(network, "ReservedPorts").chain(items(network, "DynamicPorts")))
        .map(|port| text(port, "Label"))
        .collect();
    for (place, service) in items_of(task, "Services").enumerate() {
        let (name, port, mode) = (text(service, "Name"), text(service, "PortLabel"), text(service, "AddressMode"));
        let mut inner = service_problems(service);
        if service["Connect"].is_object() {
            problems.push(format!(
                "service {name:?} cannot have \"connect\" block, only services defined in a \"group\" block can"
            ));
        }
        if matches!(mode, "alloc" | "alloc_ipv6") {
            problems.push(format!(
                "service {name:?} cannot use address_mode={mode:?}, only services defined in a \"group\" block can use this mode"
            ));
        }
        let owner = text(service, "TaskName");
        if owner != task_name {
            inner.push(format!("may only specify task the service belongs to, got {owner:?}"));
        }
        nested(&mut problems, format!("service[{place}] {name} validation failed: "), inner);
        let is_number = mode == "driver" && port.parse::<u16>().is_ok();
        if !port.is_empty() && !is_number && !labels.contains(port) {
            problems.push(format!("port label {port:?} referenced by services {name} does not exist"));
        }
    }
    problems
}

/// Letters, digits and dashes, at most 63, no dash in front.
fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with('-')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

fn service_problems(service: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let (name, provider) = (text(service, "Name"), text(service, "Provider"));
    // What is still interpolated at run time can't be judged here.
    if !name.contains("${") && !is_name(name) {
        problems.push(format!(
            "Service name must be valid per RFC 1123 and can contain only alphanumeric characters or dashes and must be no longer than 63 characters: {name:?}"
        ));
    }
    let mode = text(service, "AddressMode");
    if !matches!(mode, "auto" | "host" | "driver" | "alloc" | "alloc_ipv6") {
        problems.push(format!("Service address_mode must be \"auto\", \"host\", or \"driver\"; not {mode:?}"));
    }
    if !text(service, "Address").is_empty() && mode != "auto" {
        problems.push("Service address_mode must be \"auto\" if address is set".to_owned());
    }
    let on_update = text(service, "OnUpdate");
    if !matches!(on_update, "require_healthy" | "ignore_warnings" | "ignore") {
        problems.push(format!(
            "Service on_update must be \"require_healthy\", \"ignore_warnings\", or \"ignore\"; not {on_update:?}"
        ));
    }
    if !matches!(provider, "consul" | "nomad") {
        problems.push(format!("Service provider must be \"consul\", or \"nomad\"; not {provider:?}"));
    }
    if provider == "nomad" && service["Connect"].is_object() {
        problems.push("Service with provider nomad cannot include Connect blocks".to_owned());
    }
    if service["Identity"].is_object() && items(&service["Identity"], "Audience").next().is_none() {
        problems.push("Service identity must provide at least one target aud value".to_owned());
    }
    for check in items(service, "Checks") {
        problems.extend(check_problem(check, service, provider));
    }
    problems
}

/// The first thing wrong with a check: each hides those behind it.
fn check_problem(check: &Value, service: &Value, provider: &str) -> Option<String> {
    let kind = text(check, "Type");
    let is_nomad = provider == "nomad";
    let kinds = if is_nomad { "tcp, http" } else { "tcp, http, grpc, script" };
    if !kinds.split(", ").any(|known| known == kind) {
        return Some(format!("invalid check type ({kind:?}), must be one of {kinds}"));
    }
    let show = crate::duration::format;
    match int(check, "Interval") {
        0 => return Some("missing required value interval. Interval cannot be less than 1s".to_owned()),
        interval if interval < SECOND => return Some(format!("interval ({}) cannot be lower than 1s", show(interval))),
        _ => {}
    }
    match int(check, "Timeout") {
        0 => return Some("missing required value timeout. Timeout cannot be less than 1s".to_owned()),
        timeout if timeout < SECOND => {
            return Some(format!("timeout ({}) is lower than required minimum timeout 1s", show(timeout)));
        }
        _ => {}
    }
    let path = text(check, "Path");
    if kind == "http" && path.is_empty() {
        return Some("http type must have http path".to_owned());
    }
    if kind == "http" && path.contains("://") {
        return Some("http type must have relative http path".to_owned());
    }
    if kind == "script" && text(check, "Command").is_empty() {
        return Some("script type must have a valid script path".to_owned());
    }
    let needs_port = kind != "script" && text(check, "PortLabel").is_empty() && text(service, "PortLabel").is_empty();
    if needs_port {
        let name = text(service, "Name");
        return Some(format!("check requires a port but neither check nor service {name:?} have a port"));
    }
    limits(check, kind, is_nomad)
}

fn limits(check: &Value, kind: &str, is_nomad: bool) -> Option<String> {
    let mode = text(check, "AddressMode");
    match mode {
        "auto" => return Some("invalid address_mode \"auto\" - auto only valid for services".to_owned()),
        "driver" if is_nomad => {
            return Some("address_mode = driver may only be set for Consul service checks".to_owned());
        }
        "" | "host" | "driver" | "alloc" | "alloc_ipv6" => {}
        _ => return Some(format!("invalid address_mode {mode:?}")),
    }
    for (key, name) in [
        ("SuccessBeforePassing", "success_before_passing"),
        ("FailuresBeforeCritical", "failures_before_critical"),
        ("FailuresBeforeWarning", "failures_before_warning"),
    ] {
        if int(check, key) > 0 && is_nomad {
            return Some(format!("{name} may only be set for Consul service checks"));
        }
        if int(check, key) > 0 && kind == "script" {
            return Some(format!("{name} not supported for check of type {kind:?}"));
        }
    }
    if is_nomad && !text(check, "TLSServerName").is_empty() {
        return Some("tls_server_name may only be set for Consul service checks".to_owned());
    }
    if is_nomad && check["Expose"] == true {
        return Some("expose may only be set for Consul service checks".to_owned());
    }
    if text(check, "Notes").len() > 255 {
        return Some("notes must not be longer than 255 characters".to_owned());
    }
    let restart = &check["CheckRestart"];
    if !restart.is_object() {
        return None;
    }
    let (limit, grace) = (int(restart, "Limit"), int(restart, "Grace"));
    if limit < 0 {
        return Some(format!("limit must be greater than or equal to 0 but found {limit}"));
    }
    if grace < 0 {
        return Some(format!("grace period must be greater than or equal to 0 but found {grace}"));
    }
    if is_nomad && restart["IgnoreWarnings"] == true {
        return Some("ignore_warnings on check_restart only supported for Consul service checks".to_owned());
    }
    match text(check, "OnUpdate") {
        "ignore" => Some("on_update value \"ignore\" is not compatible with check_restart".to_owned()),
        "ignore_warnings" if restart["IgnoreWarnings"] != true => Some(
            "on_update value \"ignore_warnings\" not supported with check_restart ignore_warnings value \"false\""
                .to_owned(),
        ),
        _ => None,
    }
}
