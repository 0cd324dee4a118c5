//! `yamldecode`: one YAML document to a value. The parser gives events, so that depth, aliases and size are bounded
//! here and nothing recurses; which plain words are numbers and truth values is decided here too.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::date::yaml_timestamp;
use super::encoding::decodable;
use super::{Answer, Context, Fault, Function, fixed, string, text_at};
use crate::evaluate::units_of;
use crate::number::Number;
use crate::scope::VALUE_DEPTH_MAX;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] =
    &[fixed("yamldecode", &[string("src")], |a, context| decode(text_at(a, 0), context))];

/// A collection that is not closed yet.
struct Open {
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    Sequence(Vec<Value>),
    Mapping { entries: BTreeMap<String, Value>, key: Option<Key> },
}

enum Key {
    Name(String),
    /// `<<`: the entries of what follows become entries here.
    Merge,
}

struct Decoder<'c, 'a> {
    context: &'c mut Context<'a>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Value>,
    root: Option<Value>,
}

fn decode(text: &str, context: &mut Context) -> Answer {
    let mut decoder = Decoder { context, open: Vec::new(), anchors: BTreeMap::new(), root: None };
    for event in Parser::new_from_str(decodable(text)?) {
        match event {
            Ok((event, span)) => {
                let place = || format!("on line {}, column {}: ", span.start.line(), span.start.col() + 1);
                decoder.event(event, &place)?;
            }
            Err(error) => {
                let at = error.marker();
                return Fault::call(format!("on line {}, column {}: {}", at.line(), at.col() + 1, error.info()));
            }
        }
    }
    decoder.root.ok_or_else(|| Fault::Call("on line 1, column 1: missing start of document".to_string()))
}

impl Decoder<'_, '_> {
    fn event(&mut self, event: Event, place: &impl Fn() -> String) -> Result<(), Fault> {
        if self.open.len() >= VALUE_DEPTH_MAX {
            return Fault::call(format!("{}the value is nested more than {VALUE_DEPTH_MAX} levels deep", place()));
        }
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                Fault::call(format!("{}unexpected extra content after value", place()))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(anchor) => {
                if self.key_is_next() {
                    return Fault::call(format!("{}only strings are allowed as mapping keys", place()));
                }
                let Some(value) = self.anchors.get(&anchor).cloned() else {
                    let reason = "cannot refer to an anchor from inside its own definition";
                    return Fault::call(format!("{}{reason}", place()));
                };
                self.context.spend(units_of(&value))?;
                self.add(value, 0, place)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.context.spend(1)?;
                let value = scalar(&text, style == ScalarStyle::Plain, tag.as_deref())
                    .map_err(|reason| Fault::Call(format!("{}{reason}", place())))?;
                self.scalar(&text, value, anchor, place)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(anchor, OpenKind::Sequence(Vec::new()), tag.as_deref(), "seq", place)
            }
            Event::MappingStart(anchor, tag) => {
                let kind = OpenKind::Mapping { entries: BTreeMap::new(), key: None };
                self.begin(anchor, kind, tag.as_deref(), "map", place)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(closed) = self.open.pop() else { return Ok(()) };
                let value = match closed.kind {
                    OpenKind::Sequence(items) => Value::Tuple(items),
                    OpenKind::Mapping { entries, .. } => Value::Object(entries),
                };
                self.add(value, closed.anchor, place)
            }
        }
    }

    fn key_is_next(&self) -> bool {
        matches!(self.open.last(), Some(Open { kind: OpenKind::Mapping { key: None, .. }, .. }))
    }

    fn begin(
        &mut self,
        anchor: usize,
        kind: OpenKind,
        tag: Option<&Tag>,
        wanted: &str,
        place: &impl Fn() -> String,
    ) -> Result<(), Fault> {
        if self.key_is_next() {
            return Fault::call(format!("{}only strings are allowed as mapping keys", place()));
        }
        if let Some(tag) = tag.filter(|tag| core_name(tag) != Some(wanted)) {
            let what = if wanted == "seq" { "sequence" } else { "mapping" };
            return Fault::call(format!("{}can't interpret {what} as {}", place(), tag_text(tag)));
        }
        self.context.spend(1)?;
        self.open.push(Open { anchor, kind });
        Ok(())
    }

    fn scalar(&mut self, text: &str, value: Value, anchor: usize, place: &impl Fn() -> String) -> Result<(), Fault> {
        if !self.key_is_next() {
            return self.add(value, anchor, place);
        }
        let new_key = match value.to_text() {
            _ if text == "<<" => Key::Merge,
            Ok(name) => Key::Name(name),
            Err(_) => return Fault::call(format!("{}mapping key cannot be null", place())),
        };
        if let Some(Open { kind: OpenKind::Mapping { key, .. }, .. }) = self.open.last_mut() {
            *key = Some(new_key);
        }
        if anchor > 0 {
            self.anchors.insert(anchor, value);
        }
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn add(&mut self, value: Value, anchor: usize, place: &impl Fn() -> String) -> Result<(), Fault> {
        if anchor > 0 {
            self.context.spend(units_of(&value))?;
            self.anchors.insert(anchor, value.clone());
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(value),
            Some(OpenKind::Sequence(items)) => items.push(value),
            Some(OpenKind::Mapping { entries, key }) => match key.take() {
                Some(Key::Name(name)) => {
                    entries.insert(name, value);
                }
                Some(Key::Merge) => {
                    merge(entries, value).map_err(|reason| Fault::Call(format!("{}{reason}", place())))?;
                }
                None => return Fault::call(format!("{}only strings are allowed as mapping keys", place())),
            },
        }
        Ok(())
    }
}

