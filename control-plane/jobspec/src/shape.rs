//! The table language: a block of the job language is a [`Shape`], a list of [`Field`]s.
//!
//! One table says what a thing is called in a job file and in the API, what kind of value it takes, what it is while
//! unset (`parsed`), and what the server makes of it when it stays unset (`stored`). The decoder, the reader of JSON
//! jobs and canonicalization all interpret the same tables, which are under [`crate::shapes`].

use drover_hcl::{Block, Problem, Source};
use serde_json::{Map, Value, json};

/// What values a field takes.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Text; numbers and truth values turn into text.
    Text,
    /// A truth value.
    Bool,
    /// A whole number inside these bounds.
    Int(i64, i64),
    /// A whole number that is cut and wrapped to 8 bits, as affinity weights are.
    WrappedInt8,
    /// `1m30s` or a number of nanoseconds.
    Duration,
    /// A list of texts.
    TextList,
    /// A list of whole numbers.
    IntList,
    /// Names to texts, written as an attribute.
    TextMap,
    /// Names to texts, written as a block.
    TextMapBlock,
    /// Names to texts, written either way.
    TextMapEither,
    /// Names to lists of texts, written as a block.
    ListMapBlock,
    /// A block that is handed on as it is: driver and autoscaler settings.
    Opaque,
    /// Not part of job files; any JSON is carried.
    Json,
    /// A block that may stand once.
    One(&'static Shape),
    /// A block that may repeat.
    Many(&'static Shape),
    /// A block that may repeat, its label being the key of a map.
    Named(&'static Shape),
}

/// What a field is when a job file does not set it.
#[derive(Clone, Copy, PartialEq)]
pub enum Parsed {
    /// `null`.
    Null,
    /// Empty text, false, 0.
    Zero,
    /// That text.
    Text(&'static str),
    /// That number.
    Int(i64),
    /// That truth value.
    Bool(bool),
    /// The key is left out.
    Absent,
}

/// What a field becomes on registration when it is still `null`.
#[derive(Clone, Copy, PartialEq)]
pub enum Stored {
    /// It stays `null`.
    Keep,
    /// It stays as it is, even empty.
    KeepEmpty,
    /// Empty text, false, 0, or the block with all its defaults.
    Zero,
    /// That text.
    Text(&'static str),
    /// That text, also in place of empty text.
    TextOrEmpty(&'static str),
    /// That number.
    Int(i64),
    /// That truth value.
    Bool(bool),
    /// An empty list; elsewhere an empty one becomes `null`.
    EmptyList,
    /// An empty map; elsewhere an empty one becomes `null`.
    EmptyMap,
    /// Whatever was set is lost.
    Dropped,
    /// The key is taken out.
    Gone,
}

/// One attribute or block.
#[derive(Clone, Copy)]
pub struct Field {
    /// Its name in job files; empty when it exists in JSON only.
    pub hcl: &'static str,
    /// Its key in the API; empty when the shape's `finish` turns it into something else.
    pub json: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Job files must set it.
    pub is_required: bool,
    /// Its value while unset.
    pub parsed: Parsed,
    /// Its value after registration, while unset.
    pub stored: Stored,
}

/// What a hook may do with a block that was just decoded: mend its JSON and report problems.
pub type Finish = fn(&mut Map<String, Value>, &Block, &Source, &mut Vec<Problem>);

/// A block of the job language.
pub struct Shape {
    /// The key its label goes to; none for a block without label.
    pub label: Option<&'static str>,
    /// Its attributes and blocks.
    pub fields: &'static [Field],
    /// What the table can't say.
    pub finish: Option<Finish>,
}

const fn field(hcl: &'static str, json: &'static str, kind: Kind, parsed: Parsed, stored: Stored) -> Field {
    Field { hcl, json, kind, is_required: false, parsed, stored }
}

/// Text that is empty while unset.
pub const fn text(hcl: &'static str, json: &'static str) -> Field {
    field(hcl, json, Kind::Text, Parsed::Zero, Stored::Zero)
}

/// Text that is null while unset and empty once stored.
pub const fn optional_text(hcl: &'static str, json: &'static str) -> Field {
    field(hcl, json, Kind::Text, Parsed::Null, Stored::Zero)
}

/// A truth value that is false while unset.
pub const fn flag(hcl: &'static str, json: &'static str) -> Field {
    field(hcl, json, Kind::Bool, Parsed::Zero, Stored::Zero)
}

/// A truth value that is null while unset and false once stored.
pub const fn optional_flag(hcl: &'static str, json: &'static str) -> Field {
    field(hcl, json, Kind::Bool, Parsed::Null, Stored::Zero)
}

/// A number that is 0 while unset.
pub const fn int(hcl: &'static str, json: &'static str) -> Field {
    field(hcl, json, Kind::Int(i64::MIN, i64::MAX), Parsed::Zero, Stored::Zero)
}

/// A number that is null while unset and 0 once stored.
pub const fn optional_int(hcl: &'static str, json: &'static str) -> Field {
    field(hcl, json, Kind::Int(i64::MIN, i64::MAX), Parsed::Null, Stored::Zero)
}

/// A duration that is 0 while unset.
pub const fn duration(hcl: &'static str, json: &'static str) -> Field {
    field(hcl, json, Kind::Duration, Parsed::Zero, Stored::Zero)
}

/// A duration that is null while unset and 0 once stored.
pub const fn optional_duration(hcl: &'static str, json: &'static str) -> Field {
    field(hcl, json, Kind::Duration, Parsed::Null, Stored::Zero)
}

/// Anything that is null while unset and stays so.
pub const fn nullable(hcl: &'static str, json: &'static str, kind: Kind) -> Field {
    field(hcl, json, kind, Parsed::Null, Stored::Keep)
}

/// A list of texts.
pub const fn texts(hcl: &'static str, json: &'static str) -> Field {
    nullable(hcl, json, Kind::TextList)
}

/// A list of texts that stays as it is, even empty.
pub const fn kept_texts(hcl: &'static str, json: &'static str) -> Field {
    texts(hcl, json).stored(Stored::KeepEmpty)
}

/// A block that may stand once.
pub const fn one(hcl: &'static str, json: &'static str, shape: &'static Shape) -> Field {
    nullable(hcl, json, Kind::One(shape))
}

/// A block that may repeat.
pub const fn many(hcl: &'static str, json: &'static str, shape: &'static Shape) -> Field {
    nullable(hcl, json, Kind::Many(shape))
}

/// A key of that kind that only JSON has.
pub const fn field_json(json: &'static str, kind: Kind, parsed: Parsed) -> Field {
    field("", json, kind, parsed, Stored::Zero)
}

/// A key that only JSON has, null in parsed job files.
pub const fn json_only(json: &'static str) -> Field {
    nullable("", json, Kind::Json)
}

/// A text that only job files have; `finish` makes something of it.
pub const fn shorthand(hcl: &'static str) -> Field {
    field(hcl, "", Kind::Text, Parsed::Absent, Stored::Gone)
}

impl Field {
    /// Job files must set it.
    pub const fn required(mut self) -> Field {
        self.is_required = true;
        self
    }

    /// Its value while unset.
    pub const fn parsed(mut self, parsed: Parsed) -> Field {
        self.parsed = parsed;
        self
    }

    /// Its value after registration, while unset.
    pub const fn stored(mut self, stored: Stored) -> Field {
        self.stored = stored;
        self
    }

    /// A number inside these bounds.
    pub const fn within(mut self, min: i64, max: i64) -> Field {
        self.kind = Kind::Int(min, max);
        self
    }

    /// The key its value stands under while a block is decoded.
    pub fn key(&self) -> &'static str {
        if self.json.is_empty() { self.hcl } else { self.json }
    }

    /// True when job files write it as `name = value`.
    pub fn is_attribute(&self) -> bool {
        !self.hcl.is_empty()
            && !matches!(
                self.kind,
                Kind::TextMapBlock | Kind::ListMapBlock | Kind::Opaque | Kind::One(_) | Kind::Many(_) | Kind::Named(_)
            )
    }

    /// True when job files write it as a block.
    pub fn is_block(&self) -> bool {
        !self.hcl.is_empty() && (!self.is_attribute() || matches!(self.kind, Kind::TextMapEither))
    }

    /// The empty value of its kind.
    pub fn zero(&self) -> Value {
        match self.kind {
            Kind::Text => json!(""),
            Kind::Bool => json!(false),
            Kind::Int(..) | Kind::WrappedInt8 | Kind::Duration => json!(0),
            _ => Value::Null,
        }
    }

    /// Its value while unset; none when the key is left out.
    pub fn unset(&self) -> Option<Value> {
        match self.parsed {
            Parsed::Null => Some(Value::Null),
            Parsed::Zero => Some(self.zero()),
            Parsed::Text(text) => Some(json!(text)),
            Parsed::Int(number) => Some(json!(number)),
            Parsed::Bool(value) => Some(json!(value)),
            Parsed::Absent => None,
        }
    }
}

impl Shape {
    /// A block without label and without anything that the table can't say.
    pub const fn plain(fields: &'static [Field]) -> Shape {
        Shape { label: None, fields, finish: None }
    }

    /// A block whose label goes to that key.
    pub const fn labelled(label: &'static str, fields: &'static [Field]) -> Shape {
        Shape { label: Some(label), fields, finish: None }
    }

    /// What an empty block of this shape parses to.
    pub fn empty(&self) -> Map<String, Value> {
        self.empty_named(None)
    }

    /// The same of a block whose label is that text. Made in one go with all its keys, the map is a third smaller than
    /// one that grows by insertion.
    pub fn empty_named(&self, label: Option<&str>) -> Map<String, Value> {
        let mut entries = Vec::with_capacity(self.fields.len() + 1);
        let known = self.fields.iter().filter(|field| !field.json.is_empty());
        entries.extend(known.filter_map(|field| field.unset().map(|value| (field.json.to_owned(), value))));
        entries.extend(self.label.zip(label).map(|(key, text)| (key.to_owned(), json!(text))));
        entries.into_iter().collect()
    }

    /// With a hook that ends the decoding of a block.
    pub const fn finished_by(mut self, finish: Finish) -> Shape {
        self.finish = Some(finish);
        self
    }
}
