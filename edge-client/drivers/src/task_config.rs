//! Reading a task's `config` map: each driver names the keys it knows, everything else is a problem.
//!
//! Numbers and booleans are taken as text where text is wanted, as the job language does.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::time::parse_duration;
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

    /// Yes or no; none when absent.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        let value = self.take(key)?;
        let truth = value.as_bool().or_else(|| match value.as_str()? {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        });
        if truth.is_none() {
            self.wrong_type(key, "bool", value);
        }
        truth
    }

    /// A length of time such as `5m`; none when absent or empty.
    pub fn duration(&mut self, key: &str) -> Option<Duration> {
        let text = self.text(key);
        if text.is_empty() {
            return None;
        }
        let parsed = parse_duration(&text);
        if parsed.is_none() {
            self.problem(format!("{key:?} is not a duration: {text:?}."));
        }
        parsed
    }

    /// Texts by name, from a map or a list of maps, as blocks become.
    pub fn entries(&mut self, key: &str) -> BTreeMap<String, String> {
        let Some(value) = self.take(key) else { return BTreeMap::new() };
        let found: Option<Vec<(String, String)>> = objects(value).and_then(|objects| {
            objects.into_iter().flatten().map(|(name, value)| Some((name.clone(), scalar_text(value)?))).collect()
        });
        found.map(BTreeMap::from_iter).unwrap_or_else(|| {
            self.wrong_type(key, "map of string", value);
            BTreeMap::new()
        })
    }

    /// Whole numbers by name, from a map or a list of maps.
    pub fn numbers(&mut self, key: &str) -> BTreeMap<String, i64> {
        let mut numbers = BTreeMap::new();
        for (name, text) in self.entries(key) {
            match text.parse() {
                Ok(number) => drop(numbers.insert(name, number)),
                Err(_) => self.problem(format!("{key:?} has no number for {name:?}.")),
            }
        }
        numbers
    }

    /// The blocks of that name, each read by `read`; unknown keys in them are problems too.
    pub fn blocks<T>(&mut self, key: &str, mut read: impl FnMut(&mut ConfigReader<'a>) -> T) -> Vec<T> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let Some(objects) = objects(value) else {
            self.wrong_type(key, "block", value);
            return Vec::new();
        };
        let mut read_one = |fields: &'a serde_json::Map<String, Value>| {
            let left = fields.iter().map(|(key, value)| (key.as_str(), value)).collect();
            let mut inner = ConfigReader { left, problems: Vec::new() };
            let block = read(&mut inner);
            self.problems.extend(inner.into_problems());
            block
        };
        objects.into_iter().map(&mut read_one).collect()
    }

    /// The blocks of that name by their labels: `name "label" { … }`.
    pub fn labelled<T>(&mut self, key: &str, mut read: impl FnMut(&str, &mut ConfigReader<'a>) -> T) -> Vec<T> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let mut found = Vec::new();
        for (label, inner) in objects(value).into_iter().flatten().flatten() {
            let Some(inner) = objects(inner) else {
                self.wrong_type(key, "block", inner);
                continue;
            };
            for fields in inner {
                let left = fields.iter().map(|(key, value)| (key.as_str(), value)).collect();
                let mut inner = ConfigReader { left, problems: Vec::new() };
                found.push(read(label, &mut inner));
                self.problems.extend(inner.into_problems());
            }
        }
        found
    }

    /// A list of texts, for which a single text may stand.
    pub fn texts_or_text(&mut self, key: &str) -> Vec<String> {
        match self.left.get(key) {
            Some(Value::String(text)) => {
                let text = text.clone();
                self.left.remove(key);
                if text.is_empty() { Vec::new() } else { vec![text] }
            }
            _ => self.texts(key),
        }
    }

    /// True when the key is there and says more than `false` or nothing; for keys that are known and not acted on.
    pub fn is_wanted(&mut self, key: &str) -> bool {
        let says_no = |value: &&Value| matches!(value, Value::Bool(false)) || value.as_str() == Some("false");
        let is_off = self.left.get(key).is_some_and(says_no);
        self.is_given(key) && !is_off
    }

    /// Something else is wrong with it.
    pub fn problem(&mut self, text: String) {
        self.problems.push(text);
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.left.get(key).is_some_and(|value| !value.is_null())
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
    pub fn finish(self) -> Result<(), StartError> {
        let mut problems = self.into_problems();
        if problems.is_empty() {
            return Ok(());
        }
        problems.insert(0, "failed to parse config: ".to_owned());
        Err(StartError::Config(problems))
    }

    /// What is wrong, keys that nobody took included; one line each.
    pub fn into_problems(mut self) -> Vec<String> {
        for key in self.left.keys() {
            self.problems.push(format!("Invalid label: No argument or block type is named \"{key}\"."));
        }
        self.problems
    }
}

/// A block stands there as an object, several of one name as a list of them.
fn objects(value: &Value) -> Option<Vec<&serde_json::Map<String, Value>>> {
    match value {
        Value::Object(fields) => Some(vec![fields]),
        Value::Array(items) => items.iter().map(Value::as_object).collect(),
        _ => None,
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
