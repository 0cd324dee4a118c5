//! What must hold for a job to be registered. Every check adds its text and goes on, so that one answer names all.
//!
//! The texts are part of the interface: people search for them, tools match them. An unknown driver is no error here:
//! such a job is accepted and waits until a node offers the driver.

pub(crate) mod connect;

mod consul;

mod constraint;

mod files;

mod gateway;

mod group;

mod identity;

mod network;

mod periodic;

mod policy;

mod service;

mod service_check;

mod task;

mod volume;

pub mod warnings;

use serde_json::{Map, Value};

use crate::multierror::nested;
use crate::refusal::Refusal;
use crate::surroundings::Surroundings;

/// Highest priority a job may have.
pub const PRIORITY_MAX: i64 = 100;
/// Most allocs one job may ask for.
pub const COUNT_MAX: i64 = 50_000;
/// Longest description of a job, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 1000;

/// What makes a request no job at all, before anything is filled.
pub(crate) fn request(job: &Map<String, Value>) -> Result<(), Refusal> {
    if job.get("ID").is_none_or(Value::is_null) {
        return Err(Refusal::Request("Job ID hasn't been provided".to_owned()));
    }
    let is_scaled = |group: &Value| group["Scaling"].is_object();
    if text_of(job, "Type") == "system" && items_of(job, "TaskGroups").any(is_scaled) {
        let text = "Task groups with job type system do not support scaling blocks";
        return Err(Refusal::Request(text.to_owned()));
    }
    Ok(())
}

/// Everything that is wrong with a job whose defaults are filled and with its groups. The order is part of the
/// interface too.
pub(crate) fn problems(job: &Map<String, Value>, mut found: Found, surroundings: &Surroundings) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(found.connect.take());
    problems.extend(found.expose.take());
    problems.extend(consul::vault(&found.vaults, surroundings.vault_clusters));
    problems.extend(found.consul.take());
    problems.extend(unknown_places(job, surroundings));
    body(job, surroundings, &mut found, &mut problems);
    limits(job, &mut problems);
    problems.extend(found.vault_identities);
    if found.count > COUNT_MAX {
        let count = found.count;
        problems.push(format!("total count was greater than configured job_max_count: {count} > {COUNT_MAX}"));
    }
    if found.asks_for_numa {
        problems.push("numa scheduling requires Nomad Enterprise".to_owned());
    }
    if found.has_schedule {
        problems.push("task schedules requires Nomad Enterprise".to_owned());
    }
    problems
}

/// What is found in the groups, by the places that it has among the problems of the job.
#[derive(Default)]
pub(crate) struct Found {
    connect: Option<String>,
    expose: Option<String>,
    consul: Option<String>,
    vaults: Vec<Value>,
    names: group::Names,
    inside: Vec<String>,
    vault_identities: Vec<String>,
    count: i64,
    asks_for_numa: bool,
    has_schedule: bool,
}

impl Found {
    /// Checks one group, of a job of that type.
    pub fn look_at(&mut self, group: &Value, kind: &str) {
        self.names.look_at(group, kind);
        let Some(group) = group.as_object() else { return };
        // Of these a job is told the first one alone.
        self.connect = self.connect.take().or_else(|| connect::group_problem(group));
        self.expose = self.expose.take().or_else(|| connect::expose_problem(group));
        self.consul = self.consul.take().or_else(|| consul::group_problem(group));
        let name = text_of(group, "Name");
        let heading = format_args!("Task group {name} validation failed: ");
        nested(&mut self.inside, heading, group::problems(group, kind));
        self.count = self.count.saturating_add(int_of(group, "Count"));
        for task in items_of(group, "Tasks") {
            self.vaults.extend(Some(&task["Vault"]).filter(|vault| vault.is_object()).cloned());
            self.vault_identities.extend(consul::vault_identity(task));
            self.asks_for_numa |= task::asks_for_numa(task);
            self.has_schedule |= task["Schedule"].is_object();
        }
    }

    /// Whether nothing that was found so far must be told.
    pub fn is_good(&self) -> bool {
        let is_told = self.connect.is_some() || self.expose.is_some() || self.consul.is_some();
        !is_told && self.inside.is_empty() && self.names.problems.is_empty() && self.vault_identities.is_empty()
    }
}

