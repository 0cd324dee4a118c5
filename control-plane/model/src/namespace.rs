//! A namespace as it was set up: what jobs and other things are kept apart by, and what its jobs may use.
//!
//! [`Namespace`] is its name alone, as jobs carry it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::Namespace;
use crate::job::Job;
use crate::wire::nullable;

/// The namespace that is always there.
pub const DEFAULT: &str = "default";
/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 128;
/// The longest description, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 256;

/// A namespace as it was set up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NamespaceSpec {
    /// Its name.
    pub name: Namespace,
    /// What it is for, for people.
    pub description: String,
    /// What people note about it.
    #[serde(with = "nullable")]
    pub meta: BTreeMap<String, String>,
    /// What its jobs may use; none for everything.
    pub capabilities: Option<Capabilities>,
    /// Raft index at which it was made.
    pub create_index: u64,
    /// Raft index of its last change.
    pub modify_index: u64,
}

/// What the jobs of a namespace may use. An empty list of what is enabled admits everything that is not disabled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Capabilities {
    /// Only these drivers.
    #[serde(with = "nullable")]
    pub enabled_task_drivers: Vec<String>,
    /// Not these drivers.
    #[serde(with = "nullable")]
    pub disabled_task_drivers: Vec<String>,
    /// Only these modes of group networks.
    #[serde(with = "nullable")]
    pub enabled_network_modes: Vec<String>,
    /// Not these modes of group networks.
    #[serde(with = "nullable")]
    pub disabled_network_modes: Vec<String>,
}

impl NamespaceSpec {
    /// The namespace that is always there, until somebody changes it.
    pub fn built_in() -> Self {
        Self {
            name: DEFAULT.into(),
            description: "Default shared namespace".to_owned(),
            create_index: 1,
            modify_index: 1,
            ..Self::default()
        }
    }

    /// What is wrong with it.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let name = self.name.as_str();
        let is_name = (1..=NAME_CHARS_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_name {
            problems.push(format!("invalid name {name:?}. Must match regex ^[a-zA-Z0-9-]{{1,{NAME_CHARS_MAX}}}$"));
        }
        if self.description.len() > DESCRIPTION_BYTES_MAX {
            problems.push(format!("description longer than {DESCRIPTION_BYTES_MAX}"));
        }
        problems
    }

    /// Why this job may not be in it; none when it may.
    pub fn objection(&self, job: &Job) -> Option<String> {
        let capabilities = self.capabilities.as_ref()?;
        let (enabled, disabled) = (&capabilities.enabled_task_drivers, &capabilities.disabled_task_drivers);
        let drivers = job.task_groups.iter().flat_map(|group| &group.tasks).map(|task| task.driver.as_str());
        let refused: Vec<&str> = drivers.filter(|driver| !admits(enabled, disabled, driver)).collect();
        if !refused.is_empty() {
            return Some(objection("task driver", &refused, &self.name));
        }
        let (enabled, disabled) = (&capabilities.enabled_network_modes, &capabilities.disabled_network_modes);
        let networks = job.task_groups.iter().flat_map(|group| &group.networks);
        let modes = networks.map(|network| if network.mode.is_empty() { "host" } else { network.mode.as_str() });
        let refused: Vec<&str> = modes.filter(|mode| !admits(enabled, disabled, mode)).collect();
        (!refused.is_empty()).then(|| objection("group network mode", &refused, &self.name))
    }
}

fn admits(enabled: &[String], disabled: &[String], name: &str) -> bool {
    let is_in = |list: &[String]| list.iter().any(|item| item == name);
    (enabled.is_empty() || is_in(enabled)) && !is_in(disabled)
}

fn objection(what: &str, refused: &[&str], namespace: &Namespace) -> String {
    let namespace = namespace.as_str();
    match refused {
        [only] => format!("used {what} {only:?} is not allowed in namespace {namespace:?}"),
        several => {
            let names: Vec<String> = several.iter().map(|name| format!("{name:?}")).collect();
            format!("used {what}s [{}] are not allowed in namespace {namespace:?}", names.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Group;
    use crate::task::Task;

    #[test]
    fn names_and_descriptions() {
        let check = |name: &str, description: &str, expected: &[&str]| {
            let spec = NamespaceSpec { name: name.into(), description: description.to_owned(), ..Default::default() };
            assert_eq!(spec.problems(), expected, "{name:?}");
        };
        check("team-1", "", &[]);
        check(&"x".repeat(128), &"d".repeat(256), &[]);
        check("x y", "", &["invalid name \"x y\". Must match regex ^[a-zA-Z0-9-]{1,128}$"]);
        check("", "", &["invalid name \"\". Must match regex ^[a-zA-Z0-9-]{1,128}$"]);
        check("a", &"d".repeat(257), &["description longer than 256"]);
    }

    #[test]
    fn drivers_that_a_namespace_does_not_admit() {
        let check = |enabled: &[&str], disabled: &[&str], drivers: &[&str], expected: Option<&str>| {
            let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let capabilities = Capabilities {
                enabled_task_drivers: list(enabled),
                disabled_task_drivers: list(disabled),
                ..Capabilities::default()
            };
            let spec = NamespaceSpec { name: "team".into(), capabilities: Some(capabilities), ..Default::default() };
            let tasks = drivers.iter().map(|driver| Task { driver: (*driver).to_owned(), ..Task::default() });
            let group = Group { tasks: tasks.collect(), ..Group::default() };
            let job = Job { task_groups: vec![group], ..Job::default() };
            assert_eq!(spec.objection(&job).as_deref(), expected);
        };
        check(&[], &[], &["exec"], None);
        check(&["exec"], &[], &["exec", "exec"], None);
        let text = "used task driver \"raw_exec\" is not allowed in namespace \"team\"";
        check(&["exec"], &[], &["exec", "raw_exec"], Some(text));
        check(&["raw_exec"], &["raw_exec"], &["raw_exec"], Some(text));
        let text = "used task drivers [\"a\" \"b\"] are not allowed in namespace \"team\"";
        check(&["exec"], &[], &["a", "b"], Some(text));
    }
}
