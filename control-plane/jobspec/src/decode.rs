//! From a tree of blocks to the API's JSON, by the tables of [`crate::shapes`]. Collects every problem with its place.

use std::collections::BTreeMap;

use drover_hcl::{Attribute, Block, Body, Problem, Source, Span, Value as Hcl};
use serde_json::{Map, Value, json};

use crate::canonicalize::set;
use crate::duration;
use crate::opaque;
use crate::shape::{Field, Kind, Parsed, Shape};
use crate::suggest::near;

/// Decodes blocks of one source.
pub struct Decoder<'a> {
    source: &'a Source,
    /// What was wrong so far.
    pub problems: Vec<Problem>,
}

impl<'a> Decoder<'a> {
    /// A decoder for blocks of that source.
    pub fn new(source: &'a Source) -> Decoder<'a> {
        Decoder { source, problems: Vec::new() }
    }

    /// The JSON of one block.
    pub fn block(&mut self, block: &Block, shape: &Shape) -> Map<String, Value> {
        let mut body = shape.empty_named(self.label(block, shape));
        self.missing(block, shape);
        for attribute in &block.body.attributes {
            self.attribute(attribute, shape, &mut body);
        }
        self.blocks(&block.body, shape, &mut body);
        if let Some(finish) = shape.finish {
            finish(&mut body, block, self.source, &mut self.problems);
            for field in shape.fields.iter().filter(|field| field.json.is_empty()) {
                // Left for the caller only where it is a list or block to deal out.
                if !matches!(field.kind, Kind::Many(_) | Kind::One(_)) {
                    body.remove(field.hcl);
                }
            }
        }
        body
    }

    fn label<'b>(&mut self, block: &'b Block, shape: &Shape) -> Option<&'b str> {
        match (shape.label, block.labels.as_slice()) {
            (None, []) => {}
            (None, [_, ..]) => self.no_label(block),
            (Some(_), []) => self.problems.push(Problem::new(
                block.open_brace_span,
                format!("Missing name for {}", block.kind),
                format!("All {} blocks must have 1 labels (name).", block.kind),
            )),
            (Some(_), [label]) => return Some(&label.text),
            (Some(_), [_, extra, ..]) => self.problems.push(Problem::new(
                extra.span,
                format!("Extraneous label for {}", block.kind),
                format!("Only 1 labels (name) are expected for {} blocks.", block.kind),
            )),
        }
        None
    }

    fn no_label(&mut self, block: &Block) {
        if let Some(first) = block.labels.first() {
            self.problems.push(Problem::new(
                first.span,
                format!("Extraneous label for {}", block.kind),
                format!("No labels are expected for {} blocks.", block.kind),
            ));
        }
    }

    fn missing(&mut self, block: &Block, shape: &Shape) {
        for field in shape.fields.iter().filter(|field| field.is_required) {
            if block.body.attribute(field.hcl).is_none() {
                self.problems.push(Problem::new(
                    block.missing_span(),
                    "Missing required argument",
                    format!("The argument \"{}\" is required, but no definition was found.", field.hcl),
                ));
            }
        }
    }

    fn attribute(&mut self, attribute: &Attribute, shape: &Shape, body: &mut Map<String, Value>) {
        let name = attribute.name.as_str();
        let Some(field) = shape.fields.iter().find(|field| field.is_attribute() && field.hcl == name) else {
            let detail = if shape.fields.iter().any(|field| field.is_block() && field.hcl == name) {
                format!(" Did you mean to define a block of type \"{name}\"?")
            } else {
                let names = shape.fields.iter().filter(|field| field.is_attribute()).map(|field| field.hcl);
                near(name, names).map(|near| format!(" Did you mean \"{near}\"?")).unwrap_or_default()
            };
            self.problems.push(Problem::new(
                attribute.name_span,
                "Unsupported argument",
                format!("An argument named \"{name}\" is not expected here.{detail}"),
            ));
            return;
        };
        match value(&attribute.value, field) {
            Ok(Some(value)) => {
                set(body, field.key(), value);
            }
            Ok(None) => {}
            Err((summary, detail)) => self.problems.push(Problem::new(attribute.value_span, summary, detail)),
        }
    }

    fn blocks(&mut self, inside: &Body, shape: &Shape, body: &mut Map<String, Value>) {
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        for block in &inside.blocks {
            let kind = block.kind.as_str();
            let Some(field) = shape.fields.iter().find(|field| field.is_block() && field.hcl == kind) else {
                self.unknown_block(block, shape);
                continue;
            };
            let is_repeatable = matches!(field.kind, Kind::Many(_) | Kind::Named(_));
            if !is_repeatable && self.is_second(block, inside, field, &mut seen) {
                continue;
            }
            let value = self.block_value(block, field, body);
            set(body, field.key(), value);
        }
    }

    /// Reports a block that may stand once and stands again.
    fn is_second<'b>(
        &mut self,
        block: &'b Block,
        inside: &Body,
        field: &Field,
        seen: &mut BTreeMap<&'b str, Span>,
    ) -> bool {
        let kind = block.kind.as_str();
        let twice = |first: Span| {
            Problem::new(
                block.header_span,
                format!("Duplicate {kind} block"),
                format!("Only one {kind} block is allowed. Another was defined at {}.", self.source.range(first)),
            )
        };
        let problem = match (field.kind, inside.attribute(kind), seen.get(kind)) {
            (Kind::TextMapEither, Some(attribute), _) => {
                Some(redefined(kind, block.header_span, &self.source.range(attribute.span)))
            }
            (Kind::TextMapEither, None, Some(first)) => {
                Some(redefined(kind, block.header_span, &self.source.range(*first)))
            }
            (_, _, Some(first)) => Some(twice(*first)),
            (_, _, None) => None,
        };
        seen.entry(kind).or_insert(block.header_span);
        match problem {
            Some(problem) => {
                self.problems.push(problem);
                true
            }
            None => false,
        }
    }

    fn unknown_block(&mut self, block: &Block, shape: &Shape) {
        let kind = block.kind.as_str();
        let detail = if shape.fields.iter().any(|field| field.is_attribute() && field.hcl == kind) {
            format!(" Did you mean to define argument \"{kind}\"? If so, use the equals sign to assign it a value.")
        } else {
            let names = shape.fields.iter().filter(|field| field.is_block()).map(|field| field.hcl);
            near(kind, names).map(|near| format!(" Did you mean \"{near}\"?")).unwrap_or_default()
        };
        self.problems.push(Problem::new(
            block.kind_span,
            "Unsupported block type",
            format!("Blocks of type \"{kind}\" are not expected here.{detail}"),
        ));
    }

    /// The value of the field once this block is added to what earlier blocks of the kind gave.
    fn block_value(&mut self, block: &Block, field: &Field, body: &mut Map<String, Value>) -> Value {
        let before = body.get_mut(field.key()).map(Value::take).unwrap_or_default();
        match field.kind {
            Kind::One(shape) => Value::Object(self.block(block, shape)),
            Kind::Many(shape) => {
                let mut list = match before {
                    Value::Array(list) => list,
                    _ => Vec::new(),
                };
                list.push(Value::Object(self.block(block, shape)));
                Value::Array(list)
            }
            Kind::Named(shape) => {
                let mut map = match before {
                    Value::Object(map) => map,
                    _ => Map::new(),
                };
                let value = self.block(block, shape);
                if let Some(label) = block.label(0) {
                    map.insert(label.to_owned(), Value::Object(value));
                }
                Value::Object(map)
            }
            Kind::Opaque => {
                self.no_label(block);
                Value::Object(opaque::body(&block.body))
            }
            Kind::ListMapBlock => self.map_block(block, list_of_texts),
            _ => self.map_block(block, map_text),
        }
    }

    /// A block whose attributes are free names.
    fn map_block(&mut self, block: &Block, read: impl Fn(&Hcl) -> Result<Value, String>) -> Value {
        self.no_label(block);
        let mut map = Map::new();
        for inner in &block.body.blocks {
            self.problems.push(Problem::new(
                inner.kind_span,
                "Unsupported block type",
                format!("Blocks of type \"{}\" are not expected here.", inner.kind),
            ));
        }
        for attribute in &block.body.attributes {
            match read(&attribute.value) {
                Ok(value) => {
                    map.insert(attribute.name.clone(), value);
                }
                Err(detail) => self.problems.push(Problem::new(
                    attribute.value_span,
                    "Unsuitable value type",
                    format!("Unsuitable value: {detail}"),
                )),
            }
        }
        Value::Object(map)
    }
}

