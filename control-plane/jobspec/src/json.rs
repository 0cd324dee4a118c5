//! Jobs that come as JSON: request bodies, `-json` files, what a client library sends. Keys are matched without regard
//! to case, unknown keys are passed over, missing ones are filled, and values of a wrong type are refused by name.

use serde_json::{Map, Value};

use crate::shape::{Field, Kind, Parsed, Shape};
use crate::shapes::job::JOB;

/// What is wrong with a job in JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON at all.
    #[error("{0}")]
    Syntax(String),
    /// JSON, but no job.
    #[error("Job must be specified")]
    NoJob,
    /// A value of another type than the field takes.
    #[error("json: cannot unmarshal {found} into field {path} of type {wanted}")]
    Type {
        /// What stands there.
        found: &'static str,
        /// Where, as in `Job.TaskGroups.Count`.
        path: String,
        /// What the field takes.
        wanted: &'static str,
    },
}

/// Reads `{"Job": {...}}` or the bare job. Returns the job alone, in the shape that [`crate::parse_hcl`] gives.
pub fn parse_json(text: &str) -> Result<Value, JsonError> {
    let value: Value = serde_json::from_str(text).map_err(|e| JsonError::Syntax(e.to_string()))?;
    let Value::Object(outer) = value else {
        return Err(JsonError::NoJob);
    };
    match find(&outer, "Job") {
        Some(job) => from_value(job),
        None => from_value(&Value::Object(outer)),
    }
}

/// Brings a job that was taken out of a larger body into the shape that [`crate::parse_hcl`] gives.
pub fn from_value(job: &Value) -> Result<Value, JsonError> {
    match job {
        Value::Object(job) if !job.is_empty() => object(job, &JOB, "Job").map(Value::Object),
        _ => Err(JsonError::NoJob),
    }
}

fn find<'m>(map: &'m Map<String, Value>, key: &str) -> Option<&'m Value> {
    map.get(key).or_else(|| map.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value))
}

fn object(from: &Map<String, Value>, shape: &Shape, path: &str) -> Result<Map<String, Value>, JsonError> {
    let mut to = Map::new();
    if let Some(label @ ("Name" | "Label" | "Value")) = shape.label {
        let field = crate::shape::text("", label);
        let value = find(from, label).unwrap_or(&Value::Null);
        to.insert(label.to_owned(), field_value(value, &field, path)?.unwrap_or_else(|| field.zero()));
    }
    for field in shape.fields.iter().filter(|field| !field.json.is_empty()) {
        let value = find(from, field.json).unwrap_or(&Value::Null);
        match field_value(value, field, path)? {
            Some(value) => {
                to.insert(field.json.to_owned(), value);
            }
            None if field.parsed == Parsed::Zero => {
                to.insert(field.json.to_owned(), field.zero());
            }
            None if field.parsed == Parsed::Absent => {}
            None => {
                to.insert(field.json.to_owned(), Value::Null);
            }
        }
    }
    Ok(to)
}

