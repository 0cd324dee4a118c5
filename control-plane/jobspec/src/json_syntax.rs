//! Job files in the JSON syntax of HCL: labels are nested objects, repeated blocks are arrays, texts are templates.
//!
//! Such a file is written out in the native syntax, with the tables saying which names are blocks, and then parsed as
//! any other. Places in the text written out mean nothing to a reader: a problem that names a key comes with the place of
//! that key in the file where there is only one such key, every other problem without a place.

use std::fmt;

use drover_hcl::{Place, Problem, Source, Span};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::parse::BLOCKS;
use crate::shape::{Field, Kind, Shape};
use crate::shapes::job::JOB;
use crate::suggest::near;

/// True for a text in JSON syntax: only spaces may stand before its first brace.
pub fn is_json(text: &str) -> bool {
    text.trim_start_matches(' ').starts_with('{')
}

/// The same job file in the native syntax.
pub fn written_out(source: &Source) -> Result<Source, Problem> {
    let json: Json = serde_json::from_str(&source.text).map_err(|e| syntax_problem(source, &e))?;
    let mut out = String::new();
    if let Json::Object(entries) = &json {
        for (key, value) in entries {
            top(key, value, &mut out);
        }
    }
    Ok(Source { name: source.name.clone(), text: out })
}

fn syntax_problem(source: &Source, error: &serde_json::Error) -> Problem {
    let line_start: usize = source.text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let start = (line_start + error.column().saturating_sub(1)).min(source.text.len());
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or_default();
    if reason == "trailing comma" {
        let before = source.text.get(..start).unwrap_or_default().rfind(',').unwrap_or(start);
        return Problem::new(
            Span { start: before, end: before + 1 },
            "Trailing comma in object",
            "JSON does not permit a trailing comma after the final property in an object.",
        );
    }
    Problem::new(Span { start, end: start }, "Invalid JSON", reason)
}

/// Problems of the text written out, as the reader of the file understands them.
pub fn placed(source: &Source, native: &Source, problems: Vec<Problem>) -> Vec<Problem> {
    let mut placed: Vec<Problem> = problems.into_iter().map(|problem| in_file(source, native, problem)).collect();
    if placed.iter().any(|problem| problem.hint.is_some()) {
        placed.retain(|problem| problem.summary != "Missing job block");
    }
    placed
}

/// The keys by which a job is known that is written as the API takes it.
const API_KEYS: [&str; 4] = ["Job", "ID", "Name", "TaskGroups"];

fn in_file(source: &Source, native: &Source, mut problem: Problem) -> Problem {
    let Place::At(span) = problem.place else { return problem };
    problem.place = Place::Nowhere;
    if !matches!(problem.summary.as_str(), "Unsupported argument" | "Unsupported block type") {
        return problem;
    }
    let name = native.slice(span);
    let suggestion = problem.detail.find(" Did you mean \"").map(|at| problem.detail[at..].to_owned());
    let suggestion = suggestion.or_else(|| {
        // What is no block stands at the top of the file as an argument, for which nothing is suggested.
        let near = near(name, BLOCKS.into_iter()).filter(|_| !native.text[..span.start].contains('{'));
        near.map(|near| format!(" Did you mean \"{near}\"?"))
    });
    let suggestion = suggestion.unwrap_or_default();
    problem.summary = "Extraneous JSON object property".to_owned();
    problem.detail = format!("No argument or block type is named \"{name}\".{suggestion}");
    if let Some(span) = only_key(&source.text, name) {
        problem.place = Place::At(span);
    }
    match API_KEYS.contains(&name) {
        true => problem.with_hint("-json reads a job that is written as the API takes it"),
        false => problem,
    }
}

/// The place of a key, with its quotes, when there is exactly one of that name.
fn only_key(text: &str, name: &str) -> Option<Span> {
    let quoted = format!("\"{name}\"");
    let mut keys = text
        .match_indices(&quoted)
        .map(|(start, _)| Span { start, end: start + quoted.len() })
        .filter(|span| text[span.end..].trim_start().starts_with(':'));
    keys.next().filter(|_| keys.next().is_none())
}

