//! What changed between two versions of a job, for `job plan` and `job history`.
//!
//! The comparison walks the serialized jobs, so a new field shows up by itself. A few tables say what the walk can't
//! see: which keys are drover's own bookkeeping, which objects are maps, and what an entry of a list is called.

mod walk;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::job::Job;
use crate::plan::{DesiredUpdates, PlanAnnotations};
use crate::wire::nullable;

/// How two versions of a thing stand to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DiffType {
    /// Equal.
    #[default]
    None,
    /// Only the new one is there.
    Added,
    /// Only the old one is there.
    Deleted,
    /// Both are there and differ.
    Edited,
}

/// One value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct FieldDiff {
    /// How it changed.
    #[serde(rename = "Type")]
    pub kind: DiffType,
    /// Its name; `Meta[owner]` for an entry of a map.
    pub name: String,
    /// The old value as text.
    pub old: String,
    /// The new value as text.
    pub new: String,
    /// What the change leads to.
    #[serde(with = "nullable")]
    pub annotations: Vec<String>,
}

/// One block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ObjectDiff {
    /// How it changed.
    #[serde(rename = "Type")]
    pub kind: DiffType,
    /// What it is called.
    pub name: String,
    /// Its values, the unchanged ones too.
    #[serde(with = "nullable")]
    pub fields: Vec<FieldDiff>,
    /// Blocks in it that changed.
    #[serde(with = "nullable")]
    pub objects: Vec<ObjectDiff>,
}

/// One task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskDiff {
    /// How it changed.
    #[serde(rename = "Type")]
    pub kind: DiffType,
    /// Its name.
    pub name: String,
    /// Values that changed.
    #[serde(with = "nullable")]
    pub fields: Vec<FieldDiff>,
    /// Blocks that changed.
    #[serde(with = "nullable")]
    pub objects: Vec<ObjectDiff>,
    /// What the change leads to.
    #[serde(with = "nullable")]
    pub annotations: Vec<String>,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GroupDiff {
    /// How it changed.
    #[serde(rename = "Type")]
    pub kind: DiffType,
    /// Its name.
    pub name: String,
    /// Values that changed.
    #[serde(with = "nullable")]
    pub fields: Vec<FieldDiff>,
    /// Blocks that changed.
    #[serde(with = "nullable")]
    pub objects: Vec<ObjectDiff>,
    /// Its tasks, by name, the unchanged ones too.
    #[serde(with = "nullable")]
    pub tasks: Vec<TaskDiff>,
    /// How many allocs are created, updated, left alone …, filled by whoever planned.
    #[serde(with = "nullable")]
    pub updates: BTreeMap<String, u64>,
}

/// A whole job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JobDiff {
    /// How it changed.
    #[serde(rename = "Type")]
    pub kind: DiffType,
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Values that changed.
    #[serde(with = "nullable")]
    pub fields: Vec<FieldDiff>,
    /// Blocks that changed.
    #[serde(with = "nullable")]
    pub objects: Vec<ObjectDiff>,
    /// Its groups, by name, the unchanged ones too.
    #[serde(with = "nullable")]
    pub task_groups: Vec<GroupDiff>,
}

/// Keys of a job that are no request of its owner, or that its groups show.
const JOB_SKIPPED: &[&str] = &[
    "ID",
    "Status",
    "StatusDescription",
    "Stable",
    "Version",
    "SubmitTime",
    "CreateIndex",
    "ModifyIndex",
    "JobModifyIndex",
    "VersionTag",
    "Update",
    "TaskGroups",
];
/// Blocks of a job in the order they are shown.
const JOB_OBJECTS: &[&str] =
    &["Datacenters", "Constraints", "Affinities", "Spreads", "Periodic", "ParameterizedJob", "Multiregion", "UI"];
const GROUP_SKIPPED: &[&str] = &["Name", "Tasks"];
/// Blocks of a group in the order they are shown.
const GROUP_OBJECTS: &[&str] = &[
    "Constraints",
    "Affinities",
    "Spreads",
    "RestartPolicy",
    "Disconnect",
    "Migrate",
    "ReschedulePolicy",
    "EphemeralDisk",
    "Update",
    "Networks",
    "Volumes",
    "Consul",
    "Scaling",
    "Services",
];
/// The restart policy of a task is mostly its group's, which is shown there.
const TASK_SKIPPED: &[&str] = &["Name", "RestartPolicy"];
/// Blocks of a task in the order they are shown.
const TASK_OBJECTS: &[&str] = &[
    "Constraints",
    "Affinities",
    "Config",
    "Resources",
    "Lifecycle",
    "LogConfig",
    "DispatchPayload",
    "Artifacts",
    "Services",
    "VolumeMounts",
    "Vault",
    "Consul",
    "Templates",
    "CSIPluginConfig",
    "Identity",
    "Identities",
    "Actions",
    "Secrets",
    "ScalingPolicies",
    "Schedule",
];

/// What changed from `old` to `new`; with one of them missing, the whole other one is deleted or added.
pub fn job_diff(old: Option<&Job>, new: Option<&Job>) -> JobDiff {
    let (old_map, new_map) = (old.map(serialized), new.map(serialized));
    let (old_map, new_map) = (old_map.as_ref(), new_map.as_ref());
    let (fields, objects) = parts(old_map, new_map, JOB_SKIPPED, JOB_OBJECTS);
    let task_groups: Vec<GroupDiff> = by_name(old_map, new_map, "TaskGroups")
        .into_iter()
        .map(|(name, old, new)| group_diff(name, old, new))
        .collect();
    let is_same = fields.is_empty() && objects.is_empty() && task_groups.iter().all(|g| g.kind == DiffType::None);
    let id = new.or(old).map(|job| job.id.to_string()).unwrap_or_default();
    JobDiff { kind: kind(old.is_some(), new.is_some(), is_same), id, fields, objects, task_groups }
}

