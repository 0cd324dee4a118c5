//! `yamlencode`: block style, names and texts in double quotes, several lines as `|-`.

use super::encoding::json_text;
use super::{Answer, Fault, Function, any_or_null, fixed};
use crate::scope::TEXT_BYTES_MAX;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[fixed("yamlencode", &[any_or_null("value")], |a, _| encode(&a[0]))];

fn encode(value: &Value) -> Answer {
    let mut out = String::new();
    write(value, 0, &mut out).map_err(Fault::Call)?;
    let text = out.trim_start_matches([' ', '\n']).to_string();
    Ok(Value::String(format!("{text}\n")))
}

/// Writes a value after `name:` or `-`, with the blank or the newline that parts the two.
fn write(value: &Value, indent: usize, out: &mut String) -> Result<(), String> {
    if out.len() > TEXT_BYTES_MAX {
        return Err(format!("the result would have more than {TEXT_BYTES_MAX} bytes"));
    }
    match value {
        Value::Tuple(items) | Value::List(items) | Value::Set(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&format!("\n{}-", " ".repeat(indent)));
                write_item(item, indent + 2, out)?;
            }
        }
        Value::Object(entries) | Value::Map(entries) if !entries.is_empty() => {
            for (name, value) in entries {
                out.push_str(&format!("\n{}{}:", " ".repeat(indent), json_text(&Value::text(name))?));
                // A list below a name stands at the height of the name.
                let deeper = if value.as_items().is_some() { indent } else { indent + 2 };
                write(value, deeper, out)?;
            }
        }
        Value::Tuple(_) | Value::List(_) | Value::Set(_) => out.push_str(" []"),
        Value::Object(_) | Value::Map(_) => out.push_str(" {}"),
        Value::String(text) if text.contains('\n') => {
            let (mark, body) = match text.strip_suffix('\n') {
                Some(body) if body.ends_with('\n') => ("|+", body),
                Some(body) => ("|", body),
                None => ("|-", text.as_str()),
            };
            out.push_str(&format!(" {mark}"));
            for line in body.split('\n') {
                out.push('\n');
                if !line.is_empty() {
                    out.push_str(&" ".repeat(indent.max(2)));
                    out.push_str(line);
                }
            }
        }
        simple => out.push_str(&format!(" {}", json_text(simple)?)),
    }
    Ok(())
}

/// A collection inside a list begins on the line of its dash.
fn write_item(item: &Value, indent: usize, out: &mut String) -> Result<(), String> {
    let mut inner = String::new();
    write(item, indent, &mut inner)?;
    match inner.strip_prefix(&format!("\n{}", " ".repeat(indent))) {
        Some(first) => {
            out.push(' ');
            out.push_str(first);
        }
        None => out.push_str(&inner),
    }
    Ok(())
}
