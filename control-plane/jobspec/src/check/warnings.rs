//! What the owner of a good job should know all the same.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{consul, int, int_of, items, items_of, text, text_of};
use crate::multierror::nested;
use crate::surroundings::Surroundings;

/// The warnings of a job whose defaults are filled, by the places that they have in its answer.
#[derive(Default)]
pub(crate) struct Warnings {
    groups: Vec<String>,
    delays: Vec<String>,
    of_vault: Vec<String>,
    memory: Vec<String>,
    is_any_promoted: bool,
    is_any_waiting: bool,
}

impl Warnings {
    /// Looks at one group.
    pub fn look_at(&mut self, group: &Value) {
        let Some(group) = group.as_object() else { return };
        let heading = format_args!("Group {:?} has warnings: ", text_of(group, "Name"));
        nested(&mut self.groups, heading, of_group(group));
        shutdown_delays(group, &mut self.delays);
        let update = &group["Update"];
        let promotes = update["AutoPromote"] == true;
        self.is_any_promoted |= promotes;
        // Without canaries there is nothing to promote.
        self.is_any_waiting |= !promotes && int(update, "Canary") != 0;
        self.of_vault.extend(items_of(group, "Tasks").flat_map(consul::vault_warnings));
        oversubscription(group, &mut self.memory);
    }

    /// All of them, one text each, once every group was looked at.
    pub fn end(self, job: &Map<String, Value>, surroundings: &Surroundings) -> Vec<String> {
        let mut warnings = self.groups;
        warnings.extend(self.delays);
        if self.is_any_promoted && self.is_any_waiting {
            warnings.push("auto_promote must be true for all groups to enable automatic promotion".to_owned());
        }
        if !text(&job["Periodic"], "Spec").is_empty() {
            warnings.push("cron is deprecated and may be removed in a future release. Use crons instead".to_owned());
        }
        warnings.extend(self.of_vault);
        if !surroundings.has_memory_oversubscription {
            warnings.extend(self.memory);
        }
        warnings.iter_mut().for_each(|warning| warning.truncate(warning.trim_end().len()));
        warnings
    }
}

/// A service that ends before it has left the directory still gets requests.
fn shutdown_delays(group: &Map<String, Value>, warnings: &mut Vec<String>) {
    let name = text_of(group, "Name");
    let mut owners = BTreeSet::new();
    let mut is_of_group = false;
    for service in items_of(group, "Services") {
        let sidecar = &service["Connect"]["SidecarTask"];
        match text(service, "TaskName") {
            "" if sidecar.is_object() => {
                if sidecar["ShutdownDelay"].is_null() {
                    warnings.push(format!(
                        "service {:?} defines a sidecar task in Consul Connect definition, but the task has no shutdown_delay set",
                        text(service, "Name")
                    ));
                }
            }
            "" => is_of_group = true,
            owner => {
                owners.insert(owner);
            }
        }
    }
    let mut is_covered = group["ShutdownDelay"].as_i64().is_some_and(|delay| delay > 0);
    for task in items_of(group, "Tasks") {
        let (owner, delay) = (text(task, "Name"), int(task, "ShutdownDelay"));
        if owners.contains(owner) && delay == 0 {
            warnings.push(format!(
                "group {name:?} references task {owner:?} in a service definition, but the task has no shutdown_delay set"
            ));
        }
        if delay > 0 {
            is_covered = true;
        } else if items(task, "Services").next().is_some() {
            warnings.push(format!("task {owner:?} in group {name:?} defines services, but has no shutdown_delay set"));
        }
    }
    if is_of_group && !is_covered {
        warnings.push(format!(
            "group {name:?} defines services, but neither the group nor any of its tasks have shutdown_delay set"
        ));
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
    if items_of(group, "Networks").next().is_some_and(|network| int(network, "MBits") > 0) {
        warnings.push(
            "mbits has been deprecated as of Nomad 0.12.0. Please remove mbits from the network block".to_owned(),
        );
    }
    items_of(group, "Services").for_each(|service| of_service(service, &mut warnings));
    for task in items_of(group, "Tasks") {
        nested(&mut warnings, format_args!("Task {:?} has warnings: ", text(task, "Name")), of_task(task));
    }
    warnings
}

fn of_service(service: &Value, warnings: &mut Vec<String>) {
    let name = text(service, "Name");
    if service["Identity"].is_object() {
        let prefixed = |warning| format!("Service {name:?}: {warning}");
        warnings.extend(of_identity(&service["Identity"]).into_iter().map(prefixed));
    }
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
    items(task, "Services").for_each(|service| of_service(service, &mut warnings));
    for identity in items(task, "Identities") {
        let prefixed = |warning| format!("Identity[{}] {warning}", text(identity, "Name"));
        nested(&mut warnings, "", of_identity(identity).into_iter().map(prefixed).collect());
    }
    warnings
}

fn of_identity(identity: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    match items(identity, "Audience").count() {
        0 => warnings.push("identities without an audience are insecure".to_owned()),
        1 => {}
        _ => warnings
            .push("while multiple audiences is allowed, it is more secure to use 1 audience per identity".to_owned()),
    }
    if !matches!(text(identity, "Name"), "" | "default") && int(identity, "TTL") == 0 {
        warnings.push("identities without an expiration are insecure".to_owned());
    }
    if identity["Env"] == true && text(identity, "ChangeMode") != "restart" {
        warnings.push(
            "using env=true without change_mode=\"restart\" may result in task not getting updated identity".to_owned(),
        );
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