fn merge(entries: &mut BTreeMap<String, Value>, value: Value) -> Result<(), String> {
    match value {
        Value::Object(more) => entries.extend(more),
        Value::Tuple(items) => {
            for item in items {
                match item {
                    Value::Object(more) => entries.extend(more),
                    other => return Err(format!("cannot merge {} (from sequence) into mapping", other.type_name())),
                }
            }
        }
        other => return Err(format!("cannot merge {} into mapping", other.type_name())),
    }
    Ok(())
}

/// The short name of a tag of YAML itself.
fn core_name(tag: &Tag) -> Option<&str> {
    match tag.handle.as_str() {
        "tag:yaml.org,2002:" => Some(&tag.suffix),
        "" => tag.suffix.strip_prefix("tag:yaml.org,2002:"),
        _ => None,
    }
}

fn tag_text(tag: &Tag) -> String {
    format!("{}{}", tag.handle, tag.suffix)
}

fn scalar(text: &str, is_plain: bool, tag: Option<&Tag>) -> Result<Value, String> {
    let name = match tag {
        None => None,
        Some(tag) => match core_name(tag) {
            Some(name @ ("str" | "binary" | "null" | "bool" | "int" | "float" | "timestamp")) => Some(name),
            _ => return Err(format!("unsupported tag \"{}\"", tag_text(tag))),
        },
    };
    let cannot = |tag: &str| format!("cannot parse \"{text}\" as tag:yaml.org,2002:{tag}");
    match name {
        Some("binary") if STANDARD.decode(text).is_err() => Err(format!("{}: not valid base64", cannot("binary"))),
        Some("binary" | "str") => Ok(Value::text(text)),
        _ if !is_plain => Ok(Value::text(text)),
        Some("null") => Ok(Value::Null),
        _ if matches!(text, "" | "~" | "null" | "Null" | "NULL") => Ok(Value::Null),
        _ => match plain(text, name)? {
            Some(value) => Ok(value),
            None => name.map_or(Ok(Value::text(text)), |name| Err(cannot(name))),
        },
    }
}

/// A plain word that is more than text; nothing when it is none of the kinds that the tag allows.
fn plain(text: &str, tag: Option<&str>) -> Result<Option<Value>, String> {
    let allows = |kinds: &[&str]| tag.is_none_or(|tag| kinds.contains(&tag));
    if allows(&["bool"]) {
        match text {
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
                return Ok(Some(true.into()));
            }
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
                return Ok(Some(false.into()));
            }
            _ => {}
        }
    }
    if allows(&["int", "float"]) {
        let infinity = text.strip_prefix(['+', '-']).unwrap_or(text);
        match infinity {
            ".inf" | ".Inf" | ".INF" => return Ok(Some(Number::infinity(text.starts_with('-')).into())),
            ".nan" | ".NaN" | ".NAN" if infinity == text => {
                return Err("floating point NaN is not supported".to_string());
            }
            _ => {}
        }
        if let Some(number) = number(text)? {
            return Ok(Some(number.into()));
        }
    }
    Ok(yaml_timestamp(text).filter(|_| allows(&["timestamp"])).map(Value::String))
}

