//! Checks with `expose`: each becomes a path that the sidecar lets through without TLS, on a port of its own.

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::connect::{add_port, name_of};
use super::objects;
use super::settle::{set, take};
use crate::check::connect::network_mode;
use crate::duration;

/// Adds the paths of a group's checks. The error says why one can't be worked out.
pub fn add(group: &mut Map<String, Value>) -> Result<(), String> {
    let mut services = take(group, "Services");
    let result = objects(&mut services)
        .filter(|service| service["Connect"]["SidecarService"].is_object())
        .try_for_each(|service| of_service(service, group));
    set(group, "Services", services);
    result
}

fn of_service(service: &mut Map<String, Value>, group: &mut Map<String, Value>) -> Result<(), String> {
    let mut checks = service.remove("Checks").unwrap_or_default();
    let mut result = Ok(());
    for (place, check) in objects(&mut checks).enumerate() {
        if check["Expose"] == true && is_exposable(check) {
            result = result.and_then(|()| expose(check, place, service, group));
        }
    }
    service.insert("Checks".to_owned(), checks);
    result
}

fn is_exposable(check: &Map<String, Value>) -> bool {
    let kind = check["Type"].as_str().unwrap_or_default().to_lowercase();
    matches!(kind.as_str(), "grpc" | "http") && check["Path"].as_str().is_some_and(|path| path.starts_with('/'))
}

fn expose(
    check: &mut Map<String, Value>,
    place: usize,
    service: &mut Map<String, Value>,
    group: &mut Map<String, Value>,
) -> Result<(), String> {
    network_mode(group, "connect expose check", false)?;
    let name = name_of(service).to_owned();
    if text(check, "PortLabel").is_empty() {
        // The same check of the same service gets the same label each time.
        let label = format!("svc_{name}_ck_{}", &fingerprint(check, &format!("{name}_{place}"))[..6]);
        add_port(group, &label);
        check.insert("PortLabel".to_owned(), json!(label));
    }
    let port = local_port(text(service, "PortLabel"), group).ok_or_else(|| {
        let (group, check) = (text(group, "Name"), text(check, "Name"));
        format!("unable to determine local service port for service check {group}->{name}->{check}")
    })?;
    let path = json!({
        "Path": check["Path"], "Protocol": check["Protocol"], "LocalPathPort": port, "ListenerPort": check["PortLabel"],
    });
    let Some(Value::Object(sidecar)) = service.get_mut("Connect").and_then(|c| c.get_mut("SidecarService")) else {
        return Ok(());
    };
    if sidecar["Proxy"].is_null() {
        let mut proxy = crate::shapes::connect::PROXY.empty();
        super::settle::settle(&mut proxy, &crate::shapes::connect::PROXY);
        sidecar.insert("Proxy".to_owned(), Value::Object(proxy));
    }
    let expose = &mut sidecar["Proxy"]["Expose"];
    if !expose["Paths"].is_array() {
        *expose = json!({ "Paths": [] });
    }
    if let Some(paths) = expose["Paths"].as_array_mut()
        && !paths.contains(&path)
    {
        paths.push(path);
    }
    Ok(())
}

/// The port the service itself listens on: a fixed port of that label, or a plain number.
fn local_port(label: &str, group: &Map<String, Value>) -> Option<i64> {
    let networks = group["Networks"].as_array().into_iter().flatten();
    let fixed = networks
        .flat_map(|network| network["ReservedPorts"].as_array().into_iter().flatten())
        .find(|port| port["Label"] == *label)
        .and_then(|port| port["Value"].as_i64());
    fixed.or_else(|| label.parse().ok()).filter(|port| *port > 0)
}

fn text<'v>(body: &'v Map<String, Value>, key: &str) -> &'v str {
    body.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Hexadecimal digits that differ with anything a check says.
fn fingerprint(check: &Map<String, Value>, owner: &str) -> String {
    let mut all = owner.to_owned();
    let list = |value: &Value| -> String { value.as_array().into_iter().flatten().filter_map(Value::as_str).collect() };
    let number = |key: &str| check[key].as_i64().unwrap_or_default();
    all += text(check, "Name");
    all += text(check, "Type");
    all += text(check, "Command");
    all += &list(&check["Args"]);
    all += text(check, "Path");
    all += text(check, "Protocol");
    all += text(check, "PortLabel");
    all += &duration::format(number("Interval"));
    all += &duration::format(number("Timeout"));
    for key in ["Method", "Body", "OnUpdate", "Notes"] {
        all += text(check, key);
    }
    if check["TLSSkipVerify"] == true {
        all += "true";
    }
    all += text(check, "TLSServerName");
    let headers = check["Header"].as_object().into_iter().flatten();
    let mut headers: Vec<String> = headers.map(|(key, values)| format!("{key}{}", list(values))).collect();
    headers.sort();
    all += &headers.concat();
    all += text(check, "AddressMode");
    all += text(check, "GRPCService");
    if check["GRPCUseTLS"] == true {
        all += "true";
    }
    for (key, word) in [
        ("SuccessBeforePassing", "success"),
        ("FailuresBeforeCritical", "failures"),
        ("FailuresBeforeWarning", "failures-before-warning"),
    ] {
        if number(key) != 0 {
            all += &format!("{word}:{}", number(key));
        }
    }
    digest(&SHA256, all.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
