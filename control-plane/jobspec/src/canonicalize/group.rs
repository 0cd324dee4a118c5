//! Defaults of a group.

use serde_json::{Map, Value, json};

use super::settle::{default, merged, set, settle, take};
use super::{objects, service, task};
use crate::shapes::group::GROUP;

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// Fills a group of a job whose own type, policies and names are known.
pub fn fill(group: &mut Map<String, Value>, job: &Map<String, Value>) {
    let kind = job["Type"].as_str().unwrap_or_default().to_owned();
    count(group);
    scaling_target(group, job);
    policies(group, job, &kind);
    volumes(group);
    let name = group["Name"].as_str().unwrap_or_default().to_owned();
    for service in group.get_mut("Services").into_iter().flat_map(objects) {
        service::fill(service, job, &name, None);
    }
    let mut tasks = take(group, "Tasks");
    for task in objects(&mut tasks) {
        task::fill(task, group, job);
    }
    set(group, "Tasks", tasks);
    settle(group, &GROUP);
    service::close(group, job);
}

fn count(group: &mut Map<String, Value>) {
    if group["Count"].is_null() {
        let least = group["Scaling"]["Min"].as_i64();
        set(group, "Count", least.unwrap_or(1));
    }
    let count = group["Count"].clone();
    if let Some(Value::Object(scaling)) = group.get_mut("Scaling")
        && scaling["Min"].is_null()
    {
        set(scaling, "Min", count);
    }
}

fn scaling_target(group: &mut Map<String, Value>, job: &Map<String, Value>) {
    let name = group["Name"].clone();
    if let Some(Value::Object(scaling)) = group.get_mut("Scaling") {
        let target = json!({ "Namespace": job["Namespace"], "Job": job["ID"], "Group": name });
        set(scaling, "Target", target);
        default(scaling, "Type", "horizontal");
    }
}

fn policies(group: &mut Map<String, Value>, job: &Map<String, Value>, kind: &str) {
    let restart = merged(&[&group["RestartPolicy"]], restart_defaults(kind));
    set(group, "RestartPolicy", restart);
    let inherit = |key: &str, outer: &str, defaults: Value, always: bool, group: &Map<String, Value>| {
        let (inner, outer) = (&group[key], &job[outer]);
        if always || !inner.is_null() || !outer.is_null() { merged(&[inner, outer], defaults) } else { Value::Null }
    };
    let is_service = kind == "service";
    let update = inherit("Update", "Update", update_defaults(), is_service || kind == "system", group);
    // A job's block that says zero everywhere is how stored jobs of types without updates have it.
    let is_left_out = group["Update"].is_null() && job["Update"].is_object() && says_zero(&update);
    set(group, "Update", if is_left_out { Value::Null } else { update });
    let reschedules = !matches!(kind, "system" | "sysbatch");
    let reschedule = inherit("ReschedulePolicy", "Reschedule", reschedule_defaults(kind), reschedules, group);
    set(group, "ReschedulePolicy", reschedule);
    let migrate = inherit("Migrate", "Migrate", migrate_defaults(), is_service, group);
    set(group, "Migrate", migrate);
}

fn says_zero(update: &Value) -> bool {
    let is_zero = |value: &Value| *value == 0 || *value == "" || *value == false;
    update.as_object().is_some_and(|update| update.values().all(is_zero))
}

/// Restart policy while unset.
pub fn restart_defaults(kind: &str) -> Value {
    let (attempts, interval) = match kind {
        "batch" | "sysbatch" => (3, 24 * HOUR),
        _ => (2, 30 * MINUTE),
    };
    json!({
        "Attempts": attempts, "Interval": interval, "Delay": 15 * SECOND, "Mode": "fail", "RenderTemplates": false,
    })
}

fn reschedule_defaults(kind: &str) -> Value {
    match kind {
        "service" => json!({
            "Attempts": 0, "Interval": 0, "Delay": 30 * SECOND, "DelayFunction": "exponential", "MaxDelay": HOUR,
            "Unlimited": true,
        }),
        "batch" => json!({
            "Attempts": 1, "Interval": 24 * HOUR, "Delay": 5 * SECOND, "DelayFunction": "constant", "MaxDelay": 0,
            "Unlimited": false,
        }),
        _ => json!({
            "Attempts": 0, "Interval": 0, "Delay": 0, "DelayFunction": "", "MaxDelay": 0, "Unlimited": false,
        }),
    }
}

fn update_defaults() -> Value {
    json!({
        "Stagger": 30 * SECOND, "MaxParallel": 1, "HealthCheck": "checks", "MinHealthyTime": 10 * SECOND,
        "HealthyDeadline": 5 * MINUTE, "ProgressDeadline": 10 * MINUTE, "AutoRevert": false, "AutoPromote": false,
        "Canary": 0,
    })
}

fn migrate_defaults() -> Value {
    json!({
        "MaxParallel": 1, "HealthCheck": "checks", "MinHealthyTime": 10 * SECOND, "HealthyDeadline": 5 * MINUTE,
    })
}

/// A volume of an unknown type is lost without a word, as it ever was.
fn volumes(group: &mut Map<String, Value>) {
    if group["Volumes"].as_object().is_some_and(Map::is_empty) {
        set(group, "Volumes", Value::Null);
    }
    if let Some(Value::Object(volumes)) = group.get_mut("Volumes") {
        volumes.retain(|_, volume| matches!(volume["Type"].as_str(), Some("host" | "csi")));
    }
}
