//! JSON for people: keys sorted, four blanks per level.

use serde::Serialize;
use serde_json::Value;

/// The JSON of an answer.
pub fn pretty(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    sorted(value).serialize(&mut serializer).expect("a JSON value has only text keys, and a Vec takes every byte");
    String::from_utf8(bytes).expect("serde_json writes UTF-8")
}

/// A list whose items have indexes, the newest first.
pub fn newest_first(list: &Value) -> Value {
    let mut items = list.as_array().cloned().unwrap_or_default();
    items.sort_by_key(|item| std::cmp::Reverse(item["CreateIndex"].as_u64()));
    Value::Array(items)
}

/// Sorted whatever order the map type keeps: a crate of the workspace may switch the insertion order on.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_blanks_and_sorted_keys() {
        let value = serde_json::json!({ "b": [1], "a": { "c": "<é>" } });
        assert_eq!(
            pretty(&value),
            "{\n    \"a\": {\n        \"c\": \"<é>\"\n    },\n    \"b\": [\n        1\n    ]\n}"
        );
    }
}
