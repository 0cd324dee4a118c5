//! Jobs that come as JSON: request bodies, `-json` files, what a client library sends. Keys are matched without regard
//! to case, unknown keys are passed over, missing ones are filled, and values of a wrong type are refused, each with
//! its place.

use std::fmt;

use serde_json::{Map, Value};

use crate::duration;
use crate::shape::{Field, Kind, Parsed, Shape};
use crate::shapes::job::JOB;

/// How many wrong values one answer names.
const TYPE_FAULTS_MAX: usize = 20;

/// What is wrong with a job in JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON at all.
    #[error("{0}")]
    Syntax(String),
    /// JSON, but no job.
    #[error("Job must be specified")]
    NoJob,
    /// Values of other types than their fields take.
    #[error("{}", lines(.0))]
    Types(Vec<TypeFault>),
}

/// A value of another type than its field takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeFault {
    /// What stands there; for a number that does not fit, the number too.
    pub found: String,
    /// Where, as in `Job.TaskGroups[0].Count`.
    pub path: String,
    /// What the field takes.
    pub wanted: &'static str,
}

impl fmt::Display for TypeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "json: cannot unmarshal {} into field {} of type {}", self.found, self.path, self.wanted)
    }
}

fn lines(faults: &[TypeFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads `{"Job": {...}}` or the bare job. Returns the job alone, in the shape that [`crate::parse_hcl`] gives.
///
/// # Errors
/// The text is no JSON, no job, or holds values of wrong types.
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
///
/// # Errors
/// It is no job, or holds values of wrong types.
pub fn from_value(job: &Value) -> Result<Value, JsonError> {
    let Some(job) = job.as_object().filter(|job| !job.is_empty()) else { return Err(JsonError::NoJob) };
    let mut reader = Reader { faults: Vec::new() };
    let job = reader.object(job, &JOB, "Job");
    if reader.faults.is_empty() { Ok(Value::Object(job)) } else { Err(JsonError::Types(reader.faults)) }
}

fn find<'m>(map: &'m Map<String, Value>, key: &str) -> Option<&'m Value> {
    map.get(key).or_else(|| map.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value))
}

struct Reader {
    faults: Vec<TypeFault>,
}

