//! Consul Connect: what must hold between a service and its group.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{flag, int, items, items_of, text, text_of};
use crate::canonicalize::native_task;
use crate::multierror::multierror;

/// The first thing wrong with the Connect services of a group; one hides those behind it.
pub fn group_problem(group: &Map<String, Value>) -> Option<String> {
    let mut services = items_of(group, "Services").filter_map(Value::as_object);
    services.find_map(|service| of_service(service, group)).or_else(|| upstreams(group))
}

fn of_service(service: &Map<String, Value>, group: &Map<String, Value>) -> Option<String> {
    let connect = &service["Connect"];
    if connect["SidecarService"].is_object() {
        return network_mode(group, "connect sidecar", false).err().or_else(|| upper_case(service, group));
    }
    if flag(connect, "Native") {
        return native_task(service, group).err();
    }
    if connect["Gateway"].is_object() {
        return network_mode(group, "connect gateway", true).err();
    }
    None
}

/// Consul takes it for granted that these names are in lower case.
fn upper_case(service: &Map<String, Value>, group: &Map<String, Value>) -> Option<String> {
    let (service, group) = (text_of(service, "Name"), text_of(group, "Name"));
    if service != service.to_lowercase() {
        return Some(format!(
            "Consul Connect service name {service:?} in group {group:?} must not contain uppercase characters"
        ));
    }
    (group != group.to_lowercase()).then(|| {
        format!("Consul Connect group {group:?} with service {service:?} must not contain uppercase characters")
    })
}

