//! The generic part: two JSON objects to changed fields and changed objects.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{DiffType, FieldDiff, ObjectDiff};

/// Keys whose objects are maps with free names: their entries are fields of the block around them.
const MAPS: &[&str] = &["Meta", "CanaryMeta", "Env", "TaggedAddresses", "GetterOptions", "GetterHeaders", "Args"];
/// Objects whose inside is free: it becomes one level of fields.
const FREE: &[&str] = &["Config", "Header", "Policy"];
/// Keys inside blocks that are not shown: bookkeeping, and what stands elsewhere.
const HIDDEN: &[(&str, &[&str])] = &[
    ("Update", &["Stagger"]),
    ("Scaling", &["CreateIndex", "ModifyIndex", "ID", "Type", "Target"]),
    ("Network", &["CIDR", "Device", "IP", "MBits"]),
    ("Dynamic Port", &["Value", "IgnoreCollision"]),
];
/// Keys that are left out of the stored form when empty and are shown all the same.
const SHOWN: &[(&str, &[(&str, &str)])] = &[
    ("Network", &[("Hostname", ""), ("Mode", "")]),
    ("Dynamic Port", &[("To", "0")]),
    ("Static Port", &[("To", "0"), ("IgnoreCollision", "false")]),
];
/// Lists of values that a changed block tells even when they did not change. Another order of them changes the block.
const KEPT_IN_SIGHT: &[(&str, &[&str])] = &[
    ("Identity", &["Audience"]),
    ("Service", &["CanaryTags", "Tags"]),
    ("Action", &["Args"]),
    ("MountOptions", &["MountFlags"]),
];
/// Blocks whose lists of values are told as one text each; they stand behind the blocks beside them.
const JOINED: &[&str] = &["DNS"];
/// What one entry of a list is called.
const NAMES: &[(&str, &str)] = &[
    ("Constraints", "Constraint"),
    ("Affinities", "Affinity"),
    ("Spreads", "Spread"),
    ("Networks", "Network"),
    ("DynamicPorts", "Dynamic Port"),
    ("ReservedPorts", "Static Port"),
    ("Volumes", "Volume"),
    ("Services", "Service"),
    ("Checks", "Check"),
    ("Templates", "Template"),
    ("Artifacts", "Artifact"),
    ("VolumeMounts", "VolumeMount"),
    ("Identities", "Identity"),
    ("Actions", "Action"),
    ("Secrets", "Secret"),
    ("ScalingPolicies", "Scaling"),
    ("Devices", "Device"),
    ("Upstreams", "ConsulUpstreams"),
    ("Paths", "Paths"),
    ("Links", "Link"),
    ("Regions", "Region"),
];

/// What a block is called where that is not its key.
const BLOCK_NAMES: &[(&str, &str)] = &[("Connect", "ConsulConnect"), ("Proxy", "ConsulProxy")];
/// What the entries of a list are matched by, where that is not their name.
const MATCHED_BY: &[(&str, &str)] = &[("ConsulUpstreams", "DestinationName")];

/// Lists whose changed entries are told as changes, not as one that goes and one that comes.
const PAIRED: &[&str] = &["Artifact", "Link", "Service", "Template", "VolumeMount"];

fn renamed<'t>(table: &'t [(&str, &'t str)], key: &'t str) -> &'t str {
    table.iter().find(|(from, _)| *from == key).map_or(key, |(_, to)| to)
}

