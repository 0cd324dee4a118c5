//! Defaults of a task.

use serde_json::{Map, Value, json};

use super::settle::{default, merged, set, take};
use super::{objects, service};

/// Fills a task of a group whose policies are settled.
pub fn fill(task: &mut Map<String, Value>, group: &Map<String, Value>, job: &Map<String, Value>) {
    // The group's policy is complete already.
    let restart = merged(&[&task["RestartPolicy"]], group["RestartPolicy"].clone());
    set(task, "RestartPolicy", restart);
    if task["KillTimeout"] == 0 {
        set(task, "KillTimeout", Value::Null);
    }
    if task["Schedule"].is_object() && task["Schedule"]["Cron"].is_null() {
        set(task, "Schedule", Value::Null);
    }
    identities(task);
    resources(task);
    task.get_mut("Templates").into_iter().flat_map(objects).for_each(template);
    task.get_mut("Artifacts").into_iter().flat_map(objects).for_each(artifact);
    if let Some(Value::Array(mounts)) = task.get_mut("VolumeMounts") {
        // A mount of nothing is lost without a word, as it ever was.
        mounts.retain(|mount| mount["Volume"].as_str().is_some_and(|volume| !volume.is_empty()));
    }
    if let Some(Value::Object(plugin)) = task.get_mut("CSIPluginConfig")
        && plugin["HealthTimeout"] == 0
    {
        plugin.insert("HealthTimeout".to_owned(), json!(30_000_000_000_i64));
    }
    let name = task["Name"].clone();
    for scaling in task.get_mut("ScalingPolicies").into_iter().flat_map(objects) {
        default(scaling, "Type", "horizontal");
        let target = json!({ "Namespace": job["Namespace"], "Job": job["ID"], "Group": group["Name"], "Task": name });
        set(scaling, "Target", target);
    }
    let name = name.as_str().unwrap_or_default();
    let group_name = group["Name"].as_str().unwrap_or_default();
    for service in task.get_mut("Services").into_iter().flat_map(objects) {
        service::fill(service, job, group_name, Some(name));
    }
}

/// Every task has a default identity for the platform's own API. One without a name, or of that name, among the others
/// is it.
fn identities(task: &mut Map<String, Value>) {
    let mut found = None;
    for (place, identity) in task.get_mut("Identities").into_iter().flat_map(objects).enumerate() {
        settle_identity(identity);
        if identity["Name"] == DEFAULT_IDENTITY {
            found = Some(place);
        }
    }
    if let (Some(place), Some(Value::Array(identities))) = (found, task.get_mut("Identities")) {
        let identity = identities.remove(place);
        set(task, "Identity", identity);
    }
    let mut identity = match take(task, "Identity") {
        Value::Object(identity) => identity,
        _ => crate::shapes::task::IDENTITY.empty(),
    };
    settle_identity(&mut identity);
    set(task, "Identity", identity);
}

const DEFAULT_IDENTITY: &str = "default";

fn settle_identity(identity: &mut Map<String, Value>) {
    default(identity, "Name", DEFAULT_IDENTITY);
    if identity["Name"] == DEFAULT_IDENTITY {
        set(identity, "Audience", json!(["nomadproject.io"]));
    }
    upper_case(identity, "ChangeSignal");
}

/// A share of MHz is the default only where whole cores were not asked for.
pub fn resources(task: &mut Map<String, Value>) {
    if task["Resources"].is_null() {
        set(task, "Resources", crate::shapes::task::RESOURCES.empty());
    }
    if let Some(Value::Object(resources)) = task.get_mut("Resources")
        && resources["CPU"].is_null()
    {
        let mhz = if resources["Cores"].is_null() { 100 } else { 0 };
        set(resources, "CPU", mhz);
    }
}

fn template(template: &mut Map<String, Value>) {
    if template["ChangeSignal"].is_null() {
        let signal = if template["ChangeMode"] == "signal" { "SIGHUP" } else { "" };
        template.insert("ChangeSignal".to_owned(), json!(signal));
    }
    upper_case(template, "ChangeSignal");
}

fn artifact(artifact: &mut Map<String, Value>) {
    let source = artifact["GetterSource"].as_str().unwrap_or_default();
    let destination = match artifact["GetterMode"].as_str() {
        Some("file") => format!("local/{}", source.rsplit('/').next().unwrap_or_default()),
        _ => "local/".to_owned(),
    };
    default(artifact, "RelativeDest", destination);
}

fn upper_case(body: &mut Map<String, Value>, key: &str) {
    if let Some(Value::String(text)) = body.get_mut(key) {
        *text = text.to_uppercase();
    }
}