fn field_value(value: &Value, field: &Field, path: &str) -> Result<Option<Value>, JsonError> {
    if value.is_null() {
        return Ok(None);
    }
    let path = format!("{path}.{}", field.json);
    let wrong = |wanted| JsonError::Type { found: type_name(value), path: path.clone(), wanted };
    let checked = match field.kind {
        Kind::Text => value.as_str().map(|_| value.clone()).ok_or_else(|| wrong("string"))?,
        Kind::Bool => value.as_bool().map(|_| value.clone()).ok_or_else(|| wrong("bool"))?,
        Kind::Int(min, max) => whole(value, min, max).ok_or_else(|| wrong("int"))?,
        Kind::WrappedInt8 => whole(value, -128, 127).ok_or_else(|| wrong("int8"))?,
        Kind::Duration => whole(value, i64::MIN, i64::MAX).ok_or_else(|| wrong("time.Duration"))?,
        Kind::TextList => match value.as_array() {
            Some(items) if items.iter().all(Value::is_string) => value.clone(),
            _ => return Err(wrong("[]string")),
        },
        Kind::IntList => match value.as_array() {
            Some(items) if items.iter().all(|item| whole(item, 0, 65_535).is_some()) => value.clone(),
            _ => return Err(wrong("[]uint16")),
        },
        Kind::TextMap | Kind::TextMapBlock | Kind::TextMapEither => match value.as_object() {
            Some(entries) if entries.values().all(Value::is_string) => value.clone(),
            _ => return Err(wrong("map[string]string")),
        },
        Kind::ListMapBlock => match value.as_object() {
            Some(entries) if entries.values().all(is_text_list) => value.clone(),
            _ => return Err(wrong("map[string][]string")),
        },
        Kind::Opaque => value.as_object().map(|_| value.clone()).ok_or_else(|| wrong("map[string]interface {}"))?,
        Kind::Json => value.clone(),
        Kind::One(shape) => {
            let inner = value.as_object().ok_or_else(|| wrong("object"))?;
            Value::Object(object(inner, shape, &path)?)
        }
        Kind::Many(shape) => {
            let items = value.as_array().ok_or_else(|| wrong("list"))?;
            let inner = |item: &Value| {
                let item = item.as_object().ok_or_else(|| wrong("list of objects"))?;
                object(item, shape, &path).map(Value::Object)
            };
            Value::Array(items.iter().filter(|item| !item.is_null()).map(inner).collect::<Result<_, _>>()?)
        }
        Kind::Named(shape) => {
            let entries = value.as_object().ok_or_else(|| wrong("map"))?;
            let mut map = Map::new();
            for (name, inner) in entries.iter().filter(|(_, inner)| !inner.is_null()) {
                let inner = inner.as_object().ok_or_else(|| wrong("map of objects"))?;
                map.insert(name.clone(), Value::Object(object(inner, shape, &path)?));
            }
            Value::Object(map)
        }
    };
    Ok(Some(checked))
}

fn is_text_list(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(Value::is_string))
}

/// A whole number in bounds; `5.0` is one.
fn whole(value: &Value, min: i64, max: i64) -> Option<Value> {
    let number = match value.as_i64() {
        Some(number) => number,
        None => {
            let number = value.as_f64()?;
            // Beyond 2^53 a float no longer says which whole number was meant.
            if number.fract() != 0.0 || number.abs() > 9_007_199_254_740_992.0 {
                return None;
            }
            number as i64
        }
    };
    (min..=max).contains(&number).then(|| Value::from(number))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_match_in_any_case_and_gaps_are_filled() {
        let job = parse_json(r#"{"job":{"id":"a","TASKGROUPS":[{"name":"g","count":2.0}],"nonsense":1}}"#).unwrap();
        assert_eq!(job["ID"], "a");
        assert_eq!(job["TaskGroups"][0]["Name"], "g");
        assert_eq!(job["TaskGroups"][0]["Count"], 2);
        assert_eq!(job["TaskGroups"][0]["Meta"], Value::Null);
        assert_eq!(job["Dispatched"], false);
        assert!(job.get("nonsense").is_none());
    }

    #[test]
    fn what_is_no_job_is_refused() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parse_json(text).unwrap_err().to_string(), expected, "{text}");
        };
        check("[]", "Job must be specified");
        check("{}", "Job must be specified");
        check(r#"{"Job":null}"#, "Job must be specified");
        check(
            r#"{"Job":{"ID":"a","Priority":"high"}}"#,
            "json: cannot unmarshal string into field Job.Priority of type int",
        );
        check(
            r#"{"ID":"a","TaskGroups":[{"ShutdownDelay":"5s"}]}"#,
            "json: cannot unmarshal string into field Job.TaskGroups.ShutdownDelay of type time.Duration",
        );
        check("{", "EOF while parsing an object at line 1 column 1");
    }
}
