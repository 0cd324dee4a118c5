//! Request bodies: bounded in size and time, JSON with keys in any case.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use serde_json::{Map, Value};

use crate::problem::Problem;

/// The largest body that is taken, in bytes.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// How long a body may take to come.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(30);

fn too_large() -> Problem {
    Problem::TooLarge(format!("request body too large: at most {BODY_BYTES_MAX} bytes are taken"))
}

/// Reads a whole body.
///
/// # Errors
/// It is too large, too slow, or the connection broke.
pub async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let collect = async {
        let mut bytes = Vec::new();
        let mut stream = body.into_data_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| Problem::Invalid(format!("read request body: {error}")))?;
            if bytes.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    tokio::time::timeout(BODY_TIME_MAX, collect)
        .await
        .map_err(|_| Problem::TooSlow("request body did not come in time".to_owned()))?
}

/// A body that is a JSON object. Keys match in any case; unknown ones are passed over.
#[derive(Clone, Debug, Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads the first JSON value of the text.
    ///
    /// # Errors
    /// There is none, or it is no object.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(Problem::Invalid("Request body is empty".to_owned()));
        }
        match serde_json::Deserializer::from_slice(bytes).into_iter::<Value>().next() {
            Some(Ok(Value::Object(map))) => Ok(Self(map)),
            Some(Ok(Value::Null)) => Ok(Self::default()),
            Some(Ok(_)) => Err(Problem::Invalid("request body must be a JSON object".to_owned())),
            Some(Err(error)) if error.is_eof() => Err(Problem::Invalid("unexpected EOF".to_owned())),
            Some(Err(error)) => Err(Problem::Invalid(format!("request body is not JSON: {error}"))),
            None => Err(Problem::Invalid("Request body is empty".to_owned())),
        }
    }

    /// The value of that key; null counts as none.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let exact = self.0.get(key);
        let found = exact.or_else(|| self.0.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, value)| value));
        found.filter(|value| !value.is_null())
    }

    /// The object of that key.
    pub fn object(&self, key: &str) -> Result<Option<Fields>, Problem> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields(map.clone()))),
            Some(other) => Err(wrong(key, "object", other)),
        }
    }

    /// The text of that key; empty when there is none.
    ///
    /// # Errors
    /// It is no text.
    pub fn text(&self, key: &str) -> Result<&str, Problem> {
        match self.get(key) {
            None => Ok(""),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(wrong(key, "string", other)),
        }
    }

    /// The truth value of that key; false when there is none.
    ///
    /// # Errors
    /// It is none.
    pub fn flag(&self, key: &str) -> Result<bool, Problem> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(wrong(key, "bool", other)),
        }
    }

    /// The whole number of that key.
    ///
    /// # Errors
    /// It is none, or negative.
    pub fn number(&self, key: &str) -> Result<Option<u64>, Problem> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| wrong(key, "uint64", value)),
        }
    }

    /// The list of texts of that key; empty when there is none.
    ///
    /// # Errors
    /// It is no list of texts.
    pub fn list(&self, key: &str) -> Result<Vec<String>, Problem> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let items = value.as_array().ok_or_else(|| wrong(key, "[]string", value))?;
        items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(|| wrong(key, "string", item))).collect()
    }

    /// The map of texts of that key; empty when there is none.
    ///
    /// # Errors
    /// It is no map of texts.
    pub fn texts(&self, key: &str) -> Result<std::collections::BTreeMap<String, String>, Problem> {
        let Some(value) = self.get(key) else { return Ok(Default::default()) };
        let entries = value.as_object().ok_or_else(|| wrong(key, "map[string]string", value))?;
        let entry = |(name, text): (&String, &Value)| {
            text.as_str()
                .map(|text| (name.clone(), text.to_owned()))
                .ok_or_else(|| wrong(key, "map[string]string", text))
        };
        entries.iter().map(entry).collect()
    }
}

fn wrong(key: &str, wanted: &str, found: &Value) -> Problem {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    Problem::Invalid(format!("json: cannot unmarshal {found} into field {key} of type {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_refused() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Fields::parse(text.as_bytes()).unwrap_err(), Problem::Invalid(expected.to_owned()), "{text:?}");
        };
        check("", "Request body is empty");
        check(" \n", "Request body is empty");
        check("{", "unexpected EOF");
        check("{\"a\":", "unexpected EOF");
        check("[]", "request body must be a JSON object");
        check("{a}", "request body is not JSON: key must be a string at line 1 column 2");
    }

    #[test]
    fn keys_match_in_any_case() {
        let fields = Fields::parse(br#"{"jobid":"a","STABLE":true,"JobVersion":3,"x":null} trailing"#).unwrap();
        assert_eq!(fields.text("JobID"), Ok("a"));
        assert_eq!(fields.flag("Stable"), Ok(true));
        assert_eq!(fields.number("JobVersion"), Ok(Some(3)));
        assert_eq!(fields.text("x"), Ok(""));
        let text = "json: cannot unmarshal string into field JobID of type bool";
        assert_eq!(fields.flag("JobID"), Err(Problem::Invalid(text.to_owned())));
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_with_and_without_its_length() {
        let body = || Body::from(vec![b' '; BODY_BYTES_MAX + 1]);
        assert_eq!(read(&HeaderMap::new(), body()).await, Err(too_large()));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, (BODY_BYTES_MAX + 1).into());
        assert_eq!(read(&headers, Body::empty()).await, Err(too_large()));
        assert_eq!(read(&HeaderMap::new(), Body::from("x")).await, Ok(b"x".to_vec()));
    }
}
