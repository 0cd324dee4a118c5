//! Checks of services. The first thing wrong with one hides those behind it.

use serde_json::Value;

use super::{flag, int, text};
use crate::duration::format as show;
use crate::multierror::multierror;

const SECOND: i64 = 1_000_000_000;
/// The longest note, in bytes.
const NOTES_BYTES_MAX: usize = 255;
const COUNTS: [(&str, &str); 3] = [
    ("SuccessBeforePassing", "success_before_passing"),
    ("FailuresBeforeCritical", "failures_before_critical"),
    ("FailuresBeforeWarning", "failures_before_warning"),
];

fn needs_port(check: &Value) -> bool {
    matches!(text(check, "Type"), "grpc" | "http" | "tcp")
}

fn lacks_port(check: &Value, service: &Value) -> Option<String> {
    let has_none = text(service, "PortLabel").is_empty() && text(check, "PortLabel").is_empty() && needs_port(check);
    has_none.then(|| {
        let (check, service) = (text(check, "Name"), text(service, "Name"));
        format!("Check {check} invalid: check requires a port but neither check nor service {service:?} have a port")
    })
}

/// What is wrong with a check that Consul would run.
pub fn of_consul(check: &Value, service: &Value) -> Option<String> {
    let name = text(check, "Name");
    if let Some(problem) = lacks_port(check, service) {
        return Some(problem);
    }
    if text(check, "Type") == "tcp" && service["Connect"]["SidecarService"].is_object() {
        return Some(format!("Check {name} invalid: tcp checks are not valid for Connect enabled services"));
    }
    let problem = common(check, &["grpc", "tcp", "http", "script"]).or_else(|| consul_only(check))?;
    Some(format!("Check {name} invalid: {problem}"))
}

fn consul_only(check: &Value) -> Option<String> {
    let (kind, written) = (text(check, "Type").to_lowercase(), text(check, "Type"));
    if flag(check, "Expose") && !matches!(kind.as_str(), "grpc" | "http") {
        return Some("expose may only be set on HTTP or gRPC checks".to_owned());
    }
    for (key, name) in COUNTS {
        if int(check, key) < 0 {
            return Some(format!("{name} must be non-negative"));
        }
        if int(check, key) > 0 && !matches!(written, "tcp" | "http" | "grpc") {
            return Some(format!("{name} not supported for check of type {written:?}"));
        }
    }
    (text(check, "Notes").len() > NOTES_BYTES_MAX)
        .then(|| format!("notes must not be longer than {NOTES_BYTES_MAX} characters"))
}

/// What is wrong with a check that the client itself would run.
pub fn of_nomad(check: &Value, service: &Value) -> Option<String> {
    lacks_port(check, service).or_else(|| common(check, &["tcp", "http"])).or_else(|| nomad_only(check))
}

fn nomad_only(check: &Value) -> Option<String> {
    let only_consul = |what: &str| Some(format!("{what} may only be set for Consul service checks"));
    if flag(check, "Expose") {
        return only_consul("expose");
    }
    if text(check, "OnUpdate") == "ignore_warnings" {
        return Some("on_update may only be set to ignore_warnings for Consul service checks".to_owned());
    }
    if check["CheckRestart"]["IgnoreWarnings"] == true {
        return Some("ignore_warnings on check_restart only supported for Consul service checks".to_owned());
    }
    if text(check, "AddressMode") == "driver" {
        return only_consul("address_mode = driver");
    }
    let method = text(check, "Method");
    let is_method = matches!(
        method.to_uppercase().as_str(),
        "" | "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE"
    );
    if text(check, "Type") == "http" && !is_method {
        return Some(format!("method type {method:?} not supported in Nomad http check"));
    }
    if let Some((_, name)) = COUNTS.into_iter().find(|(key, _)| int(check, key) != 0) {
        return only_consul(name);
    }
    if !text(check, "TLSServerName").is_empty() {
        return only_consul("tls_server_name");
    }
    None
}

