//! Defaults by table, and small helpers of the hand-written rest.

use serde_json::{Map, Value, json};

use crate::shape::{Field, Kind, Shape, Stored};

/// Replaces every null that the shape has a default for, in the block and in those below.
pub fn settle(body: &mut Map<String, Value>, shape: &Shape) {
    // By the block's keys: there are many more of them than fields that go or are missing.
    let known = || shape.fields.iter().filter(|field| !field.json.is_empty());
    let mut settled = 0;
    for (key, value) in body.iter_mut() {
        if let Some(field) = known().find(|field| field.json == key) {
            settle_value(value, field);
            settled += 1;
        }
    }
    known().filter(|field| field.stored == Stored::Gone).for_each(|field| drop(body.remove(field.json)));
    if settled < known().count() {
        for field in known().filter(|field| field.stored != Stored::Gone) {
            if !body.contains_key(field.json) {
                let mut value = Value::Null;
                settle_value(&mut value, field);
                body.insert(field.json.to_owned(), value);
            }
        }
    }
}

fn settle_value(value: &mut Value, field: &Field) {
    match (field.stored, &*value) {
        (Stored::Dropped, _) => {
            *value = match field.kind {
                Kind::Duration => Value::Null,
                _ => field.zero(),
            }
        }
        (Stored::Zero, Value::Null) => {
            *value = match field.kind {
                Kind::One(shape) => Value::Object(shape.empty()),
                _ => field.zero(),
            }
        }
        (Stored::Text(text) | Stored::TextOrEmpty(text), Value::Null) => *value = json!(text),
        (Stored::TextOrEmpty(text), Value::String(written)) if written.is_empty() => *value = json!(text),
        (Stored::Int(number), Value::Null) => *value = json!(number),
        (Stored::Bool(default), Value::Null) => *value = json!(default),
        (Stored::EmptyList, Value::Null) => *value = json!([]),
        (Stored::EmptyMap, Value::Null) => *value = json!({}),
        (Stored::EmptyList | Stored::EmptyMap | Stored::KeepEmpty, _) => {}
        (_, _) => without_empty(value, field.kind),
    }
    match (field.kind, value) {
        (Kind::One(shape), Value::Object(body)) => settle(body, shape),
        (Kind::Many(shape), Value::Array(items)) => {
            items.iter_mut().filter_map(Value::as_object_mut).for_each(|body| settle(body, shape));
        }
        (Kind::Named(shape), Value::Object(map)) => {
            map.values_mut().filter_map(Value::as_object_mut).for_each(|body| settle(body, shape));
        }
        (_, _) => {}
    }
}

/// Nothing listed is the same as no list.
fn without_empty(value: &mut Value, kind: Kind) {
    match (kind, &mut *value) {
        (Kind::One(_) | Kind::Json, _) => {}
        (_, Value::Array(items)) if items.is_empty() => *value = Value::Null,
        (_, Value::Object(map)) if map.is_empty() => *value = Value::Null,
        (Kind::ListMapBlock, Value::Object(map)) => {
            for values in map.values_mut().filter(|values| values.as_array().is_some_and(Vec::is_empty)) {
                *values = Value::Null;
            }
        }
        (_, _) => {}
    }
}

/// Null, empty text, or not there.
pub fn is_unset(body: &Map<String, Value>, key: &str) -> bool {
    match body.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    }
}

/// Sets a key; one that is there already keeps its place in the tree.
pub fn set(body: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    match body.get_mut(key) {
        Some(slot) => *slot = value.into(),
        None => {
            body.insert(key.to_owned(), value.into());
        }
    }
}

/// Takes a value out to work on it beside its block; null stands in until it is [`set`] again.
pub fn take(body: &mut Map<String, Value>, key: &str) -> Value {
    body.get_mut(key).map(Value::take).unwrap_or_default()
}

/// Sets what [`is_unset`].
pub fn default(body: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    if is_unset(body, key) {
        set(body, key, value);
    }
}

/// Each field from the innermost level that sets it; the defaults are the last level and name all fields.
pub fn merged(levels: &[&Value], mut defaults: Value) -> Value {
    for (key, value) in defaults.as_object_mut().into_iter().flatten() {
        if let Some(written) = levels.iter().map(|level| &level[key.as_str()]).find(|value| !value.is_null()) {
            value.clone_from(written);
        }
    }
    defaults
}
