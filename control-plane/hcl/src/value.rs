//! What an expression is worth. Lists and tuples (and maps and objects) are told apart because some functions
//! take only one of them, and because a conditional may turn one into the other.

use std::collections::BTreeMap;

use crate::number::Number;

/// A value without anything left to evaluate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Nothing; an attribute that is null counts as not set.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    String(String),
    /// Items that may differ in type: what `[...]` gives.
    Tuple(Vec<Value>),
    /// Items of one type.
    List(Vec<Value>),
    /// Items of one type, sorted, none twice.
    Set(Vec<Value>),
    /// Named values that may differ in type: what `{...}` gives.
    Object(BTreeMap<String, Value>),
    /// Named values of one type.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// Text as a value.
    pub fn text(text: impl Into<String>) -> Value {
        Value::String(text.into())
    }

    /// Whether this is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The text, when this is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, when this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The number, when this is one.
    pub fn as_number(&self) -> Option<&Number> {
        match self {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The items of a tuple, list or set.
    pub fn as_items(&self) -> Option<&[Value]> {
        match self {
            Value::Tuple(items) | Value::List(items) | Value::Set(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of an object or map.
    pub fn as_entries(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Value::Object(entries) | Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Text, or what turns into text: a number or a truth value. The error says what was needed.
    pub fn to_text(&self) -> Result<String, String> {
        match self {
            Value::String(text) => Ok(text.clone()),
            Value::Bool(value) => Ok(value.to_string()),
            Value::Number(number) if number.is_finite() => Ok(number.to_string()),
            _ => Err(format!("string required, but have {}", self.type_name())),
        }
    }

    /// A truth value, or the text of one. The error says what was needed.
    pub fn to_bool(&self) -> Result<bool, String> {
        match self {
            Value::Bool(value) => Ok(*value),
            Value::String(text) => match text.as_str() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                "True" | "TRUE" => {
                    Err("a bool is required; to convert from string, use lowercase \"true\"".to_string())
                }
                "False" | "FALSE" => {
                    Err("a bool is required; to convert from string, use lowercase \"false\"".to_string())
                }
                _ => Err("a bool is required".to_string()),
            },
            _ => Err(format!("bool required, but have {}", self.type_name())),
        }
    }

    /// A number, or the text of one. The error says what was needed.
    pub fn to_number(&self) -> Result<Number, String> {
        match self {
            Value::Number(number) => Ok(number.clone()),
            Value::String(text) => Number::from_text(text).ok_or_else(|| "a number is required".to_string()),
            _ => Err(format!("number required, but have {}", self.type_name())),
        }
    }

    /// The same value in JSON; numbers that are neither whole 64-bit numbers nor floats lose digits.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => whole.into(),
                None => number.as_f64().into(),
            },
            Value::String(text) => text.as_str().into(),
            Value::Tuple(items) | Value::List(items) | Value::Set(items) => {
                items.iter().map(Value::to_json).collect::<Vec<_>>().into()
            }
            Value::Object(entries) | Value::Map(entries) => {
                serde_json::Value::Object(entries.iter().map(|(name, value)| (name.clone(), value.to_json())).collect())
            }
        }
    }

    /// A JSON value as tuples and objects; `1.0` becomes the whole number 1.
    pub fn from_json(json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::Number(number) => {
                Number::from_text(&number.to_string()).map_or(Value::Null, Value::Number)
            }
            serde_json::Value::String(text) => Value::text(text),
            serde_json::Value::Array(items) => Value::Tuple(items.iter().map(Value::from_json).collect()),
            serde_json::Value::Object(entries) => {
                Value::Object(entries.iter().map(|(name, value)| (name.clone(), Value::from_json(value))).collect())
            }
        }
    }

    /// The type in words: `string`, `tuple`, `list of string`.
    pub fn type_name(&self) -> String {
        crate::types::Type::of(self).name()
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.to_string())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::String(text)
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Value {
        Value::Number(number)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Number(Number::from(number))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Number(Number::from(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_between_simple_types() {
        let number = |text: &str| Value::Number(Number::from_text(text).unwrap());
        assert_eq!(number("1.50").to_text(), Ok("1.5".to_string()));
        assert_eq!(Value::Bool(true).to_text(), Ok("true".to_string()));
        assert_eq!(Value::Null.to_text(), Err("string required, but have dynamic".to_string()));
        assert_eq!(Value::text("5").to_number(), Ok(Number::from(5i64)));
        assert_eq!(Value::text("x").to_number(), Err("a number is required".to_string()));
        assert_eq!(Value::text("1").to_bool(), Ok(true));
        assert_eq!(Value::text("yes").to_bool(), Err("a bool is required".to_string()));
        assert_eq!(number("1").to_bool(), Err("bool required, but have number".to_string()));
    }

    #[test]
    fn goes_through_json() {
        let json: serde_json::Value = serde_json::from_str(r#"{"a":[1,2.5,null,true,"x"],"b":{}}"#).unwrap();
        assert_eq!(Value::from_json(&json).to_json(), json);
        assert_eq!(Value::from_json(&serde_json::json!(1.0)), Value::from(1i64));
    }
}