fn common(check: &Value, kinds: &[&str]) -> Option<String> {
    let kind = text(check, "Type").to_lowercase();
    if !kinds.contains(&kind.as_str()) {
        return Some(format!("invalid check type ({kind:?}), must be one of {}", kinds.join(", ")));
    }
    if kind == "http" {
        match text(check, "Path") {
            "" => return Some("http type must have http path".to_owned()),
            path if has_scheme(path) => return Some("http type must have relative http path".to_owned()),
            _ => {}
        }
    }
    if kind == "script" && text(check, "Command").is_empty() {
        return Some("script type must have a valid script path".to_owned());
    }
    times(check).or_else(|| words(check)).or_else(|| restart(check))
}

/// True for an address with a scheme, as `http://host/path`.
fn has_scheme(path: &str) -> bool {
    path.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

fn times(check: &Value) -> Option<String> {
    match int(check, "Interval") {
        0 => return Some("missing required value interval. Interval cannot be less than 1s".to_owned()),
        interval if interval < SECOND => return Some(format!("interval ({}) cannot be lower than 1s", show(interval))),
        _ => {}
    }
    match int(check, "Timeout") {
        0 => Some("missing required value timeout. Timeout cannot be less than 1s".to_owned()),
        timeout if timeout < SECOND => {
            Some(format!("timeout ({}) is lower than required minimum timeout 1s", show(timeout)))
        }
        _ => None,
    }
}

fn words(check: &Value) -> Option<String> {
    let status = text(check, "InitialStatus");
    if !matches!(status, "" | "passing" | "warning" | "critical") {
        return Some(format!(
            r#"invalid initial check state ({status}), must be one of "passing", "warning", "critical" or empty"#
        ));
    }
    match text(check, "AddressMode") {
        "" | "host" | "driver" | "alloc" | "alloc_ipv6" => {}
        "auto" => return Some("invalid address_mode \"auto\" - auto only valid for services".to_owned()),
        mode => return Some(format!("invalid address_mode {mode:?}")),
    }
    let on_update = text(check, "OnUpdate");
    (!matches!(on_update, "" | "require_healthy" | "ignore_warnings" | "ignore"))
        .then(|| format!(r#"on_update must be "require_healthy", "ignore_warnings", or "ignore"; got {on_update:?}"#))
}

fn restart(check: &Value) -> Option<String> {
    let restart = &check["CheckRestart"];
    if !restart.is_object() {
        return None;
    }
    match text(check, "OnUpdate") {
        "ignore" => return Some("on_update value \"ignore\" is not compatible with check_restart".to_owned()),
        "ignore_warnings" if !flag(restart, "IgnoreWarnings") => {
            return Some(
                "on_update value \"ignore_warnings\" not supported with check_restart ignore_warnings value \"false\""
                    .to_owned(),
            );
        }
        _ => {}
    }
    let mut problems = Vec::new();
    for (what, key) in [("limit", "Limit"), ("grace period", "Grace")] {
        let number = int(restart, key);
        if number < 0 {
            problems.push(format!("{what} must be greater than or equal to 0 but found {number}"));
        }
    }
    (!problems.is_empty()).then(|| multierror(&problems))
}

/// The port label that a check of a task's service needs; problems are added. None when it needs none.
pub fn port_in_task<'v>(check: &'v Value, service: &'v Value, problems: &mut Vec<String>) -> Option<&'v str> {
    let (name, owner) = (text(check, "Name"), text(service, "Name"));
    let mode = text(check, "AddressMode");
    if matches!(mode, "alloc" | "alloc_ipv6") {
        problems.push(format!(
            "check {owner:?} cannot use address_mode={mode:?}, only checks defined in a \"group\" service block can use this mode"
        ));
    }
    if !needs_port(check) {
        return None;
    }
    let port = Some(text(check, "PortLabel")).filter(|port| !port.is_empty()).unwrap_or(text(service, "PortLabel"));
    match (port, port.parse::<i64>()) {
        ("", _) => problems.push(format!("check {name:?} is missing a port")),
        (_, Ok(number)) if mode == "driver" => {
            if number <= 0 {
                problems.push(format!("check {name:?} has invalid numeric port {number}"));
            }
        }
        (_, Ok(number)) => problems
            .push(format!("check {name:?} cannot use a numeric port {number} without setting address_mode=\"driver\"")),
        (port, Err(_)) => return Some(port),
    }
    None
}
