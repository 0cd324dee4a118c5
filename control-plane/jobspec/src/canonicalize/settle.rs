//! Defaults by table, and small helpers of the hand-written rest.

use serde_json::{Map, Value, json};

use crate::shape::{Field, Kind, Shape, Stored};

/// Replaces every null that the shape has a default for, in the block and in those below.
pub fn settle(body: &mut Map<String, Value>, shape: &Shape) {
    for field in shape.fields.iter().filter(|field| !field.json.is_empty()) {
        if field.stored == Stored::Gone {
            body.remove(field.json);
            continue;
        }
        let value = body.remove(field.json).unwrap_or_default();
        body.insert(field.json.to_owned(), settled(value, field));
    }
}

fn settled(value: Value, field: &Field) -> Value {
    let value = match (field.stored, value) {
        (Stored::Dropped, _) => match field.kind {
            Kind::Duration => Value::Null,
            _ => field.zero(),
        },
        (Stored::Zero, Value::Null) => match field.kind {
            Kind::One(shape) => Value::Object(shape.empty()),
            _ => field.zero(),
        },
        (Stored::Text(text) | Stored::TextOrEmpty(text), Value::Null) => json!(text),
        (Stored::TextOrEmpty(text), Value::String(written)) if written.is_empty() => json!(text),
        (Stored::Int(number), Value::Null) => json!(number),
        (Stored::Bool(value), Value::Null) => json!(value),
        (Stored::EmptyList, Value::Null) => json!([]),
        (Stored::EmptyMap, Value::Null) => json!({}),
        (Stored::EmptyList | Stored::EmptyMap, value) => value,
        (Stored::KeepEmpty, value) => value,
        (_, value) => without_empty(value, field.kind),
    };
    match (field.kind, value) {
        (Kind::One(shape), Value::Object(mut body)) => {
            settle(&mut body, shape);
            Value::Object(body)
        }
        (Kind::Many(shape), Value::Array(mut items)) => {
            items.iter_mut().filter_map(Value::as_object_mut).for_each(|body| settle(body, shape));
            Value::Array(items)
        }
        (Kind::Named(shape), Value::Object(mut map)) => {
            map.values_mut().filter_map(Value::as_object_mut).for_each(|body| settle(body, shape));
            Value::Object(map)
        }
        (_, value) => value,
    }
}

/// Nothing listed is the same as no list.
fn without_empty(value: Value, kind: Kind) -> Value {
    match (kind, value) {
        (Kind::One(_) | Kind::Json, value) => value,
        (_, Value::Array(items)) if items.is_empty() => Value::Null,
        (_, Value::Object(map)) if map.is_empty() => Value::Null,
        (Kind::ListMapBlock, Value::Object(mut map)) => {
            for values in map.values_mut().filter(|values| values.as_array().is_some_and(Vec::is_empty)) {
                *values = Value::Null;
            }
            Value::Object(map)
        }
        (_, value) => value,
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

/// Sets what [`is_unset`].
pub fn default(body: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    if is_unset(body, key) {
        body.insert(key.to_owned(), value.into());
    }
}

/// Each field from the innermost level that sets it; the last level is the defaults and names all fields.
pub fn merged(levels: &[&Value], defaults: &Value) -> Value {
    let Value::Object(defaults) = defaults else {
        return Value::Null;
    };
    let field = |key: &String, default: &Value| {
        let written = levels.iter().map(|level| &level[key.as_str()]).find(|value| !value.is_null());
        (key.clone(), written.unwrap_or(default).clone())
    };
    Value::Object(defaults.iter().map(|(key, default)| field(key, default)).collect())
}