/// JSON with its keys in the order written.
enum Json {
    Plain(serde_json::Value),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Json, D::Error> {
        d.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Plain(serde_json::Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Json::Object(object))
    }
}

impl Json {
    /// An object once, or each item of a list.
    fn each(&self) -> &[Json] {
        match self {
            Json::List(items) => items,
            one => std::slice::from_ref(one),
        }
    }

    fn entries(&self) -> &[(String, Json)] {
        match self {
            Json::Object(entries) => entries,
            _ => &[],
        }
    }
}

fn top(key: &str, value: &Json, out: &mut String) {
    match key {
        "job" => labelled("job", value, &JOB, out),
        "variable" => {
            for (name, body) in value.each().iter().flat_map(Json::entries) {
                out.push_str(&format!("variable {name:?} {{\n"));
                for (key, value) in body.each().iter().flat_map(Json::entries) {
                    match (key.as_str(), value) {
                        // A type is an expression of its own kind, not a template.
                        ("type", Json::Plain(serde_json::Value::String(text))) => {
                            out.push_str(&format!("type = {text}\n"));
                        }
                        ("validation", rules) => {
                            rules.each().iter().for_each(|rule| plain_block("validation", rule, out))
                        }
                        _ => attribute(key, value, out),
                    }
                }
                out.push_str("}\n");
            }
        }
        "variables" | "locals" => value.each().iter().for_each(|body| plain_block(key, body, out)),
        _ => attribute(key, value, out),
    }
}

fn plain_block(kind: &str, body: &Json, out: &mut String) {
    out.push_str(&format!("{kind} {{\n"));
    body.entries().iter().for_each(|(key, value)| attribute(key, value, out));
    out.push_str("}\n");
}

fn labelled(kind: &str, value: &Json, shape: &Shape, out: &mut String) {
    for (label, bodies) in value.each().iter().flat_map(Json::entries) {
        for inside in bodies.each() {
            out.push_str(&format!("{kind} {} {{\n", quoted(label)));
            body(inside, shape, out);
            out.push_str("}\n");
        }
    }
}

fn body(value: &Json, shape: &Shape, out: &mut String) {
    for (key, value) in value.entries() {
        if key == "dynamic" {
            for (kind, inside) in value.each().iter().flat_map(Json::entries) {
                inside.each().iter().for_each(|inside| dynamic(kind, inside, shape, out));
            }
            continue;
        }
        match shape.fields.iter().find(|field| field.hcl == key) {
            Some(field) => member(key, value, field, out),
            None => attribute(key, value, out),
        }
    }
}

fn member(key: &str, value: &Json, field: &Field, out: &mut String) {
    match field.kind {
        Kind::One(shape) | Kind::Many(shape) | Kind::Named(shape) => match shape.label {
            Some(_) => labelled(key, value, shape, out),
            None => {
                for inside in value.each() {
                    out.push_str(&format!("{key} {{\n"));
                    body(inside, shape, out);
                    out.push_str("}\n");
                }
            }
        },
        Kind::Opaque | Kind::TextMapBlock | Kind::ListMapBlock => {
            value.each().iter().for_each(|inside| plain_block(key, inside, out));
        }
        _ => attribute(key, value, out),
    }
}

fn dynamic(kind: &str, value: &Json, shape: &Shape, out: &mut String) {
    out.push_str(&format!("dynamic {} {{\n", quoted(kind)));
    for (key, value) in value.entries() {
        match (key.as_str(), shape.fields.iter().find(|field| field.hcl == kind).map(|field| field.kind)) {
            ("content", Some(Kind::One(inner) | Kind::Many(inner) | Kind::Named(inner))) => {
                out.push_str("content {\n");
                body(value, inner, out);
                out.push_str("}\n");
            }
            ("content", _) => plain_block("content", value, out),
            // The name of the iterator is a bare word.
            ("iterator", Some(_)) => match value {
                Json::Plain(serde_json::Value::String(name)) => out.push_str(&format!("iterator = {name}\n")),
                other => attribute(key, other, out),
            },
            _ => attribute(key, value, out),
        }
    }
    out.push_str("}\n");
}