fn lookup<'t, T>(table: &'t [(&str, &'t [T])], name: &str) -> &'t [T] {
    table.iter().find(|(block, _)| *block == name).map_or(&[], |(_, entries)| entries)
}

/// The plain values of two objects. With `is_contextual` unchanged ones are told too.
pub fn fields(
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
    is_contextual: bool,
    is_wanted: impl Fn(&str) -> bool,
) -> Vec<FieldDiff> {
    let texts = |map: Option<&Map<String, Value>>| {
        let mut texts = BTreeMap::new();
        for (key, value) in map.into_iter().flatten().filter(|(key, _)| is_wanted(key)) {
            match value {
                Value::Object(_) if MAPS.contains(&key.as_str()) => flatten(key, value, &mut texts),
                Value::Object(_) | Value::Array(_) | Value::Null => {}
                plain => {
                    texts.insert(key.clone(), text(plain));
                }
            }
        }
        texts
    };
    compare(&texts(old), &texts(new), is_contextual)
}

/// Named texts on both sides.
fn compare(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>, is_contextual: bool) -> Vec<FieldDiff> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let field = |name: &String| {
        let was = old.get(name).map(String::as_str).unwrap_or_default();
        let is = new.get(name).map(String::as_str).unwrap_or_default();
        let kind = match (was.is_empty(), is.is_empty()) {
            _ if was == is => DiffType::None,
            (true, false) => DiffType::Added,
            (false, true) => DiffType::Deleted,
            _ => DiffType::Edited,
        };
        let is_told = is_contextual || kind != DiffType::None;
        is_told.then(|| FieldDiff {
            kind,
            name: name.clone(),
            old: was.to_owned(),
            new: is.to_owned(),
            annotations: Vec::new(),
        })
    };
    names.into_iter().filter_map(field).collect()
}

/// The order of fields: by name, then by what they were and are.
pub fn sort(fields: &mut [FieldDiff]) {
    fields.sort_by(|a, b| (&a.name, &a.old, &a.new).cmp(&(&b.name, &b.old, &b.new)));
}

/// The changed blocks under a key: none or one for a block or a list of values, any number for a list of blocks.
pub fn objects(key: &str, old: Option<&Value>, new: Option<&Value>) -> Vec<ObjectDiff> {
    let list_of_blocks =
        |side: Option<&Value>| side.and_then(Value::as_array).is_some_and(|items| items.iter().any(Value::is_object));
    if list_of_blocks(old) || list_of_blocks(new) {
        return blocks(renamed(NAMES, key), old, new);
    }
    if old.is_some_and(Value::is_array) || new.is_some_and(Value::is_array) {
        return values(key, old, new, false).into_iter().collect();
    }
    let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    if key == "Volumes" {
        let names: BTreeSet<&String> = old.into_iter().chain(new).flat_map(Map::keys).collect();
        let of = |map: Option<&'_ Map<String, Value>>, name: &str| map.and_then(|map| map.get(name)).cloned();
        return names
            .into_iter()
            .filter_map(|name| object("Volume", of(old, name).as_ref(), of(new, name).as_ref()))
            .collect();
    }
    let wrap = |map: Option<&Map<String, Value>>| map.map(|map| Value::Object(map.clone()));
    object(renamed(BLOCK_NAMES, key), wrap(old).as_ref(), wrap(new).as_ref()).into_iter().collect()
}

/// One block on both sides; none when it did not change.
fn object(name: &str, old: Option<&Value>, new: Option<&Value>) -> Option<ObjectDiff> {
    let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    if old == new {
        return None;
    }
    let kind = match (old.is_some(), new.is_some()) {
        (false, _) => DiffType::Added,
        (true, false) => DiffType::Deleted,
        (true, true) => DiffType::Edited,
    };
    if FREE.contains(&name) {
        let flat = |map: Option<&Map<String, Value>>| {
            let mut texts = BTreeMap::new();
            for (key, value) in map.into_iter().flatten() {
                flatten(key, value, &mut texts);
            }
            texts
        };
        let fields = compare(&flat(old), &flat(new), true);
        return Some(ObjectDiff { kind, name: name.to_owned(), fields, objects: Vec::new() });
    }
    let (old, new) = (old.map(|map| completed(name, map)), new.map(|map| completed(name, map)));
    let hidden = lookup(HIDDEN, name);
    let mut fields = fields(old.as_ref(), new.as_ref(), true, |key| !hidden.contains(&key));
    sort(&mut fields);
    let keys: BTreeSet<&String> = old.iter().chain(&new).flat_map(Map::keys).collect();
    let of = |map: &'_ Option<Map<String, Value>>, key: &str| map.as_ref().and_then(|map| map.get(key)).cloned();
    let in_sight = lookup(KEPT_IN_SIGHT, name);
    let (mut lists, mut blocks) = (Vec::new(), Vec::new());
    let mut is_changed = fields.iter().any(|field| field.kind != DiffType::None);
    for key in keys.into_iter().filter(|key| !hidden.contains(&key.as_str())) {
        let (old, new) = (of(&old, key), of(&new, key));
        if in_sight.contains(&key.as_str()) {
            is_changed |= old != new;
            lists.extend(values(key, old.as_ref(), new.as_ref(), true));
            continue;
        }
        let is_map = MAPS.contains(&key.as_str()) && old.iter().chain(&new).any(Value::is_object);
        if !is_map {
            let objects = self::objects(key, old.as_ref(), new.as_ref());
            is_changed |= !objects.is_empty();
            // Lists of values come before blocks.
            let is_list =
                objects.iter().all(|object| object.name == *key) && old.iter().chain(&new).any(Value::is_array);
            if is_list { lists.extend(objects) } else { blocks.extend(objects) }
        }
    }
    blocks.sort_by_key(|block| JOINED.contains(&block.name.as_str()));
    lists.extend(blocks);
    is_changed.then(|| ObjectDiff { kind, name: name.to_owned(), fields, objects: lists })
}

/// With the keys that are left out of the stored form.
fn completed(name: &str, map: &Map<String, Value>) -> Map<String, Value> {
    let mut map = map.clone();
    if JOINED.contains(&name) {
        for list in map.values_mut() {
            if let Value::Array(items) = list {
                *list = items.iter().map(text).collect::<Vec<String>>().join(",").into();
            }
        }
    }
    for (key, text) in lookup(SHOWN, name) {
        map.entry(key.to_string()).or_insert_with(|| Value::from(*text));
    }
    map
}

/// A list of plain values, compared as a set. One that did not change is told only where it stays in sight.
fn values(key: &str, old: Option<&Value>, new: Option<&Value>, is_in_sight: bool) -> Option<ObjectDiff> {
    let set = |side: Option<&Value>| -> BTreeSet<String> {
        side.and_then(Value::as_array).into_iter().flatten().map(text).collect()
    };
    let (was, is) = (set(old), set(new));
    let kind = match (is.difference(&was).next(), was.difference(&is).next()) {
        (None, None) => DiffType::None,
        (Some(_), None) => DiffType::Added,
        (None, Some(_)) => DiffType::Deleted,
        (Some(_), Some(_)) => DiffType::Edited,
    };
    if kind == DiffType::None && (!is_in_sight || is.is_empty()) {
        return None;
    }
    let field = |value: &String| {
        let old = if was.contains(value) { value.clone() } else { String::new() };
        let new = if is.contains(value) { value.clone() } else { String::new() };
        let kind = match (old.is_empty(), new.is_empty()) {
            (true, _) => DiffType::Added,
            (_, true) => DiffType::Deleted,
            _ => DiffType::None,
        };
        FieldDiff { kind, name: key.to_owned(), old, new, annotations: Vec::new() }
    };
    let mut fields: Vec<FieldDiff> = was.union(&is).map(field).collect();
    sort(&mut fields);
    Some(ObjectDiff { kind, name: key.to_owned(), fields, objects: Vec::new() })
}

/// A list of blocks: those with a name are matched by it; of the others some are paired in their order.
fn blocks(name: &str, old: Option<&Value>, new: Option<&Value>) -> Vec<ObjectDiff> {
    let items = |side: Option<&'_ Value>| side.and_then(Value::as_array).cloned().unwrap_or_default();
    let (mut old, new) = (items(old), items(new));
    let mut diffs = Vec::new();
    let matched_by = renamed(MATCHED_BY, name);
    let matched_by = if matched_by == name { "Name" } else { matched_by };
    let mut added = Vec::new();
    for item in new {
        if let Some(place) = old.iter().position(|other| *other == item) {
            old.remove(place);
        } else {
            added.push(item);
        }
    }
    for item in added {
        let is_match = |other: &Value| item[matched_by].is_string() && other[matched_by] == item[matched_by];
        let place = old.iter().position(is_match);
        // What was renamed, or has no name, is taken for the next that is left.
        let place = place.or_else(|| (PAIRED.contains(&name) && !old.is_empty()).then_some(0));
        let before = place.map(|place| old.remove(place));
        diffs.extend(object(name, before.as_ref(), Some(&item)));
    }
    diffs.extend(old.iter().filter_map(|item| object(name, Some(item), None)));
    diffs
}

/// `key[inner][0]` to text.
fn flatten(key: &str, value: &Value, texts: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(inner, value)| flatten(&format!("{key}[{inner}]"), value, texts)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(place, value)| flatten(&format!("{key}[{place}]"), value, texts));
        }
        Value::Null => {}
        plain => {
            texts.insert(key.to_owned(), text(plain));
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