fn redefined(kind: &str, span: Span, other: &str) -> Problem {
    Problem::new(
        span,
        format!("Duplicate {kind} block"),
        format!("{kind} may not be defined more than once. Another definition is defined at {other}."),
    )
}

/// The JSON of an attribute's value; none when it counts as not set. The error is summary and detail.
fn value(value: &Hcl, field: &Field) -> Result<Option<Value>, (String, String)> {
    let unsuitable = |detail: String| ("Unsuitable value type".to_owned(), format!("Unsuitable value: {detail}"));
    if value.is_null() {
        return match field.kind {
            Kind::Duration => Err(("Unsuitable value".to_owned(), "Unsuitable duration value: nil".to_owned())),
            Kind::Text | Kind::Bool | Kind::Int(..) if field.parsed == Parsed::Zero => {
                Err(unsuitable("null value is not allowed".to_owned()))
            }
            _ => Ok(None),
        };
    }
    let settled = match field.kind {
        Kind::Text => value.to_text().map(Value::from).map_err(|e| mismatch(e, value)),
        Kind::Bool => value.to_bool().map(Value::from).map_err(|e| mismatch(e, value)),
        Kind::Int(min, max) => whole(value, min, max),
        Kind::WrappedInt8 => value
            .to_number()
            .map(|number| json!((number.as_f64().trunc() as i64) as i8))
            .map_err(|e| mismatch(e, value)),
        Kind::Duration => {
            return nanos(value)
                .map(|nanos| Some(json!(nanos)))
                .map_err(|e| ("Unsuitable value type".to_owned(), format!("Unsuitable duration value: {e}")));
        }
        Kind::TextList => list_of_texts(value),
        Kind::IntList => items(value, "list of number").and_then(|items| {
            items.iter().map(|item| whole(item, 0, 65_535)).collect::<Result<Vec<_>, _>>().map(Value::from)
        }),
        Kind::TextMap | Kind::TextMapEither => text_map(value),
        _ => Err("a block is required".to_owned()),
    };
    settled.map(Some).map_err(unsuitable)
}

