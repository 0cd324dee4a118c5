//! Connect gateways: the first thing wrong with one.

use serde_json::Value;

use super::{int, items, text};

/// What is wrong with a `gateway` block.
pub fn problem(gateway: &Value) -> Option<String> {
    let found = proxy(&gateway["Proxy"])
        .or_else(|| ingress(&gateway["Ingress"]))
        .or_else(|| terminating(&gateway["Terminating"]));
    let kinds = ["Ingress", "Terminating", "Mesh"].iter().filter(|kind| gateway[**kind].is_object()).count();
    found.or_else(|| (kinds != 1).then(|| "One Consul Gateway Configuration must be set".to_owned()))
}

fn proxy(proxy: &Value) -> Option<String> {
    if !proxy.is_object() {
        return None;
    }
    if !matches!(text(proxy, "EnvoyDNSDiscoveryType"), "" | "STRICT_DNS" | "LOGICAL_DNS") {
        return Some("Consul Gateway Proxy Envoy DNS Discovery type must be STRICT_DNS or LOGICAL_DNS".to_owned());
    }
    proxy["EnvoyGatewayBindAddresses"].as_object().into_iter().flatten().find_map(|(_, bind)| {
        let port = int(bind, "Port");
        if text(bind, "Address").is_empty() {
            return Some("Consul Gateway Bind Address must be set".to_owned());
        }
        // -1 is chosen later.
        (port <= 0 && port != -1).then(|| "Consul Gateway Bind Address must set valid Port".to_owned())
    })
}

fn ingress(ingress: &Value) -> Option<String> {
    if !ingress.is_object() {
        return None;
    }
    if items(ingress, "Listeners").next().is_none() {
        return Some("Consul Ingress Gateway requires at least one listener".to_owned());
    }
    items(ingress, "Listeners").find_map(listener)
}

fn listener(listener: &Value) -> Option<String> {
    let protocol = text(listener, "Protocol");
    if int(listener, "Port") <= 0 {
        return Some("Consul Ingress Listener requires valid Port".to_owned());
    }
    if !matches!(protocol, "tcp" | "http" | "http2" | "grpc") {
        return Some(format!("Consul Ingress Listener requires protocol of tcp, http, http2, grpc, got {protocol:?}"));
    }
    if items(listener, "Services").next().is_none() {
        return Some("Consul Ingress Listener requires one or more services".to_owned());
    }
    let of_service = |service: &Value| {
        let has_hosts = items(service, "Hosts").next().is_some();
        match (text(service, "Name"), protocol) {
            ("", _) => Some("Consul Ingress Service requires a name"),
            ("*", "tcp") => Some(r#"Consul Ingress Service doesn't support wildcard name for "tcp" protocol"#),
            (_, "tcp") if has_hosts => {
                Some(r#"Consul Ingress Service doesn't support associating hosts to a service for the "tcp" protocol"#)
            }
            ("*", _) if has_hosts => {
                Some(r#"Consul Ingress Service with a wildcard "*" service name can not also specify hosts"#)
            }
            _ => None,
        }
    };
    items(listener, "Services").find_map(of_service).map(str::to_owned)
}

fn terminating(terminating: &Value) -> Option<String> {
    if !terminating.is_object() {
        return None;
    }
    if items(terminating, "Services").next().is_none() {
        return Some("Consul Terminating Gateway requires at least one service".to_owned());
    }
    let of_service = |service: &Value| {
        let is_set = |key: &str| !text(service, key).is_empty();
        let (ca, cert, key) = (is_set("CAFile"), is_set("CertFile"), is_set("KeyFile"));
        if !is_set("Name") {
            Some("Consul Linked Service requires Name")
        } else if (cert || key) && !ca {
            Some("Consul Linked Service TLS requires CAFile")
        } else if cert != key {
            Some("Consul Linked Service TLS Cert and Key must both be set")
        } else if is_set("SNI") && !ca {
            Some("Consul Linked Service TLS SNI requires CAFile")
        } else {
            None
        }
    };
    items(terminating, "Services").find_map(of_service).map(str::to_owned)
}
