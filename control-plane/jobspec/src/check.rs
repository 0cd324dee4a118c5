//! What must hold for a job to be registered. Every check adds its text and goes on, so that one answer names all.
//!
//! The texts are part of the interface: people search for them, tools match them. An unknown driver is no error here:
//! such a job is accepted and waits until a node offers the driver.

mod constraint;

mod files;

mod group;

mod identity;

mod network;

mod periodic;

mod policy;

mod service;

mod task;

pub mod warnings;

use drover_model::job::Job;
use serde_json::{Map, Value};

use crate::multierror::nested;

/// Highest priority a job may have.
pub const PRIORITY_MAX: i64 = 100;
/// Most allocs one job may ask for.
pub const COUNT_MAX: i64 = 50_000;

/// Everything that is wrong with a job whose defaults are filled.
pub(crate) fn problems(job: &Map<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    let kind = text_of(job, "Type");
    names(job, &mut problems);
    if !matches!(kind, "service" | "batch" | "system" | "sysbatch") {
        problems.push(match kind {
            "_core" => "job type cannot be core".to_owned(),
            _ => format!("Invalid job type: {kind:?}"),
        });
    }
    if items_of(job, "Datacenters").any(|datacenter| datacenter == "") {
        problems.push("Job datacenter must be non-empty string".to_owned());
    }
    let groups: Vec<&Value> = items_of(job, "TaskGroups").collect();
    if groups.is_empty() {
        problems.push("Missing job task groups".to_owned());
    }
    constraint::all(job, kind, false, &mut problems);
    group::names(&groups, kind, &mut problems);
    for group in groups.iter().filter_map(|group| group.as_object()) {
        nested(
            &mut problems,
            format!("Task group {} validation failed: ", text_of(group, "Name")),
            group::problems(group, kind),
        );
    }
    periodic::all(job, kind, &mut problems);
    limits(job, &groups, &mut problems);
    problems
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

fn limits(job: &Map<String, Value>, groups: &[&Value], problems: &mut Vec<String>) {
    if !(1..=PRIORITY_MAX).contains(&int_of(job, "Priority")) {
        problems.push(format!("job priority must be between [1, {PRIORITY_MAX}]"));
    }
    let total = groups.iter().fold(0_i64, |sum, group| sum.saturating_add(group["Count"].as_i64().unwrap_or(0)));
    if total > COUNT_MAX {
        problems.push(format!("total count was greater than configured job_max_count: {total} > {COUNT_MAX}"));
    }
    let uses_vault = groups.iter().flat_map(|group| items(group, "Tasks")).find(|task| task["Vault"].is_object());
    if let Some(task) = uses_vault {
        let cluster = task["Vault"]["Cluster"].as_str().unwrap_or("default");
        problems.push(format!("Vault {cluster:?} not enabled but used in the job"));
    }
    let description = job["UI"]["Description"].as_str().unwrap_or_default().chars().count();
    if description > 1000 {
        problems.push(format!("UI description must be under 1000 characters, currently {description}"));
    }
    if !job["Payload"].is_null() {
        problems.push("Job can't be submitted with a payload, only dispatched".to_owned());
    }
}

/// What a good job asks for that drover has no part for yet; the server refuses it with these texts.
pub fn unsupported(job: &Job) -> Vec<String> {
    let mut texts = Vec::new();
    let mut lacks = |is_asked: bool, what: &str| {
        if is_asked {
            texts.push(format!("{what} is not supported by this version of drover"));
        }
    };
    lacks(job.multiregion.is_some(), "multiregion");
    lacks(job.periodic.is_some(), "periodic");
    lacks(job.parameterized_job.is_some(), "parameterized");
    texts
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