/// `string required` says more with what was there instead.
fn mismatch(complaint: String, value: &Hcl) -> String {
    if complaint.ends_with(" required") && !complaint.starts_with("a ") {
        format!("{complaint}, but have {}", value.type_name())
    } else {
        complaint
    }
}

fn whole(value: &Hcl, min: i64, max: i64) -> Result<Value, String> {
    let number = value.to_number().map_err(|e| mismatch(e, value))?;
    match number.as_i64() {
        Some(whole) if (min..=max).contains(&whole) => Ok(json!(whole)),
        _ => Err(format!("value must be a whole number, between {min} and {max}")),
    }
}

fn nanos(value: &Hcl) -> Result<i64, String> {
    match value {
        Hcl::String(text) => duration::parse(text),
        Hcl::Number(number) => number.as_i64().ok_or_else(|| "expected a whole number of nanoseconds".to_owned()),
        other => Err(format!("string required, but have {}", other.type_name())),
    }
}

fn items<'v>(value: &'v Hcl, wanted: &str) -> Result<&'v [Hcl], String> {
    value.as_items().ok_or_else(|| format!("{wanted} required, but have {}", value.type_name()))
}

fn list_of_texts(value: &Hcl) -> Result<Value, String> {
    let items = items(value, "list of string")?;
    items.iter().map(map_text).collect::<Result<Vec<_>, _>>().map(Value::from)
}

fn map_text(value: &Hcl) -> Result<Value, String> {
    if value.is_null() {
        return Err("null value is not allowed".to_owned());
    }
    value.to_text().map(Value::from).map_err(|e| mismatch(e, value))
}

fn text_map(value: &Hcl) -> Result<Value, String> {
    let entries =
        value.as_entries().ok_or_else(|| format!("map of string required, but have {}", value.type_name()))?;
    let mut map = Map::new();
    for (name, value) in entries {
        map.insert(name.clone(), map_text(value)?);
    }
    Ok(Value::Object(map))
}
