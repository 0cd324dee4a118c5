//! What the owner of a good job should know all the same.

use serde_json::{Map, Value};

use super::{int, int_of, items, items_of, text, text_of};
use crate::multierror::nested;

/// All warnings of a job whose defaults are filled, one text each.
pub fn all(job: &Map<String, Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    if !text(&job["Periodic"], "Spec").is_empty() {
        warnings.push("cron is deprecated and may be removed in a future release. Use crons instead".to_owned());
    }
    let groups: Vec<&Map<String, Value>> = items_of(job, "TaskGroups").filter_map(Value::as_object).collect();
    for group in &groups {
        services(group, &mut warnings);
    }
    for group in &groups {
        nested(&mut warnings, format!("Group {:?} has warnings: ", text_of(group, "Name")), of_group(group));
    }
    let promoting = groups.iter().filter(|group| group["Update"]["AutoPromote"] == true).count();
    if promoting > 0 && promoting < groups.len() {
        warnings.push("auto_promote must be true for all groups to enable automatic promotion".to_owned());
    }
    for group in &groups {
        oversubscription(group, &mut warnings);
    }
    warnings.iter_mut().for_each(|warning| warning.truncate(warning.trim_end().len()));
    warnings
}

/// A service that ends before it has left the directory still gets requests.
fn services(group: &Map<String, Value>, warnings: &mut Vec<String>) {
    let name = text_of(group, "Name");
    let has_delay = |task: &Value| int(task, "ShutdownDelay") > 0;
    let tasks: Vec<&Value> = items_of(group, "Tasks").collect();
    for service in items_of(group, "Services") {
        let owner = text(service, "TaskName");
        if tasks.iter().any(|task| text(task, "Name") == owner && !has_delay(task)) {
            warnings.push(format!(
                "group {name:?} references task {owner:?} in a service definition, but the task has no shutdown_delay set"
            ));
        }
    }
    for task in tasks.iter().filter(|task| items(task, "Services").next().is_some() && !has_delay(task)) {
        let task = text(task, "Name");
        warnings.push(format!("task {task:?} in group {name:?} defines services, but has no shutdown_delay set"));
    }
    let is_covered = group["ShutdownDelay"].as_i64().is_some_and(|delay| delay > 0);
    if items_of(group, "Services").next().is_some() && !is_covered && !tasks.iter().any(|task| has_delay(task)) {
        let is_named = items_of(group, "Services").all(|service| !text(service, "TaskName").is_empty());
        if !is_named {
            warnings.push(format!(
                "group {name:?} defines services, but neither the group nor any of its tasks have shutdown_delay set"
            ));
        }
    }
}

fn of_group(group: &Map<String, Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    let (count, parallel) = (int_of(group, "Count"), int(&group["Update"], "MaxParallel"));
    if count > 1 && parallel > count {
        warnings.push(format!(
            "Update max parallel count is greater than task group count ({parallel} > {count}). A destructive change would result in the simultaneous replacement of all allocations."
        ));
    }
    for network in items_of(group, "Networks") {
        if int(network, "MBits") != 0 {
            warnings.push(
                "mbits has been deprecated as of Nomad 0.12.0. Please remove mbits from the network block".to_owned(),
            );
        }
    }
    for task in items_of(group, "Tasks") {
        nested(&mut warnings, format!("Task {:?} has warnings: ", text(task, "Name")), of_task(task));
    }
    warnings
}

fn of_task(task: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if int(&task["Resources"], "IOPS") != 0 {
        warnings.push("IOPS has been deprecated as of Nomad 0.9.0. Please remove IOPS from resource block.".to_owned());
    }
    if items(&task["Resources"], "Networks").next().is_some() {
        warnings.push(
            "task network resources have been deprecated as of Nomad 0.12.0. Please configure networking via group network block.".to_owned(),
        );
    }
    for (place, template) in items(task, "Templates").enumerate() {
        if int(template, "VaultGrace") != 0 {
            warnings.push(format!(
                "Template[{place}] VaultGrace has been deprecated as of Nomad 0.11 and ignored since Vault 0.5. Please remove VaultGrace / vault_grace from template block."
            ));
        }
    }
    for identity in items(task, "Identities") {
        nested(&mut warnings, "", of_identity(identity));
    }
    warnings
}

fn of_identity(identity: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let name = text(identity, "Name");
    let mut add = |what: &str| warnings.push(format!("Identity[{name}] {what}"));
    if identity["Env"] == true && text(identity, "ChangeMode") != "restart" {
        add("using env=true without change_mode=\"restart\" may result in task not getting updated identity");
    }
    match items(identity, "Audience").count() {
        0 => add("identities without an audience are insecure"),
        1 => {}
        _ => add("using multiple audiences is insecure"),
    }
    if int(identity, "TTL") == 0 {
        add("identities without an expiration are insecure");
    }
    warnings
}

fn oversubscription(group: &Map<String, Value>, warnings: &mut Vec<String>) {
    for task in items_of(group, "Tasks").filter(|task| int(&task["Resources"], "MemoryMaxMB") != 0) {
        warnings.push(format!(
            "Memory oversubscription is not enabled; Task \"{}.{}\" memory_max value will be ignored. Update the Scheduler Configuration to allow oversubscription.",
            text_of(group, "Name"),
            text(task, "Name")
        ));
    }
}
