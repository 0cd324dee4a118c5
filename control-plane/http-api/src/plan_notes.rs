//! Notes on a difference: what a plan would do with each group, and which changes make it do so.

use drover_model::job::Job;
use drover_model::plan::{DesiredUpdates, PlanAnnotations};
use drover_scheduler::change::tasks_differ;
use serde_json::{Map, Value, json};

const CREATE: &str = "forces create";
const DESTROY: &str = "forces destroy";
const REPLACE: &str = "forces create/destroy update";
const IN_PLACE: &str = "forces in-place update";

/// Adds the notes to the difference between `old` and `new`.
pub fn add(diff: &mut Value, old: Option<&Job>, new: &Job, annotations: Option<&PlanAnnotations>) {
    for group in list(diff, "TaskGroups") {
        let name = group["Name"].as_str().unwrap_or_default().to_owned();
        let updates = annotations.and_then(|annotations| annotations.desired_group_updates.get(&name));
        group["Updates"] = updates.map_or(Value::Null, counts);
        let kind = group["Type"].as_str().unwrap_or_default().to_owned();
        for field in list(group, "Fields").filter(|field| field["Name"] == "Count") {
            if let Some(note) = count_note(field) {
                field["Annotations"] = json!([note]);
            }
        }
        for task in list(group, "Tasks").filter(|task| task["Type"] != "None") {
            let note = match kind.as_str() {
                "Added" => CREATE,
                "Deleted" => DESTROY,
                _ if replaces(old, new, &name, task["Name"].as_str().unwrap_or_default()) => REPLACE,
                _ => IN_PLACE,
            };
            task["Annotations"] = json!([note]);
        }
    }
}

fn list<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// How many allocs of a group are to be what, by the words of people; null when nothing is done.
fn counts(updates: &DesiredUpdates) -> Value {
    let counts = [
        ("ignore", updates.ignore),
        ("create", updates.place),
        ("migrate", updates.migrate),
        ("destroy", updates.stop),
        ("in-place update", updates.in_place_update),
        ("create/destroy update", updates.destructive_update),
        ("canary", updates.canary),
        ("preemption", updates.preemptions),
    ];
    let counts: Map<_, _> =
        counts.into_iter().filter(|(_, count)| *count > 0).map(|(word, count)| (word.to_owned(), count.into())).collect();
    if counts.is_empty() { Value::Null } else { Value::Object(counts) }
}

fn count_note(field: &Value) -> Option<&'static str> {
    let number = |key: &str| field[key].as_str().unwrap_or_default().parse::<i64>().unwrap_or(0);
    match field["Type"].as_str() {
        Some("Added") => Some(CREATE),
        Some("Deleted") => Some(DESTROY),
        Some("Edited") if number("Old") < number("New") => Some(CREATE),
        Some("Edited") => Some(DESTROY),
        _ => None,
    }
}

/// The change of this one task makes the scheduler replace allocs: found by asking it about that change alone.
fn replaces(old: Option<&Job>, new: &Job, group: &str, task: &str) -> bool {
    let Some(old) = old else { return true };
    let mut changed = old.clone();
    let Some(in_group) = changed.task_groups.iter_mut().find(|found| found.name == group) else { return true };
    let wanted = new.group(group).and_then(|group| group.task(task));
    match (in_group.tasks.iter_mut().find(|found| found.name == task), wanted) {
        (Some(slot), Some(wanted)) => wanted.clone_into(slot),
        // A task that comes or goes is not a change of a task.
        (None, _) | (_, None) => return true,
    }
    tasks_differ(old, &changed, group)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use drover_model::group::Group;
    use drover_model::task::Task;

    use super::*;

    fn job(change: impl Fn(&mut Task)) -> Job {
        let mut task = Task { name: "t".into(), driver: "exec".into(), ..Task::default() };
        change(&mut task);
        let group = Group { name: "g".into(), count: 2, tasks: vec![task], ..Group::default() };
        Job { id: "web".into(), task_groups: vec![group], ..Job::default() }
    }

    fn diff(group: &str, task: &str, count: Value) -> Value {
        json!({ "TaskGroups": [{ "Name": "g", "Type": group, "Updates": null, "Fields": [count],
            "Tasks": [{ "Name": "t", "Type": task, "Annotations": null }] }] })
    }

    fn count(kind: &str, old: &str, new: &str) -> Value {
        json!({ "Name": "Count", "Type": kind, "Old": old, "New": new, "Annotations": null })
    }

    #[test]
    fn tasks_are_noted_by_what_the_scheduler_does() {
        let check = |new: &Job, group: &str, task: &str, expected: Value| {
            let mut diff = diff(group, task, json!({ "Name": "x" }));
            add(&mut diff, Some(&job(|_| {})), new, None);
            assert_eq!(diff["TaskGroups"][0]["Tasks"][0]["Annotations"], expected);
        };
        check(&job(|t| t.driver = "raw_exec".into()), "Edited", "Edited", json!([REPLACE]));
        check(&job(|t| t.kill_timeout = Duration::from_secs(9)), "Edited", "Edited", json!([IN_PLACE]));
        check(&job(|t| t.name = "other".into()), "Edited", "Deleted", json!([REPLACE]));
        check(&job(|_| {}), "Added", "Added", json!([CREATE]));
        check(&job(|_| {}), "Deleted", "Deleted", json!([DESTROY]));
        check(&job(|_| {}), "Edited", "None", Value::Null);
    }

    #[test]
    fn counts_are_noted_by_their_direction() {
        let check = |field: Value, expected: Option<&str>| assert_eq!(count_note(&field), expected);
        check(count("Edited", "2", "3"), Some(CREATE));
        check(count("Edited", "10", "9"), Some(DESTROY));
        check(count("Added", "", "1"), Some(CREATE));
        check(count("Deleted", "1", ""), Some(DESTROY));
        check(count("None", "1", "1"), None);
    }

    #[test]
    fn groups_carry_their_counts_in_words() {
        let updates = DesiredUpdates { ignore: 2, canary: 1, ..DesiredUpdates::default() };
        let annotations = PlanAnnotations {
            desired_group_updates: [("g".to_owned(), updates)].into(),
            ..PlanAnnotations::default()
        };
        let mut diff = diff("Edited", "None", count("None", "2", "2"));
        add(&mut diff, None, &job(|_| {}), Some(&annotations));
        assert_eq!(diff["TaskGroups"][0]["Updates"], json!({ "canary": 1, "ignore": 2 }));
    }
}