fn number(text: &str) -> Result<Option<Number>, String> {
    for (prefix, base) in [("0x", 16), ("0o", 8)] {
        let Some(digits) = text.strip_prefix(prefix) else { continue };
        if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
            return Ok(None);
        }
        return match i64::from_str_radix(digits, base) {
            Ok(value) => Ok(Some(value.into())),
            Err(_) => Err(format!("cannot parse \"{text}\" as tag:yaml.org,2002:int")),
        };
    }
    let is_decimal = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'))
        && text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    Ok(Number::from_text(text).filter(|_| is_decimal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Meter;

    fn decoded(text: &str) -> Result<String, Fault> {
        let mut context = Context { files: None, seed: None, meter: Meter::new(10_000) };
        decode(text, &mut context).map(|value| value.to_json().to_string())
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(decoded(text), Ok(expected.to_string()), "{text}");
    }

    fn refuse(text: &str, expected: &str) {
        match decoded(text) {
            Err(Fault::Call(reason)) => assert!(reason.contains(expected), "{text}: {reason}"),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn plain_words_have_types() {
        check(
            "[y, n, Y, N, on, off, TRUE, tRue, No, NULL, nUll, ~, '~', yEs]",
            "[true,false,true,false,true,false,true,\"tRue\",false,null,\"nUll\",null,\"~\",\"yEs\"]",
        );
        check(
            "[0b11, 0o17, 1_000, 1e-3, +5, -0x1F, 08, 1:30, .5, 5., 1e3, 1E+3, 0x, 0x1F]",
            "[\"0b11\",15,\"1_000\",0.001,5,\"-0x1F\",8,\"1:30\",0.5,5,1000,1000,\"0x\",31]",
        );
        check(
            "[0777, 0888, -010, _1, -.5, 1.e1, 1e, e1, 0e0, +, ., 1.5.2]",
            "[777,888,-10,\"_1\",-0.5,10,\"1e\",\"e1\",0,\"+\",\".\",\"1.5.2\"]",
        );
        check(
            "[2020-1-1, 2020-01-01 10:00:00.123, 2020-01-01T10:00:00+02:00, 2020-13-01, 20-01-01]",
            concat!(
                "[\"2020-01-01T00:00:00Z\",\"2020-01-01T10:00:00Z\",\"2020-01-01T10:00:00+02:00\",",
                "\"2020-13-01\",\"20-01-01\"]"
            ),
        );
        check("2020-01-01T1:2:3.123456789012+01:30", "\"2020-01-01T01:02:03+01:30\"");
        refuse(".nan", "floating point NaN is not supported");
        refuse("0xfffffffffffffffffffffffff", "cannot parse");
    }

    #[test]
    fn tags_and_styles() {
        check(
            "{a: !!str 5, b: !!int '7', c: !!binary aGk=, d: !!float 3, e: !!null x, f: !!int 1.5}",
            "{\"a\":\"5\",\"b\":\"7\",\"c\":\"aGk=\",\"d\":3,\"e\":null,\"f\":1.5}",
        );
        check("a: !<tag:yaml.org,2002:str> 5", "{\"a\":\"5\"}");
        check("a: |\n  x\n  y\nb: >-\n  x\n  y\n", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\"}");
        refuse("!foo 3", "unsupported tag \"!foo\"");
        refuse("!!bool x", "cannot parse \"x\" as tag:yaml.org,2002:bool");
        refuse("!!set {a, b}", "can't interpret mapping as tag:yaml.org,2002:set");
    }

    #[test]
    fn anchors_merges_and_keys() {
        check("a: &b {x: 1, z: 2}\nc:\n  <<: *b\n  z: 3\n", "{\"a\":{\"x\":1,\"z\":2},\"c\":{\"x\":1,\"z\":3}}");
        check("{z: 3, <<: {z: 1}}", "{\"z\":1}");
        check("<<: [{a: 1}, {a: 2, b: 3}]", "{\"a\":2,\"b\":3}");
        check("{on: 1, 1.50: a, 0x1F: b}", "{\"1.5\":\"a\",\"31\":\"b\",\"true\":1}");
        check("--- \n", "null");
        refuse("", "missing start of document");
        refuse("a: 1\n---\nb: 2", "unexpected extra content after value");
        refuse("? [1]\n: 2", "only strings are allowed as mapping keys");
        refuse("null: 1", "mapping key cannot be null");
        refuse("a: &x [*x]", "inside its own definition");
        refuse("<<: 5", "cannot merge number into mapping");
        refuse("{a: b", "");
    }

    #[test]
    fn what_it_grows_to_is_bounded() {
        let laughs: String = (1..40).map(|i| format!("- &a{i} [*a{}, *a{}]\n", i - 1, i - 1)).collect();
        assert_eq!(decoded(&format!("- &a0 [x, x]\n{laughs}")), Err(Fault::Exhausted));
        for open in ["[", "- ", "{a: ", "? "] {
            refuse(&open.repeat(100_000), "");
        }
        refuse(&"[".repeat(200), "nested more than");
        refuse(&"- ".repeat(200), "nested more than");
        refuse(&"{a: ".repeat(200), "nested more than");
        refuse(&" ".repeat(2_000_000), "a text to decode may have");
    }
}