impl Reader {
    fn object(&mut self, from: &Map<String, Value>, shape: &Shape, path: &str) -> Map<String, Value> {
        let mut to = Map::new();
        if let Some(label @ ("Name" | "Label" | "Value")) = shape.label {
            let field = crate::shape::text("", label);
            let value = self.field_value(find(from, label).unwrap_or(&Value::Null), &field, path);
            to.insert(label.to_owned(), value.unwrap_or_else(|| field.zero()));
        }
        for field in shape.fields.iter().filter(|field| !field.json.is_empty()) {
            let value = find(from, field.json).unwrap_or(&Value::Null);
            match self.field_value(value, field, path) {
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
        to
    }

    fn wrong(&mut self, value: &Value, path: &str, wanted: &'static str) {
        if self.faults.len() < TYPE_FAULTS_MAX {
            let found = match value {
                Value::Number(number) if wanted != "string" && wanted != "bool" => format!("number {number}"),
                value => type_name(value).to_owned(),
            };
            self.faults.push(TypeFault { found, path: path.to_owned(), wanted });
        }
    }

    /// The value in the shape of a parsed one; none for null and for what is wrong.
    fn field_value(&mut self, value: &Value, field: &Field, path: &str) -> Option<Value> {
        if value.is_null() {
            return None;
        }
        let path = format!("{path}.{}", field.json);
        let (wanted, good) = match field.kind {
            Kind::Text => ("string", value.as_str().map(|_| value.clone())),
            Kind::Bool => ("bool", value.as_bool().map(|_| value.clone())),
            Kind::Int(min, max) => (int_name(min, max), whole(value, min, max)),
            Kind::WrappedInt8 => ("int8", whole(value, -128, 127)),
            Kind::Duration => ("time.Duration", nanos(value)),
            Kind::TextList => return self.list(value, &path, "[]string", |item| text("string", item)),
            Kind::IntList => {
                return self.list(value, &path, "[]uint16", |item| whole(item, 0, 65_535).ok_or("uint16"));
            }
            Kind::TextMap | Kind::TextMapBlock | Kind::TextMapEither => {
                return self.map(value, &path, "map[string]string", |item| text("string", item));
            }
            Kind::ListMapBlock => {
                let list = |item: &Value| match item {
                    Value::Array(items) if items.iter().all(Value::is_string) => Ok(item.clone()),
                    _ => Err("[]string"),
                };
                return self.map(value, &path, "map[string][]string", list);
            }
            Kind::Opaque => ("map[string]interface {}", value.as_object().map(|_| value.clone())),
            Kind::Json => return Some(value.clone()),
            Kind::One(shape) => match value {
                Value::Object(inner) => return Some(Value::Object(self.object(inner, shape, &path))),
                _ => ("object", None),
            },
            Kind::Many(shape) => return self.blocks(value, shape, &path),
            Kind::Named(shape) => return self.named_blocks(value, shape, &path),
        };
        if good.is_none() {
            self.wrong(value, &path, wanted);
        }
        good
    }

    fn list(
        &mut self,
        value: &Value,
        path: &str,
        wanted: &'static str,
        read: impl Fn(&Value) -> Result<Value, &'static str>,
    ) -> Option<Value> {
        let Value::Array(items) = value else {
            self.wrong(value, path, wanted);
            return None;
        };
        let mut list = Vec::new();
        for (place, item) in items.iter().enumerate() {
            match read(item) {
                Ok(item) => list.push(item),
                Err(wanted) => self.wrong(item, &format!("{path}[{place}]"), wanted),
            }
        }
        Some(Value::Array(list))
    }

    fn map(
        &mut self,
        value: &Value,
        path: &str,
        wanted: &'static str,
        read: impl Fn(&Value) -> Result<Value, &'static str>,
    ) -> Option<Value> {
        let Value::Object(entries) = value else {
            self.wrong(value, path, wanted);
            return None;
        };
        let mut map = Map::new();
        for (name, item) in entries {
            match read(item) {
                Ok(item) => {
                    map.insert(name.clone(), item);
                }
                Err(wanted) => self.wrong(item, &format!("{path}.{name}"), wanted),
            }
        }
        Some(Value::Object(map))
    }

    fn blocks(&mut self, value: &Value, shape: &Shape, path: &str) -> Option<Value> {
        let Value::Array(items) = value else {
            self.wrong(value, path, "list of objects");
            return None;
        };
        let mut list = Vec::new();
        for (place, item) in items.iter().enumerate().filter(|(_, item)| !item.is_null()) {
            let path = format!("{path}[{place}]");
            match item {
                Value::Object(inner) => list.push(Value::Object(self.object(inner, shape, &path))),
                item => self.wrong(item, &path, "object"),
            }
        }
        Some(Value::Array(list))
    }

    fn named_blocks(&mut self, value: &Value, shape: &Shape, path: &str) -> Option<Value> {
        let Value::Object(entries) = value else {
            self.wrong(value, path, "map of objects");
            return None;
        };
        let mut map = Map::new();
        for (name, item) in entries.iter().filter(|(_, item)| !item.is_null()) {
            let path = format!("{path}.{name}");
            match item {
                Value::Object(inner) => {
                    map.insert(name.clone(), Value::Object(self.object(inner, shape, &path)));
                }
                item => self.wrong(item, &path, "object"),
            }
        }
        Some(Value::Object(map))
    }
}

/// Text; null counts as an empty one inside lists and maps.
fn text(wanted: &'static str, value: &Value) -> Result<Value, &'static str> {
    match value {
        Value::String(_) => Ok(value.clone()),
        Value::Null => Ok(Value::from("")),
        _ => Err(wanted),
    }
}

/// A duration: a number of nanoseconds, or text as job files write it.
fn nanos(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => duration::parse(text).ok().map(Value::from),
        value => whole(value, i64::MIN, i64::MAX),
    }
}

fn int_name(min: i64, max: i64) -> &'static str {
    match (min, max) {
        (-128, 127) => "int8",
        (0, 255) => "uint8",
        (0, 65_535) => "uint16",
        _ => "int",
    }
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
    fn durations_are_numbers_or_texts() {
        let job = parse_json(r#"{"ID":"a","TaskGroups":[{"ShutdownDelay":"1m"},{"ShutdownDelay":5}]}"#).unwrap();
        assert_eq!(job["TaskGroups"][0]["ShutdownDelay"], 60_000_000_000_i64);
        assert_eq!(job["TaskGroups"][1]["ShutdownDelay"], 5);
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
            r#"{"ID":"a","TaskGroups":[{"ShutdownDelay":"5 seconds"}]}"#,
            "json: cannot unmarshal string into field Job.TaskGroups[0].ShutdownDelay of type time.Duration",
        );
        check(
            r#"{"Job":{"ID":5,"Meta":{"a":1},"Datacenters":["a",2],"TaskGroups":[{},{"Count":1.5}]}}"#,
            "json: cannot unmarshal number into field Job.ID of type string\n\
             json: cannot unmarshal number into field Job.Datacenters[1] of type string\n\
             json: cannot unmarshal number 1.5 into field Job.TaskGroups[1].Count of type int\n\
             json: cannot unmarshal number into field Job.Meta.a of type string",
        );
        check("{", "EOF while parsing an object at line 1 column 1");
    }
}
