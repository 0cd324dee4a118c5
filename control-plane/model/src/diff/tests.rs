//! Recorded diffs of plans, and small jobs for what these do not show.

#![allow(clippy::disallowed_methods, reason = "tests read fixtures")]

use serde_json::{Value, json};

use super::*;
use crate::plan::PlanAnnotations;

/// Sets `TaskGroups[0].Tasks[0].Env.VER` and the like.
fn set(job: &mut Value, path: &str, value: &Value) {
    let mut place = job;
    for part in path.split('.') {
        let (key, index) = match part.split_once('[') {
            Some((key, index)) => (key, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        place = &mut place[key];
        if let Some(index) = index {
            place = &mut place[index];
        }
    }
    *place = value.clone();
}

/// The recorded scaling policies differ in their bookkeeping, which is not compared here.
fn without_scaling(diff: &mut Value) {
    let mut is_edited = diff["Fields"].is_array() || diff["Objects"].is_array();
    for group in diff["TaskGroups"].as_array_mut().unwrap() {
        if let Some(objects) = group["Objects"].as_array_mut() {
            objects.retain(|object| object["Name"] != "Scaling" || object["Fields"].is_array());
            if objects.is_empty() {
                group["Objects"] = Value::Null;
            }
        }
        let is_task_edited = group["Tasks"].as_array().unwrap().iter().any(|task| task["Type"] != "None");
        if group["Fields"].is_null() && group["Objects"].is_null() && !is_task_edited {
            group["Type"] = json!("None");
        }
        is_edited |= group["Type"] != "None";
    }
    if !is_edited {
        diff["Type"] = json!("None");
    }
}

#[test]
fn recorded_plans_have_these_diffs() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/job-diffs.json");
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let job: Job = serde_json::from_value(fixture["job"].clone()).unwrap();
    for case in fixture["cases"].as_array().unwrap() {
        let plan: PlanAnnotations = serde_json::from_value(case["plan"].clone()).unwrap();
        let mut diff = match case["changes"].as_object() {
            None => job_diff(None, Some(&job)),
            Some(changes) => {
                let mut edited = fixture["job"].clone();
                changes.iter().for_each(|(path, value)| set(&mut edited, path, value));
                let edited: Job = serde_json::from_value(edited).unwrap();
                job_diff(Some(&job), Some(&edited))
            }
        };
        annotate(&mut diff, &plan);
        let mut recorded = case["diff"].clone();
        without_scaling(&mut recorded);
        let found = serde_json::to_value(&diff).unwrap();
        assert_eq!(
            serde_json::to_string_pretty(&found).unwrap(),
            serde_json::to_string_pretty(&recorded).unwrap(),
            "{}",
            case["changes"]
        );
    }
}

/// Recorded from plans of small jobs: lists of values inside blocks, and the blocks around them.
#[test]
fn recorded_lists_have_these_diffs() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/job-diffs-lists.json");
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for case in &cases {
        let of = |key: &str| serde_json::from_value::<Job>(case[key].clone()).unwrap();
        let diff = serde_json::to_value(job_diff(Some(&of("old")), Some(&of("new")))).unwrap();
        let group = &diff["TaskGroups"][0];
        for (key, found) in [("job", &diff), ("group", group), ("task", &group["Tasks"][0])] {
            assert_eq!(
                serde_json::to_string_pretty(&found["Objects"]).unwrap(),
                serde_json::to_string_pretty(&case[key]).unwrap(),
                "{}: {key}",
                case["case"]
            );
        }
    }
}

fn job(config: Value, constraints: Value) -> Job {
    serde_json::from_value(json!({
        "ID": "j", "Name": "j",
        "TaskGroups": [{ "Name": "g", "Count": 1, "Constraints": constraints, "Tasks": [{ "Name": "t", "Config": config }] }],
    }))
    .unwrap()
}

#[test]
fn driver_settings_are_told_with_what_did_not_change() {
    let old = job(json!({ "command": "a", "args": ["x", "y"] }), json!(null));
    let new = job(json!({ "command": "a", "args": ["x", "z"], "mount": [{ "type": "bind" }] }), json!(null));
    let diff = job_diff(Some(&old), Some(&new));
    let fields: Vec<_> = diff.task_groups[0].tasks[0].objects[0]
        .fields
        .iter()
        .map(|field| (field.name.as_str(), field.kind, field.old.as_str(), field.new.as_str()))
        .collect();
    assert_eq!(
        fields,
        [
            ("args[0]", DiffType::None, "x", "x"),
            ("args[1]", DiffType::Edited, "y", "z"),
            ("command", DiffType::None, "a", "a"),
            ("mount[0][type]", DiffType::Added, "", "bind"),
        ]
    );
}

#[test]
fn nameless_blocks_are_the_same_or_not() {
    let constraint = |right: &str| json!({ "LTarget": "${attr.arch}", "RTarget": right, "Operand": "=" });
    let old = job(json!(null), json!([constraint("a"), constraint("b")]));
    let new = job(json!(null), json!([constraint("b"), constraint("c")]));
    let diff = job_diff(Some(&old), Some(&new));
    let kinds: Vec<_> = diff.task_groups[0].objects.iter().map(|object| (object.name.as_str(), object.kind)).collect();
    assert_eq!(kinds, [("Constraint", DiffType::Added), ("Constraint", DiffType::Deleted)]);
}

#[test]
fn equal_and_missing_jobs() {
    let one = job(json!({ "command": "a" }), json!(null));
    assert_eq!(job_diff(Some(&one), Some(&one)).kind, DiffType::None);
    assert_eq!(job_diff(Some(&one), None).kind, DiffType::Deleted);
    assert_eq!(job_diff(Some(&one), None).task_groups[0].tasks[0].kind, DiffType::Deleted);
    let bookkeeping = Job { version: 7, modify_index: 9, stable: true, ..one.clone() };
    assert_eq!(job_diff(Some(&one), Some(&bookkeeping)).kind, DiffType::None);
}
