//! From JSON to the typed answers: nulls count as missing, so that every field takes its zero value.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a typed value out of JSON; null fields of objects are as good as left out.
pub fn typed<T: DeserializeOwned>(json: &Value) -> Result<T, serde_json::Error> {
    serde_json::from_value(without_nulls(json))
}

fn without_nulls(json: &Value) -> Value {
    match json {
        Value::Object(entries) => entries
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}
