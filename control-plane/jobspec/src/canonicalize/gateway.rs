//! What a Connect gateway adds to its group: settings of its proxy, ports, and the task that is the gateway.

use serde_json::{Map, Value, json};

use super::connect::{
    add_port, cluster, consul_attribute, consul_constraints, finish, guess_driver, name_of, proxy_task, take_tasks,
};

/// The kinds of tasks that are gateways, before the name of their service.
const KINDS: [&str; 3] = ["connect-ingress", "connect-terminating", "connect-mesh"];

/// Adds the gateway of that service to its group.
pub fn add(
    service: &mut Map<String, Value>,
    group: &mut Map<String, Value>,
    job: &Map<String, Value>,
) -> Result<(), String> {
    let name = name_of(service).to_owned();
    let mode = group["Networks"][0]["Mode"].as_str().unwrap_or_default().to_owned();
    let Some(Value::Object(gateway)) = service.get_mut("Connect").and_then(|connect| connect.get_mut("Gateway")) else {
        return Ok(());
    };
    let proxy = proxy(gateway, &mode);
    gateway.insert("Proxy".to_owned(), proxy);
    let kind = match (gateway["Mesh"].is_object(), gateway["Ingress"].is_object()) {
        (true, _) => "connect-mesh",
        (_, true) => "connect-ingress",
        _ => "connect-terminating",
    };
    let is_terminating = gateway["Terminating"].is_object();
    let has_own_tls = has_own_tls(&gateway["Ingress"]);
    let is_unset = service["PortLabel"].as_str().unwrap_or_default().is_empty();
    if is_terminating && is_unset {
        let label = format!("connect-terminating-{name}");
        add_port(group, &label);
        service.insert("PortLabel".to_owned(), json!(label));
    }
    if kind == "connect-mesh" {
        if is_unset && !is_terminating {
            return Err("service.port must be set for mesh gateway service".to_owned());
        }
        add_port(group, &format!("connect-mesh-{name}-lan"));
    }
    let mut tasks = take_tasks(group);
    let is_there = |task: &Value| KINDS.iter().any(|kind| task["Kind"] == format!("{kind}:{name}"));
    if !tasks.iter().any(is_there) {
        let image = "${meta.connect.gateway_image}";
        let mut task = proxy_task(&format!("{kind}:{name}"), &name, guess_driver(&tasks), image);
        if mode == "host" {
            task["Config"]["network_mode"] = json!("host");
        }
        let cluster = cluster(service, group);
        let mut constraints = consul_constraints(cluster.clone());
        if has_own_tls {
            let left = consul_attribute(&cluster, "version");
            constraints.push(json!({ "LTarget": left, "Operand": "semver", "RTarget": ">= 1.11.2" }));
        }
        task.insert("Constraints".to_owned(), json!(constraints));
        let mut task = Value::Object(task);
        finish(&mut task, &service["Connect"]["SidecarTask"], group, job);
        tasks.push(task);
    }
    group.insert("Tasks".to_owned(), Value::Array(tasks));
    Ok(())
}

fn has_own_tls(ingress: &Value) -> bool {
    let tls = &ingress["TLS"];
    let is_set = |key: &str| tls[key].as_str().is_some_and(|text| !text.is_empty());
    is_set("TLSMinVersion") || is_set("TLSMaxVersion") || tls["CipherSuites"].as_array().is_some_and(|s| !s.is_empty())
}

/// The proxy's settings. Where nobody chose what it binds to, a gateway in a network of its own binds to all addresses
/// there; ports of -1 are chosen later.
fn proxy(gateway: &Map<String, Value>, mode: &str) -> Value {
    let given = &gateway["Proxy"];
    let has_addresses = given["EnvoyGatewayBindAddresses"].as_object().is_some_and(|map| !map.is_empty());
    if given["EnvoyGatewayNoDefaultBind"] == true || given["EnvoyGatewayBindTaggedAddresses"] == true || has_addresses {
        return given.clone();
    }
    let text = |key: &str| given[key].as_str().unwrap_or_default();
    let timeout = given["ConnectTimeout"].as_i64().unwrap_or(5_000_000_000);
    let any = |port: i64| json!({ "Address": "0.0.0.0", "Port": port });
    let has_own_network = mode == "bridge" || mode.starts_with("cni/");
    let addresses = if !has_own_network {
        Value::Null
    } else if gateway["Ingress"].is_object() {
        let mut map = Map::new();
        for listener in gateway["Ingress"]["Listeners"].as_array().into_iter().flatten() {
            for service in listener["Services"].as_array().into_iter().flatten() {
                let name = service["Name"].as_str().unwrap_or_default();
                map.insert(name.to_owned(), any(listener["Port"].as_i64().unwrap_or_default()));
            }
        }
        Value::Object(map)
    } else if gateway["Terminating"].is_object() {
        json!({ "default": any(-1) })
    } else if gateway["Mesh"].is_object() {
        json!({ "wan": any(-1), "lan": any(-1) })
    } else {
        Value::Null
    };
    json!({
        "ConnectTimeout": timeout,
        "EnvoyGatewayBindTaggedAddresses": false,
        "EnvoyGatewayNoDefaultBind": !addresses.is_null(),
        "EnvoyGatewayBindAddresses": addresses,
        "EnvoyDNSDiscoveryType": text("EnvoyDNSDiscoveryType"),
        "Config": given["Config"],
    })
}
