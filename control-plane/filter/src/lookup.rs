//! From a selector to the value it names.
//!
//! JSON does not tell a map, whose keys are free, from a record, whose fields are fixed; nor an unset list from an unset
//! record. The API's names do: those of its maps and of its records that may be unset stand here.

use serde_json::Value;

use crate::error::FilterError;

/// Fields that are maps with free keys.
const MAPS: &[&str] = &[
    "Attributes",
    "CSIControllerPlugins",
    "CSINodePlugins",
    "CanaryMeta",
    "ClassEligibility",
    "ClassExhausted",
    "ClassFiltered",
    "Config",
    "ConstraintFiltered",
    "DesiredTGUpdates",
    "Details",
    "DimensionExhausted",
    "Drivers",
    "Env",
    "FailedTGAllocs",
    "GetterHeaders",
    "GetterOptions",
    "Header",
    "HostNetworks",
    "HostVolumes",
    "Links",
    "Meta",
    "NodesAvailable",
    "Policy",
    "QueuedAllocations",
    "ResourcesExhausted",
    "Scores",
    "TaggedAddresses",
    "Target",
    "TaskGroups",
    "TaskLifecycles",
    "TaskResources",
    "TaskStates",
    "Tasks",
    "Volumes",
];

/// Records that may be unset.
const RECORDS: &[&str] = &[
    "DeploymentStatus",
    "Disconnect",
    "DrainStrategy",
    "EphemeralDisk",
    "Job",
    "LastDrain",
    "Metrics",
    "Migrate",
    "Multiregion",
    "NetworkStatus",
    "NodeResources",
    "ParameterizedJob",
    "Periodic",
    "PlanAnnotations",
    "RescheduleTracker",
    "ReservedResources",
    "SchedulerConfiguration",
    "UI",
    "Update",
    "VersionTag",
];

/// What a selector named.
#[derive(Clone, Debug)]
pub(crate) enum Found<'a> {
    Value(Named<'a>),
    /// A key of a map that a placeholder stands for.
    Key(String),
    /// An index of a list that a placeholder stands for.
    Index(usize),
    /// A key that a map does not have.
    Absent,
}

/// A value and the field it was found in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub value: &'a Value,
    name: &'a str,
    /// It lies in a map whose values are free.
    is_free: bool,
}

impl<'a> Named<'a> {
    pub fn root(value: &'a Value) -> Self {
        Self { value, name: "", is_free: false }
    }

    pub fn is_map(&self) -> bool {
        let is_known = self.is_free || MAPS.contains(&self.name);
        is_known && matches!(self.value, Value::Object(_) | Value::Null)
    }

    /// The kind as messages call it.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null if RECORDS.contains(&self.name) => "invalid",
            Value::Null if self.is_map() => "map",
            Value::Null | Value::Array(_) => "slice",
            Value::Bool(_) => "bool",
            Value::Number(number) if number.is_f64() => "float64",
            Value::Number(_) if self.is_unsigned() => "uint64",
            Value::Number(_) => "int64",
            Value::String(_) => "string",
            Value::Object(_) if self.is_map() => "map",
            Value::Object(_) => "struct",
        }
    }

    /// Indexes and versions are never negative.
    pub fn is_unsigned(&self) -> bool {
        self.name.ends_with("Index") || self.name.ends_with("Version")
    }

    /// A field, or with an empty name an entry of a map or list.
    fn entry(&self, name: &'a str, value: &'a Value) -> Self {
        Self { value, name, is_free: self.is_free || self.name == "Config" || self.name == "Policy" }
    }
}

/// Walks the path from the root.
pub(crate) fn find<'a>(root: &'a Value, path: &'a [String]) -> Result<Found<'a>, FilterError> {
    let mut at = Named::root(root);
    for (place, part) in path.iter().enumerate() {
        let fail = |what: String| Err(FilterError::Selector(format!("/{} at part {place}: {what}", path.join("/"))));
        at = match (at.value, at.kind()) {
            (Value::Object(map), "map") => match map.get(part) {
                Some(value) => at.entry("", value),
                None if place + 1 == path.len() => return Ok(Found::Absent),
                None => return fail(format!("couldn't find key {part:?}")),
            },
            (_, "map") if place + 1 == path.len() => return Ok(Found::Absent),
            (_, "map") => return fail(format!("couldn't find key {part:?}")),
            (Value::Object(map), _) => match map.get_key_value(part) {
                Some((name, value)) => at.entry(name, value),
                None => return fail(format!("couldn't find key: struct field with name {part:?}")),
            },
            (Value::Array(items), _) => match part.parse::<usize>().map(|index| items.get(index)) {
                Ok(Some(value)) => at.entry("", value),
                Ok(None) => {
                    return fail(format!("index {part} is out of range (length = {})", items.len()));
                }
                Err(_) => return fail(format!("couldn't convert value {part:?} to type int")),
            },
            (Value::Null, "slice") => return fail(format!("index {part} is out of range (length = 0)")),
            (_, kind) => {
                let text = format!("/{}: at part {place}, invalid value kind: {kind}", path.join("/"));
                return Err(FilterError::Selector(text));
            }
        };
    }
    Ok(Found::Value(at))
}
