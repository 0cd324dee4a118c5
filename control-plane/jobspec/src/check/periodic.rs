//! Jobs that are templates of others: periodic and parameterized ones.

use drover_cron::{Cron, SPECS_MAX};
use serde_json::{Map, Value};

use super::{flag, items, text};
use crate::multierror::nested;

/// Both blocks of a job.
pub fn all(job: &Map<String, Value>, kind: &str, is_time_zone: &dyn Fn(&str) -> bool, problems: &mut Vec<String>) {
    let is_batch = matches!(kind, "batch" | "sysbatch");
    let periodic = &job["Periodic"];
    if periodic.is_object() && flag(periodic, "Enabled") {
        if !is_batch {
            problems.push(r#"Periodic can only be used with "batch" or "sysbatch" scheduler"#.to_owned());
        }
        nested(problems, "", periodic_problems(periodic, is_time_zone));
    }
    let parameterized = &job["ParameterizedJob"];
    if parameterized.is_object() {
        if !is_batch {
            problems.push(r#"Parameterized job can only be used with "batch" or "sysbatch" scheduler"#.to_owned());
        }
        nested(problems, "", parameterized_problems(parameterized));
    }
}

fn periodic_problems(periodic: &Value, is_time_zone: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut problems = Vec::new();
    let spec = text(periodic, "Spec");
    let specs: Vec<&str> = items(periodic, "Specs").filter_map(Value::as_str).collect();
    if !spec.is_empty() && !specs.is_empty() {
        problems.push("Only cron or crons may be used".to_owned());
    }
    if spec.is_empty() && specs.is_empty() {
        problems.push("Must specify a spec".to_owned());
    }
    let zone = text(periodic, "TimeZone");
    if !zone.is_empty() && !is_time_zone(zone) {
        problems.push(format!("Invalid time zone {zone:?}: unknown time zone {zone}"));
    }
    let kind = text(periodic, "SpecType");
    if kind != "cron" {
        problems.push(format!("Unknown periodic specification type {kind:?}"));
        return problems;
    }
    if specs.len() > SPECS_MAX {
        problems.push(format!("Too many cron specs: {}, at most {SPECS_MAX} are taken", specs.len()));
        return problems;
    }
    let one = (!spec.is_empty()).then_some(spec);
    for spec in one.into_iter().chain(specs) {
        if let Err(reason) = Cron::parse(spec) {
            problems.push(format!("Invalid cron spec {spec:?}: {reason}"));
        }
    }
    problems
}

fn parameterized_problems(parameterized: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let payload = text(parameterized, "Payload");
    if !matches!(payload, "optional" | "required" | "forbidden") {
        problems.push(format!("Unknown payload requirement: {payload:?}"));
    }
    let required: Vec<&str> = items(parameterized, "MetaRequired").filter_map(Value::as_str).collect();
    let both: Vec<&str> =
        items(parameterized, "MetaOptional").filter_map(Value::as_str).filter(|key| required.contains(key)).collect();
    if !both.is_empty() {
        problems.push(format!(
            "Required and optional meta keys should be disjoint. Following keys exist in both: [{}]",
            both.join(" ")
        ));
    }
    problems
}
