//! Jobs that are templates of others: periodic and parameterized ones.

use serde_json::{Map, Value};

use super::{flag, items, text};
use crate::multierror::nested;

/// Both blocks of a job.
pub fn all(job: &Map<String, Value>, kind: &str, problems: &mut Vec<String>) {
    let is_batch = matches!(kind, "batch" | "sysbatch");
    let periodic = &job["Periodic"];
    if periodic.is_object() && flag(periodic, "Enabled") {
        if !is_batch {
            problems.push(r#"Periodic can only be used with "batch" or "sysbatch" scheduler"#.to_owned());
        }
        nested(problems, "", periodic_problems(periodic));
    }
    let parameterized = &job["ParameterizedJob"];
    if parameterized.is_object() {
        if !is_batch {
            problems.push(r#"Parameterized job can only be used with "batch" or "sysbatch" scheduler"#.to_owned());
        }
        nested(problems, "", parameterized_problems(parameterized));
    }
}

fn periodic_problems(periodic: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let spec = text(periodic, "Spec");
    let specs: Vec<&str> = items(periodic, "Specs").filter_map(Value::as_str).collect();
    if !spec.is_empty() && !specs.is_empty() {
        problems.push("Only cron or crons may be used".to_owned());
        return problems;
    }
    if spec.is_empty() && specs.is_empty() {
        problems.push("Must specify a spec".to_owned());
    }
    let one = (!spec.is_empty()).then_some(spec);
    for spec in one.into_iter().chain(specs) {
        if let Some(reason) = cron_problem(spec) {
            problems.push(format!("Invalid cron spec {spec:?}: {reason}"));
        }
    }
    problems
}

/// What is plainly wrong with a cron line: too few fields, or a number outside its field's range.
fn cron_problem(spec: &str) -> Option<String> {
    const MACROS: [&str; 7] = ["@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@annually", "@midnight"];
    const FIELDS: [(&str, u32, u32); 7] = [
        ("second", 0, 59),
        ("minute", 0, 59),
        ("hour", 0, 23),
        ("day-of-month", 1, 31),
        ("month", 1, 12),
        ("day-of-week", 0, 7),
        ("year", 1970, 2099),
    ];
    if MACROS.contains(&spec) {
        return None;
    }
    let parts: Vec<&str> = spec.split_whitespace().collect();
    if parts.len() < 5 {
        return Some("missing field(s)".to_owned());
    }
    let known = if parts.len() >= 7 { &FIELDS[..] } else { &FIELDS[1..] };
    parts.iter().zip(known).find_map(|(part, (name, min, max))| {
        let wrong = part.split(',').find(|entry| {
            let number = entry.parse::<u32>();
            number.is_ok_and(|number| !(*min..=*max).contains(&number))
        })?;
        Some(format!("syntax error in {name} field: '{wrong}'"))
    })
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
