//! Checks of a group.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{constraint, int, int_of, items_of, network, policy, service, task, text, text_of, volume};
use crate::multierror::nested;

/// Names, delays and counts over all groups of a job, looked at in their order.
#[derive(Default)]
pub struct Names {
    /// How many groups there were.
    pub count: usize,
    /// What is wrong with them.
    pub problems: Vec<String>,
    places: BTreeMap<String, usize>,
}

impl Names {
    /// Looks at the next group.
    pub fn look_at(&mut self, group: &Value, kind: &str) {
        self.count += 1;
        let place = self.count;
        let (name, count) = (text(group, "Name"), int(group, "Count"));
        match self.places.get(name) {
            _ if name.is_empty() => self.problems.push(format!("Job task group {place} missing name")),
            Some(first) => {
                self.problems.push(format!("Job task group {place} redefines '{name}' from group {first}"));
            }
            None => {
                self.places.insert(name.to_owned(), place);
            }
        }
        if int(group, "ShutdownDelay") < 0 {
            self.problems.push("ShutdownDelay must be a positive value".to_owned());
        }
        if kind == "system" && count > 1 {
            self.problems
                .push(format!("Job task group {name} has count {count}. Count cannot exceed 1 with system scheduler"));
        }
    }
}

/// Everything that is wrong with one group.
pub fn problems(group: &Map<String, Value>, kind: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let name = text_of(group, "Name");
    let tasks: Vec<&Map<String, Value>> = items_of(group, "Tasks").filter_map(Value::as_object).collect();
    if name.is_empty() {
        problems.push("Missing task group name".to_owned());
    } else if name.contains('\0') {
        problems.push("Task group name contains null character".to_owned());
    }
    if int_of(group, "Count") < 0 {
        problems.push("Task group count can't be negative".to_owned());
    }
    if tasks.is_empty() {
        problems.push("Missing tasks for task group".to_owned());
    }
    if group["Disconnect"].is_object() {
        problems.extend(policy::disconnect(&group["Disconnect"], kind));
    }
    max_run_duration(group, kind, &mut problems);
    constraint::constraints(group, &mut problems);
    constraint::affinities(group, kind, &mut problems);
    problems.extend(policy::restart(&group["RestartPolicy"]));
    constraint::spreads(group, kind, &mut problems);
    policies(group, kind, &mut problems);
    task_names(name, &tasks, &mut problems);
    volume::requests(group, kind, &mut problems);
    nested(&mut problems, "Task group network validation failed: ", network::problems(group));
    nested(&mut problems, "Task group service validation failed: ", service::of_group(group));
    nested(&mut problems, "Task group service check validation failed: ", service::script_checks(group));
    if let Some(scaling @ Value::Object(_)) = group.get("Scaling") {
        let inner = policy::scaling(scaling, int_of(group, "Count"));
        nested(&mut problems, "Task group scaling policy validation failed: ", inner);
    }
    for task in &tasks {
        let name = text_of(task, "Name");
        let heading = format_args!("Task {name} validation failed: ");
        nested(&mut problems, heading, task::problems(task, group, kind));
    }
    problems
}

fn max_run_duration(group: &Map<String, Value>, kind: &str, problems: &mut Vec<String>) {
    let Some(longest) = group["MaxRunDuration"].as_i64() else { return };
    if longest <= 0 {
        problems.push("MaxRunDuration must be greater than zero".to_owned());
    }
    if !matches!(kind, "batch" | "sysbatch") {
        problems.push(format!("Job type {kind:?} does not allow max_run_duration"));
    }
}

fn policies(group: &Map<String, Value>, kind: &str, problems: &mut Vec<String>) {
    if group["ReschedulePolicy"].is_object() {
        problems.extend(policy::reschedule(&group["ReschedulePolicy"], kind));
    }
    let size = int(&group["EphemeralDisk"], "SizeMB");
    if size < 10 {
        problems.push(format!("minimum DiskMB value is 10; got {size}"));
    }
    if group["Update"].is_object() {
        if !matches!(kind, "service" | "system") {
            problems.push(format!("Job type {kind:?} does not allow update block"));
        }
        problems.extend(policy::update(&group["Update"]));
    }
    if group["Migrate"].is_object() {
        match kind {
            "service" => problems.extend(policy::migrate(&group["Migrate"])),
            _ => problems.push(format!("Job type {kind:?} does not allow migrate block")),
        }
    }
}

fn task_names(group: &str, tasks: &[&Map<String, Value>], problems: &mut Vec<String>) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, task) in tasks.iter().enumerate() {
        let name = text_of(task, "Name");
        match seen.get(name) {
            _ if name.is_empty() => problems.push(format!("Task {} missing name", place + 1)),
            Some(first) => problems.push(format!("Task {} redefines '{name}' from task {}", place + 1, first + 1)),
            None => {
                seen.insert(name, place);
            }
        }
    }
    if tasks.iter().filter(|task| task["Leader"] == true).count() > 1 {
        problems.push("Only one task may be marked as leader".to_owned());
    }
    if !tasks.is_empty() && tasks.iter().all(|task| task["Lifecycle"].is_object()) {
        problems.push(format!("Task group {group} must have at least one main task"));
    }
}
