//! Workload identities and secrets of a task.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{flag, int, items, items_of, text};
use crate::multierror::nested;

/// The default identity and the named ones.
pub fn identities(task: &Map<String, Value>, problems: &mut Vec<String>) {
    let heading = |name: &str| format!("Identity {name:?} is invalid: ");
    if let Some(identity @ Value::Object(_)) = task.get("Identity") {
        nested(problems, heading(text(identity, "Name")), identity_problems(identity));
    }
    for identity in items_of(task, "Identities") {
        let name = text(identity, "Name");
        if name == "default" {
            problems.push("Duplicate default identities found".to_owned());
        }
        nested(problems, heading(name), identity_problems(identity));
    }
}

fn is_name(name: &str, also: &str) -> bool {
    (1..=128).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

fn identity_problems(identity: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let name = text(identity, "Name");
    if !is_name(name, "-_") {
        problems.push(format!("invalid name {name:?}. Must match regex ^[a-zA-Z0-9-_]{{1,128}}$"));
    }
    for (place, audience) in items(identity, "Audience").enumerate() {
        if audience == "" {
            problems.push(format!("an empty string is an invalid audience ({})", place + 1));
        }
    }
    let (mode, signal) = (text(identity, "ChangeMode"), text(identity, "ChangeSignal"));
    match (mode, signal) {
        ("signal", "") => {
            problems.push("change_signal must be specified when using change_mode=\"signal\"".to_owned());
        }
        ("" | "noop" | "restart", "") | ("signal", _) => {}
        ("" | "noop" | "restart", _) => {
            problems.push(format!("can only use change_signal={signal:?} with change_mode=\"signal\""));
        }
        _ => problems.push(format!("invalid change_mode: {mode}")),
    }
    let ttl = int(identity, "TTL");
    if ttl > 0 && matches!(name, "" | "default") {
        problems.push("ttl for default identity not yet supported".to_owned());
    }
    if ttl < 0 {
        problems.push("ttl must be >= 0".to_owned());
    }
    if !flag(identity, "File") && !text(identity, "Filepath").is_empty() {
        problems.push("file parameter must be true in order to specify filepath".to_owned());
    }
    problems
}

/// Secrets, whose names must differ.
pub fn secrets(task: &Map<String, Value>, problems: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for secret in items_of(task, "Secrets") {
        let (name, provider) = (text(secret, "Name"), text(secret, "Provider"));
        if !seen.insert(name) {
            problems.push(format!("Duplicate secret {name:?} found"));
        }
        if provider == "vault" && !task["Vault"].is_object() {
            problems.push(format!("Secret {name:?} has provider \"vault\" but no vault block"));
        }
        nested(problems, format!("Secret {name:?} is invalid: "), secret_problems(secret));
    }
}

fn secret_problems(secret: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let (name, provider) = (text(secret, "Name"), text(secret, "Provider"));
    let has = |key: &str| secret[key].as_object().is_some_and(|map| !map.is_empty());
    if name.is_empty() {
        problems.push("secret name cannot be empty".to_owned());
    }
    if !is_name(name, "_") {
        problems.push("secret name must match regex ^[a-zA-Z0-9_]{1,128}$".to_owned());
    }
    if provider.is_empty() {
        problems.push("secret provider cannot be empty".to_owned());
    }
    if text(secret, "Path").is_empty() {
        problems.push("secret path cannot be empty".to_owned());
    }
    match provider {
        "nomad" | "vault" if has("Env") => problems.push(format!("{provider} provider cannot use the env block")),
        "nomad" | "vault" => {}
        plugin if has("Config") => {
            problems.push(format!("custom plugin provider {plugin} cannot use the config block"));
        }
        _ => {}
    }
    problems
}
