//! Base64, JSON, CSV and URL encoding.

use std::collections::BTreeSet;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Answer, Fault, Function, any_or_null, fixed, string, text_at};
use crate::scope::TEXT_BYTES_MAX;
use crate::value::Value;

/// Longest text that is decoded into values.
const DECODED_BYTES_MAX: usize = 1024 * 1024;

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("base64decode", &[string("str")], |a, _| match STANDARD.decode(text_at(a, 0)) {
        Err(_) => Fault::call("failed to decode base64 data"),
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(text.into()),
            Err(_) => Fault::call("the result of decoding the provided string is not valid UTF-8"),
        },
    }),
    fixed("base64encode", &[string("str")], |a, _| Ok(STANDARD.encode(text_at(a, 0)).into())),
    fixed("csvdecode", &[string("str")], |a, _| csvdecode(decodable(text_at(a, 0))?)),
    fixed("jsondecode", &[string("str")], |a, _| match serde_json::from_str(decodable(text_at(a, 0))?) {
        Ok(json) => Ok(Value::from_json(&json)),
        Err(error) if error.is_eof() => Fault::call("EOF"),
        Err(error) => Fault::call(error.to_string()),
    }),
    fixed("jsonencode", &[any_or_null("val")], |a, _| json_text(&a[0]).map(Value::String).map_err(Fault::Call)),
    fixed("urlencode", &[string("str")], |a, _| Ok(urlencode(text_at(a, 0)).into())),
];

/// Refuses a text that could become far more values than are allowed, before it does.
pub(super) fn decodable(text: &str) -> Result<&str, Fault> {
    match text.len() <= DECODED_BYTES_MAX {
        true => Ok(text),
        false => Fault::call(format!("a text to decode may have {DECODED_BYTES_MAX} bytes")),
    }
}

/// JSON without blanks, with the escapes that make it safe inside HTML.
pub(super) fn json_text(value: &Value) -> Result<String, String> {
    let mut out = String::new();
    write_json(value, &mut out)?;
    Ok(out)
}

fn write_json(value: &Value, out: &mut String) -> Result<(), String> {
    if out.len() > TEXT_BYTES_MAX {
        return Err(format!("the result would have more than {TEXT_BYTES_MAX} bytes"));
    }
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) if number.is_finite() => {
            // Writing to a String cannot fail.
            let _ = write!(out, "{number}");
        }
        Value::Number(_) => return Err("cannot serialize infinity as JSON".to_string()),
        Value::String(text) => write_json_text(text, out),
        Value::Tuple(items) | Value::List(items) | Value::Set(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json(item, out)?;
            }
            out.push(']');
        }
        Value::Object(entries) | Value::Map(entries) => {
            out.push('{');
            for (i, (name, value)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json_text(name, out);
                out.push(':');
                write_json(value, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn write_json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

fn urlencode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn csvdecode(text: &str) -> Answer {
    let mut rows = csv_rows(text).map_err(Fault::Call)?.into_iter();
    let Some((_, header)) = rows.next() else {
        return Fault::call("missing header line");
    };
    let mut names = BTreeSet::new();
    for name in &header {
        if !names.insert(name) {
            return Fault::call(format!("duplicate column name \"{name}\""));
        }
    }
    let mut out = Vec::new();
    for (line, row) in rows {
        if row.len() != header.len() {
            return Fault::call(format!("record on line {line}: wrong number of fields"));
        }
        let entries = header.iter().cloned().zip(row.into_iter().map(Value::String));
        out.push(Value::Object(entries.collect()));
    }
    Ok(Value::List(out))
}

/// Rows with the line each begins on; empty lines are no rows.
fn csv_rows(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let mut rows = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let start = line;
        let mut row = Vec::new();
        loop {
            let field;
            (field, rest) = csv_field(rest).ok_or_else(|| format!("parse error on line {start}: wrong quotes"))?;
            line += field.matches('\n').count();
            row.push(field);
            match rest.strip_prefix(',') {
                Some(after) => rest = after,
                None => break,
            }
        }
        rest = rest.strip_prefix('\r').unwrap_or(rest);
        rest = rest.strip_prefix('\n').unwrap_or(rest);
        line += 1;
        if row != [String::new()] {
            rows.push((start, row));
        }
    }
    Ok(rows)
}

/// One field and what follows it; nothing when its quotes do not match.
fn csv_field(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find([',', '\n']).unwrap_or(text.len());
        let field = text[..end].trim_end_matches('\r');
        return (!field.contains('"')).then(|| (field.to_string(), &text[end..]));
    };
    let mut field = String::new();
    loop {
        let quote = rest.find('"')?;
        field.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => break,
        }
    }
    (rest.is_empty() || rest.starts_with([',', '\n', '\r'])).then_some((field, rest))
}