fn group_diff(name: &str, old: Option<&Map<String, Value>>, new: Option<&Map<String, Value>>) -> GroupDiff {
    let (fields, objects) = parts(old, new, GROUP_SKIPPED, GROUP_OBJECTS);
    let tasks: Vec<TaskDiff> =
        by_name(old, new, "Tasks").into_iter().map(|(name, old, new)| task_diff(name, old, new)).collect();
    let is_same = fields.is_empty() && objects.is_empty() && tasks.iter().all(|task| task.kind == DiffType::None);
    let kind = kind(old.is_some(), new.is_some(), is_same);
    GroupDiff { kind, name: name.to_owned(), fields, objects, tasks, updates: BTreeMap::new() }
}

fn task_diff(name: &str, old: Option<&Map<String, Value>>, new: Option<&Map<String, Value>>) -> TaskDiff {
    let (fields, objects) = parts(old, new, TASK_SKIPPED, TASK_OBJECTS);
    // What is not shown here, as its restart policy, changes a task too.
    let kind = kind(old.is_some(), new.is_some(), old == new);
    TaskDiff { kind, name: name.to_owned(), fields, objects, annotations: Vec::new() }
}

fn kind(was: bool, is: bool, is_same: bool) -> DiffType {
    match (was, is) {
        (false, true) => DiffType::Added,
        (true, false) => DiffType::Deleted,
        _ if is_same => DiffType::None,
        _ => DiffType::Edited,
    }
}

fn serialized(job: &Job) -> Map<String, Value> {
    match serde_json::to_value(job) {
        Ok(Value::Object(map)) => map,
        // A job has only text as keys and no other way to fail.
        _ => Map::new(),
    }
}

/// The values and blocks of a job, group or task that changed.
fn parts(
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
    skipped: &[&str],
    objects: &[&str],
) -> (Vec<FieldDiff>, Vec<ObjectDiff>) {
    let is_field = |key: &str| !skipped.contains(&key) && !objects.contains(&key);
    let mut fields = walk::fields(old, new, false, is_field);
    walk::sort(&mut fields);
    let of = |map: Option<&'_ Map<String, Value>>, key: &str| map.and_then(|map| map.get(key)).cloned();
    let objects =
        objects.iter().flat_map(|key| walk::objects(key, of(old, key).as_ref(), of(new, key).as_ref())).collect();
    (fields, objects)
}

/// The named entries of a list on both sides, in the order of their names.
type Sides<'v> = (&'v str, Option<&'v Map<String, Value>>, Option<&'v Map<String, Value>>);

fn by_name<'v>(old: Option<&'v Map<String, Value>>, new: Option<&'v Map<String, Value>>, key: &str) -> Vec<Sides<'v>> {
    let named = |map: Option<&'v Map<String, Value>>| -> BTreeMap<&'v str, &'v Map<String, Value>> {
        let items = map.and_then(|map| map.get(key)).and_then(Value::as_array);
        let named = |item: &'v Value| Some((item["Name"].as_str()?, item.as_object()?));
        items.into_iter().flatten().filter_map(named).collect()
    };
    let (old, new) = (named(old), named(new));
    let names: std::collections::BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    names.into_iter().map(|name| (name, old.get(name).copied(), new.get(name).copied())).collect()
}

/// Says at each group and task what the plan does with it.
pub fn annotate(diff: &mut JobDiff, plan: &PlanAnnotations) {
    for group in &mut diff.task_groups {
        let updates = plan.desired_group_updates.get(&group.name).copied().unwrap_or_default();
        group.updates = counts(&updates);
        for field in group.fields.iter_mut().filter(|field| field.name == "Count") {
            let number = |text: &str| text.parse::<i64>().unwrap_or(0);
            let words = match number(&field.new).cmp(&number(&field.old)) {
                Ordering::Greater => "forces create",
                Ordering::Less => "forces destroy",
                Ordering::Equal => continue,
            };
            field.annotations = vec![words.to_owned()];
        }
        let is_in_place = updates.in_place_update > 0 && updates.destructive_update == 0 && updates.canary == 0;
        for task in &mut group.tasks {
            let words = match (group.kind, task.kind) {
                (_, DiffType::None) => continue,
                (DiffType::Added, _) => "forces create",
                (DiffType::Deleted, _) => "forces destroy",
                (_, DiffType::Edited) if is_in_place => "forces in-place update",
                _ => "forces create/destroy update",
            };
            task.annotations = vec![words.to_owned()];
        }
    }
}

/// What is done to allocs, in the words of the API, without what is not done.
fn counts(updates: &DesiredUpdates) -> BTreeMap<String, u64> {
    let DesiredUpdates {
        ignore,
        place,
        migrate,
        stop,
        in_place_update,
        destructive_update,
        canary,
        preemptions: _,
        disconnect: _,
        reconnect: _,
        reschedule_now: _,
        reschedule_later: _,
    } = *updates;
    [
        ("ignore", ignore),
        ("create", place),
        ("migrate", migrate),
        ("destroy", stop),
        ("in-place update", in_place_update),
        ("create/destroy update", destructive_update),
        ("canary", canary),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .map(|(word, count)| (word.to_owned(), count))
    .collect()
}

#[cfg(test)]
mod tests;
