//! Reading a task's `config` map: each driver names the keys it knows, everything else is a problem.
//!
//! Numbers and booleans are taken as text where text is wanted, as the job language does.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::driver::StartError;

/// Takes known keys out of a `config` map and collects what is wrong with it.
#[derive(Debug)]
pub struct ConfigReader<'a> {
    left: BTreeMap<&'a str, &'a Value>,
    problems: Vec<String>,
}

impl<'a> ConfigReader<'a> {
    /// Reads this map.
    pub fn new(config: &'a BTreeMap<String, Value>) -> Self {
        Self { left: config.iter().map(|(key, value)| (key.as_str(), value)).collect(), problems: Vec::new() }
    }

    fn take(&mut self, key: &str) -> Option<&'a Value> {
        self.left.remove(key).filter(|value| !value.is_null())
    }

    fn wrong_type(&mut self, key: &str, wanted: &str, value: &Value) {
        self.problems.push(format!(
            "Incorrect attribute value type: Inappropriate value for attribute \"{key}\": {wanted} required, but have {}.",
            type_name(value)
        ));
    }

    /// A text; empty when absent.
    pub fn text(&mut self, key: &str) -> String {
        let Some(value) = self.take(key) else { return String::new() };
        scalar_text(value).unwrap_or_else(|| {
            self.wrong_type(key, "string", value);
            String::new()
        })
    }

    /// A text that must be there.
    pub fn required_text(&mut self, key: &str) -> String {
        if self.left.get(key).is_none_or(|value| value.is_null()) {
            self.left.remove(key);
            self.problems.push(format!(
                "Missing required argument: The argument \"{key}\" is required, but no definition was found."
            ));
            return String::new();
        }
        self.text(key)
    }

    /// A list of texts; empty when absent.
    pub fn texts(&mut self, key: &str) -> Vec<String> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let list: Option<Vec<String>> = value.as_array().and_then(|items| items.iter().map(scalar_text).collect());
        list.unwrap_or_else(|| {
            self.wrong_type(key, "list of string", value);
            Vec::new()
        })
    }

    /// A whole number.
    pub fn number(&mut self, key: &str) -> Option<i64> {
        let value = self.take(key)?;
        let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
        if number.is_none() {
            self.wrong_type(key, "number", value);
        }
        number
    }

    /// True when the key is there with something in it; for keys that are known and not acted on.
    pub fn is_given(&mut self, key: &str) -> bool {
        self.take(key).is_some_and(|value| match value {
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            _ => true,
        })
    }

    /// Whatever nobody took is unknown; all problems come together.
    pub fn finish(mut self) -> Result<(), StartError> {
        for key in self.left.keys() {
            self.problems.push(format!("Invalid label: No argument or block type is named \"{key}\"."));
        }
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems.insert(0, "failed to parse config: ".to_owned());
        Err(StartError::Config(self.problems))
    }
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "tuple",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(config: Value, expected: Result<(&str, &[&str]), &[&str]>) {
        let config: BTreeMap<String, Value> = serde_json::from_value(config).unwrap();
        let mut reader = ConfigReader::new(&config);
        let (command, args) = (reader.required_text("command"), reader.texts("args"));
        match (reader.finish(), expected) {
            (Ok(()), Ok((wanted_command, wanted_args))) => {
                assert_eq!(
                    (command.as_str(), args),
                    (wanted_command, wanted_args.iter().map(|s| s.to_string()).collect())
                );
            }
            (Err(StartError::Config(problems)), Err(wanted)) => assert_eq!(&problems[1..], wanted, "{config:?}"),
            (found, wanted) => panic!("{config:?}: {found:?}, expected {wanted:?}"),
        }
    }

    #[test]
    fn a_config_is_read_whole_or_refused_with_all_problems() {
        check(json!({"command": "/bin/true"}), Ok(("/bin/true", &[])));
        check(json!({"command": "sleep", "args": [1, "a", true]}), Ok(("sleep", &["1", "a", "true"])));
        check(
            json!({"command": "x", "bogus": 1}),
            Err(&["Invalid label: No argument or block type is named \"bogus\"."]),
        );
        check(
            json!({"command": ["x"]}),
            Err(&[
                "Incorrect attribute value type: Inappropriate value for attribute \"command\": string required, but have tuple.",
            ]),
        );
        check(
            json!({"args": "x"}),
            Err(&[
                "Missing required argument: The argument \"command\" is required, but no definition was found.",
                "Incorrect attribute value type: Inappropriate value for attribute \"args\": list of string required, but have string.",
            ]),
        );
    }

    #[test]
    fn problems_read_as_one_text() {
        let error = StartError::Config(vec!["failed to parse config: ".to_owned(), "Invalid label: x".to_owned()]);
        assert_eq!(error.to_string(), "2 errors occurred:\n\t* failed to parse config: \n\t* Invalid label: x\n\n");
    }
}