fn unknown_places(job: &Map<String, Value>, surroundings: &Surroundings) -> Vec<String> {
    let id = text_of(job, "ID");
    let unknown = |what: &str, key: &str, known: Option<&std::collections::BTreeSet<String>>| {
        let name = text_of(job, key);
        let is_known = known.is_none_or(|known| known.contains(name));
        (!is_known).then(|| format!("job {id:?} is in nonexistent {what} {name:?}"))
    };
    let namespace = unknown("namespace", "Namespace", surroundings.namespaces);
    let pool = unknown("node pool", "NodePool", surroundings.node_pools);
    namespace.into_iter().chain(pool).collect()
}

fn body(job: &Map<String, Value>, surroundings: &Surroundings, found: &mut Found, problems: &mut Vec<String>) {
    let kind = text_of(job, "Type");
    names(job, problems);
    if !matches!(kind, "service" | "batch" | "system" | "sysbatch" | "_core") {
        problems.push(format!("Invalid job type: {kind:?}"));
    }
    for _ in items_of(job, "Datacenters").filter(|datacenter| **datacenter == "") {
        problems.push("Job datacenter must be non-empty string".to_owned());
    }
    if found.names.count == 0 {
        problems.push("Missing job task groups".to_owned());
    }
    constraint::constraints(job, problems);
    constraint::affinities(job, kind, problems);
    constraint::spreads(job, kind, problems);
    descriptions(job, problems);
    problems.append(&mut found.names.problems);
    problems.append(&mut found.inside);
    periodic::all(job, kind, surroundings.is_time_zone, problems);
    if items(&job["Multiregion"], "Regions").next().is_some() {
        problems.push("Multiregion jobs are unlicensed.".to_owned());
    }
}

fn names(job: &Map<String, Value>, problems: &mut Vec<String>) {
    let (id, name) = (text_of(job, "ID"), text_of(job, "Name"));
    if id.is_empty() {
        problems.push("Missing job ID".to_owned());
    } else if id.contains(' ') {
        problems.push("Job ID contains a space".to_owned());
    } else if id.contains('\0') {
        problems.push("Job ID contains a null character".to_owned());
    }
    if name.is_empty() {
        problems.push("Missing job name".to_owned());
    } else if name.contains('\0') {
        problems.push("Job Name contains a null character".to_owned());
    }
}

fn descriptions(job: &Map<String, Value>, problems: &mut Vec<String>) {
    for (what, key) in [("UI description", "UI"), ("Tagged version description", "VersionTag")] {
        let size = text(&job[key], "Description").len();
        if size > DESCRIPTION_BYTES_MAX {
            problems.push(format!("{what} must be under {DESCRIPTION_BYTES_MAX} characters, currently {size}"));
        }
    }
}

fn limits(job: &Map<String, Value>, problems: &mut Vec<String>) {
    if text_of(job, "Type") == "_core" {
        problems.push("job type cannot be core".to_owned());
    }
    if job["Payload"].as_str().is_some_and(|payload| !payload.is_empty()) {
        problems.push("job can't be submitted with a payload, only dispatched".to_owned());
    }
    if !(1..=PRIORITY_MAX).contains(&int_of(job, "Priority")) {
        problems.push(format!("job priority must be between [1, {PRIORITY_MAX}]"));
    }
}

/// The text under a key; empty when there is none.
fn text_of<'v>(body: &'v Map<String, Value>, key: &str) -> &'v str {
    body.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The number under a key; 0 when there is none.
fn int_of(body: &Map<String, Value>, key: &str) -> i64 {
    body.get(key).and_then(Value::as_i64).unwrap_or_default()
}

/// The list under a key; empty when there is none.
fn items_of<'v>(body: &'v Map<String, Value>, key: &str) -> impl Iterator<Item = &'v Value> {
    body.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text<'v>(body: &'v Value, key: &str) -> &'v str {
    body[key].as_str().unwrap_or_default()
}

fn int(body: &Value, key: &str) -> i64 {
    body[key].as_i64().unwrap_or_default()
}

fn flag(body: &Value, key: &str) -> bool {
    body[key].as_bool().unwrap_or_default()
}

fn items<'v>(body: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    body[key].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests;