fn attribute(key: &str, value: &Json, out: &mut String) {
    out.push_str(key);
    out.push_str(" = ");
    expression(value, out);
    out.push('\n');
}

fn expression(value: &Json, out: &mut String) {
    match value {
        Json::Plain(serde_json::Value::String(text)) => out.push_str(&quoted(text)),
        Json::Plain(plain) => out.push_str(&plain.to_string()),
        Json::List(items) => {
            out.push('[');
            for item in items {
                expression(item, out);
                out.push_str(", ");
            }
            out.push(']');
        }
        Json::Object(entries) => {
            out.push_str("{\n");
            for (key, value) in entries {
                out.push_str(&quoted(key));
                out.push_str(" = ");
                expression(value, out);
                out.push('\n');
            }
            out.push('}');
        }
    }
}

/// A template in quotes: what is inside `${...}` stays as it is, the rest is escaped.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match rest {
            _ if rest.starts_with("$${") || rest.starts_with("%%{") => 3,
            _ if rest.starts_with("${") || rest.starts_with("%{") => interpolation_length(rest),
            _ => 0,
        };
        if length > 0 {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    out.push('"');
    out
}

/// Up to the brace that closes the first one; the whole text when none does.
fn interpolation_length(text: &str) -> usize {
    let mut depth = 0;
    for (place, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return place + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_their_interpolations() {
        let check = |text: &str, expected: &str| assert_eq!(quoted(text), expected);
        check("a \"b\" \\ \n", r#""a \"b\" \\ \n""#);
        check(r#"${upper("x")} "y""#, r#""${upper("x")} \"y\"""#);
        check("$${x} ${ {a=1} }", r#""$${x} ${ {a=1} }""#);
        check("${x", r#""${x""#);
    }

    #[test]
    fn blocks_and_attributes_are_told_apart() {
        let text = r#"{"job": {"a": {"group": [{"g": {"task": {"t": {"config": {"x": 1}, "driver": "d"}}}}], "meta": {"k": "v"}}}}"#;
        let native = written_out(&Source::new("a", text)).unwrap_or_else(|problem| panic!("{problem:?}"));
        let flat: String = native.text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            flat,
            r#"job "a" { group "g" { task "t" { config { x = 1 } driver = "d" } } meta = { "k" = "v" } }"#
        );
    }

    #[test]
    fn a_key_that_is_not_known_has_a_place_where_it_stands_once() {
        let check = |text: &str, expected: &[&str]| {
            let source = Source::new("a.json", text);
            let problems = crate::parse_hcl(&source, &drover_hcl::Inputs::default()).unwrap_err();
            let lines: Vec<String> = problems.iter().map(|problem| problem.one_line(&source)).collect();
            assert_eq!(lines, expected);
        };
        let named = |name: &str| format!("No argument or block type is named \"{name}\".");
        let line =
            |place: &str, name: &str| format!("a.json:{place}: Extraneous JSON object property; {}", named(name));
        check(r#"{"Job":{"ID":"x"}}"#, &[&format!("{} Did you mean \"job\"?", line("1,2-7", "Job"))]);
        check(r#"{"ID":"x","TaskGroups":[]}"#, &[&line("1,2-6", "ID"), &line("1,11-23", "TaskGroups")]);
        let twice = format!("<nil>: Extraneous JSON object property; {}", named("zzz"));
        check(r#"{"job":{"x":{"zzz":1,"group":{"g":{"zzz":1}}}}}"#, &[&twice, &twice]);
        let hint = crate::parse_hcl(&Source::new("a", r#"{"Job":{}}"#), &drover_hcl::Inputs::default()).unwrap_err();
        assert!(hint[0].hint.as_deref().is_some_and(|hint| hint.starts_with("-json reads")));
    }
}