/// A group whose network a proxy can stand in: exactly one, of its own unless `with_host`.
pub fn network_mode(group: &Map<String, Value>, what: &str, with_host: bool) -> Result<(), String> {
    let name = text_of(group, "Name");
    let networks: Vec<&Value> = items_of(group, "Networks").collect();
    let [network] = networks.as_slice() else {
        let count = networks.len();
        return Err(format!(
            "{what}: must have exactly one network for Consul Connect: group {name:?} has {count} networks"
        ));
    };
    let mode = text(network, "Mode");
    if mode == "bridge" || mode.starts_with("cni/") || (with_host && mode == "host") {
        return Ok(());
    }
    let allowed = if with_host { r#""bridge", "host", or "cni/*""# } else { r#""bridge" or "cni/*""# };
    Err(format!(
        "{what}: invalid network mode for Consul Connect: group {name:?} uses network mode {mode:?}; must be {allowed}"
    ))
}

/// Upstreams listen on addresses of their own, and a transparent proxy has the group to itself.
fn upstreams(group: &Map<String, Value>) -> Option<String> {
    let group_name = text_of(group, "Name");
    let mut listeners: BTreeMap<String, &str> = BTreeMap::new();
    let mut is_transparent = false;
    for service in items_of(group, "Services") {
        let name = text(service, "Name");
        let proxy = &service["Connect"]["SidecarService"]["Proxy"];
        for upstream in items(proxy, "Upstreams") {
            let listener = listener(upstream);
            if let Some(other) = listeners.insert(listener.clone(), name) {
                return Some(format!(
                    "Consul Connect services {name:?} and {other:?} in group {group_name:?} using same address for upstreams ({listener})"
                ));
            }
        }
        if proxy["TransparentProxy"].is_object() {
            is_transparent = true;
            if let Some(problem) = transparent(&proxy["TransparentProxy"], group) {
                return Some(problem);
            }
        }
    }
    let connected = items_of(group, "Services").filter(|service| service["Connect"].is_object()).count();
    (is_transparent && connected > 1)
        .then(|| "Consul Connect transparent proxy requires there is only one connect block".to_owned())
}

fn listener(upstream: &Value) -> String {
    match text(upstream, "LocalBindSocketPath") {
        "" => {
            let (host, port) = (text(upstream, "LocalBindAddress"), int(upstream, "LocalBindPort"));
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        }
        path => path.to_owned(),
    }
}

fn transparent(proxy: &Value, group: &Map<String, Value>) -> Option<String> {
    let has_dns = |network: &Value| {
        ["Servers", "Searches", "Options"].iter().any(|key| items(&network["DNS"], key).next().is_some())
    };
    if items_of(group, "Networks").any(has_dns) && !flag(proxy, "NoDNS") {
        return Some("Consul Connect transparent proxy cannot be used with network.dns unless no_dns=true".to_owned());
    }
    let is_known = |label: &str| {
        label.parse::<u16>().is_ok()
            || items_of(group, "Networks")
                .flat_map(|network| items(network, "ReservedPorts"))
                .any(|port| text(port, "Label") == label)
    };
    let label = items(proxy, "ExcludeInboundPorts").filter_map(Value::as_str).find(|label| !is_known(label))?;
    Some(format!("Consul Connect transparent proxy port {label:?} must be numeric or one of network.port labels"))
}

/// The first thing wrong with the checks of a group that are exposed.
pub fn expose_problem(group: &Map<String, Value>) -> Option<String> {
    let name = text_of(group, "Name");
    let exposed = |service: &Value| items(service, "Checks").any(|check| flag(check, "Expose"));
    if items_of(group, "Services").any(exposed)
        && let Err(problem) = network_mode(group, "connect expose check", false)
    {
        return Some(problem);
    }
    let of_check = |service: &Value| {
        let check = items(service, "Checks").find(|check| flag(check, "Expose"))?;
        Some(format!("{}->{}", text(service, "Name"), text(check, "Name")))
    };
    let of_group = items_of(group, "Services")
        .filter(|service| !service["Connect"]["SidecarService"].is_object())
        .find_map(of_check)
        .map(|check| format!("exposed service check {name}->{check} requires use of sidecar_proxy"));
    of_group.or_else(|| {
        items_of(group, "Tasks").find_map(|task| {
            let check = items(task, "Services").find_map(of_check)?;
            let task = text(task, "Name");
            Some(format!("exposed service check {name}[{task}]->{check} is not a task-group service"))
        })
    })
}

/// What is wrong with a `connect` block by itself.
pub fn block_problem(connect: &Value) -> Option<String> {
    let is_sidecar = connect["SidecarService"].is_object();
    let transparent = &connect["SidecarService"]["Proxy"]["TransparentProxy"];
    if is_sidecar && transparent.is_object() {
        let problems = transparent_block(transparent);
        match problems.as_slice() {
            [] => {}
            [only] => return Some(only.clone()),
            several => return Some(multierror(several)),
        }
    }
    let kinds = [is_sidecar, flag(connect, "Native"), connect["Gateway"].is_object()];
    if kinds.iter().filter(|kind| **kind).count() != 1 {
        let text = "Consul Connect must be exclusively native, make use of a sidecar, or represent a Gateway";
        return Some(text.to_owned());
    }
    if connect["Gateway"].is_object() { super::gateway::problem(&connect["Gateway"]) } else { None }
}

fn transparent_block(proxy: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for cidr in items(proxy, "ExcludeOutboundCIDRs").filter_map(Value::as_str) {
        if let Some(reason) = bad_prefix(cidr) {
            problems.push(format!(
                "could not parse transparent proxy excluded outbound CIDR as network prefix: netip.ParsePrefix({cidr:?}): {reason}"
            ));
        }
    }
    let bad_user = |user: &str| {
        let is_number = !user.is_empty() && user.chars().all(|c| c.is_ascii_digit());
        let reason = if is_number { "value out of range" } else { "invalid syntax" };
        user.parse::<u16>().is_err().then(|| format!("invalid user ID {user:?}: {reason}"))
    };
    let user = text(proxy, "UID");
    if let Some(reason) = bad_user(user).filter(|_| !user.is_empty()) {
        problems.push(format!("transparent proxy block has invalid UID field: {reason}"));
    }
    for user in items(proxy, "ExcludeUIDs").filter_map(Value::as_str) {
        if let Some(reason) = bad_user(user) {
            problems.push(format!("transparent proxy block has invalid ExcludeUIDs field: {reason}"));
        }
    }
    problems
}

fn bad_prefix(cidr: &str) -> Option<String> {
    let Some((address, bits)) = cidr.rsplit_once('/') else { return Some("no '/'".to_owned()) };
    let Ok(address) = address.parse::<std::net::IpAddr>() else {
        return Some(format!("ParseAddr({address:?}): unable to parse IP"));
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let is_plain = bits == "0" || (!bits.starts_with('0') && bits.chars().all(|c| c.is_ascii_digit()));
    match bits.parse::<u32>() {
        Ok(bits) if is_plain && bits <= most => None,
        Ok(_) if is_plain => Some("prefix length out of range".to_owned()),
        _ => Some(format!("bad bits after slash: {bits:?}")),
    }
}

/// A task that stands before a service must have that service in its group.
pub fn proxy_problems(task: &Map<String, Value>, group: &Map<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    let Some(wanted) = text_of(task, "Kind").strip_prefix("connect-proxy:") else { return problems };
    if items_of(task, "Services").next().is_some() {
        problems.push("Connect proxy task must not have a service block".to_owned());
    }
    if task["Leader"] == true {
        problems.push("Connect proxy task must not have leader set".to_owned());
    }
    let names: Vec<&str> = items_of(group, "Services")
        .filter(|service| service["Connect"]["SidecarService"].is_object())
        .map(|service| text(service, "Name"))
        .collect();
    if names.is_empty() {
        problems.push(format!("No Connect services in task group with Connect proxy ({wanted:?})"));
    } else if !names.contains(&wanted) {
        let names = names.join(" ");
        problems.push(format!(
            "Connect proxy service name ({wanted:?}) not found in Connect services from task group: [{names}]"
        ));
    }
    problems
}
