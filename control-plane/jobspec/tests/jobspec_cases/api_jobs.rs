//! Jobs in the API's form, each one change away from a plain job: what the reference answered when it was registered,
//! and how the stored job then differs from the plain one.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{beside, register, same};

/// The plain job.
fn plain() -> Value {
    json!({
        "ID": "demo", "Name": "demo", "Type": "service",
        "TaskGroups": [{
            "Name": "g", "Count": 1,
            "Tasks": [{ "Name": "t", "Driver": "raw_exec", "Config": { "command": "/bin/true" } }],
        }],
    })
}

/// Sets what a path such as `TaskGroups.0.Count` names.
fn set(job: &mut Value, path: &str, value: Value) {
    let place = path.split('.').fold(job, |place, key| match key.parse::<usize>() {
        Ok(number) => &mut place[number],
        Err(_) => &mut place[key],
    });
    *place = value;
}

/// Every place where `new` differs from `old`, with what stands there.
fn differences(path: &str, old: &Value, new: &Value, out: &mut BTreeMap<String, Value>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => differences(&below(key), old, new, out),
                    (_, Some(new)) => drop(out.insert(below(key), new.clone())),
                    (_, None) => drop(out.insert(below(key), json!("(absent)"))),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (place, (old, new)) in old.iter().zip(new).enumerate() {
                differences(&below(&place.to_string()), old, new, out);
            }
        }
        (old, new) if same(old, new) => {}
        (_, new) => drop(out.insert(path.to_owned(), new.clone())),
    }
}

fn stored(job: Value) -> Result<(Value, String), (u16, String)> {
    let job = drover_jobspec::json::from_value(&job).map_err(|error| (400, error.to_string()))?;
    let canonical = register(job).map_err(|refusal| {
        let status = if matches!(refusal, drover_jobspec::Refusal::Request(_)) { 400 } else { 500 };
        (status, refusal.to_string())
    })?;
    let mut job = serde_json::to_value(&canonical.job).unwrap();
    // The fixtures have it emptied.
    job["Status"] = "".into();
    Ok((job, drover_jobspec::warnings_text(&canonical.warnings)))
}

/// What is wrong with our answer to a case.
fn fault(case: &Value, plain_stored: &Value) -> Option<String> {
    let mut job = plain();
    for (path, value) in case["set"].as_object().unwrap() {
        set(&mut job, path, value.clone());
    }
    let text = case["text"].as_str().unwrap_or_default();
    match (case["status"].as_u64().unwrap(), stored(job)) {
        (200, Ok((job, warnings))) => {
            let mut found = BTreeMap::new();
            differences("", plain_stored, &job, &mut found);
            let found = json!(found);
            let is_plain = case["set"].as_object().unwrap().is_empty();
            if !is_plain && !same(&found, &case["stored"]) {
                return Some(format!("stored {found}\ninstead of {}", case["stored"]));
            }
            (warnings.trim_end() != text).then(|| format!("warned {warnings}\ninstead of {text}"))
        }
        (200, Err((status, found))) => Some(format!("refused with {status} {found}")),
        (_, Ok(_)) => Some(format!("taken, instead of {text}")),
        (expected, Err((status, found))) => (u64::from(status) != expected || found.trim_end() != text)
            .then(|| format!("refused with {status} {found}\ninstead of {expected} {text}")),
    }
}

#[test]
fn api_jobs_are_answered_as_recorded() {
    let table = beside("api-jobs", "jsonl").unwrap();
    let cases: Vec<Value> = table.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (plain_stored, _) = stored(plain()).unwrap();
    assert_eq!(plain_stored, cases[0]["stored"][""], "the plain job");
    let faults: Vec<String> = cases
        .iter()
        .filter_map(|case| fault(case, &plain_stored).map(|fault| format!("{}: {fault}", case["name"])))
        .collect();
    println!("{} of {} jobs as recorded", cases.len() - faults.len(), cases.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(cases.len() >= 937, "the table lost cases");
}
