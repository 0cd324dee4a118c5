//! `constraint`, `affinity` and `spread`, with their shorthands.

use serde_json::{Map, Value, json};

use crate::shape::{Field, Kind, Parsed, Shape, Stored, many, nullable, optional_int, shorthand, text};

/// `constraint { ... }`.
pub static CONSTRAINT: Shape = Shape::plain(&[
    unsettable("attribute", "LTarget"),
    unsettable("value", "RTarget"),
    unsettable("operator", "Operand"),
    shorthand("version"),
    shorthand("semver"),
    shorthand("regexp"),
    shorthand("set_contains"),
    shorthand("distinct_property"),
    Field { kind: Kind::Bool, ..shorthand("distinct_hosts") },
    shorthand("set_contains_all"),
    shorthand("set_contains_any"),
    shorthand("is_set"),
    shorthand("is_not_set"),
])
.finished_by(|body, _, _, _| {
    // Several at once: the last of this order wins. The four that are not named here have no effect.
    spread_shorthands(body, &["version", "semver", "regexp", "set_contains"]);
    if let Some(Value::Bool(value)) = body.remove("distinct_hosts") {
        body.insert("Operand".to_owned(), json!("distinct_hosts"));
        body.insert("RTarget".to_owned(), json!(value.to_string()));
    }
    if let Some(value @ Value::String(_)) = body.remove("distinct_property") {
        body.insert("Operand".to_owned(), json!("distinct_property"));
        body.insert("LTarget".to_owned(), value);
    }
    default_operand(body);
});

/// `affinity { ... }`.
pub static AFFINITY: Shape = Shape::plain(&[
    unsettable("attribute", "LTarget"),
    unsettable("value", "RTarget"),
    unsettable("operator", "Operand"),
    nullable("weight", "Weight", Kind::WrappedInt8).stored(Stored::Int(50)),
    shorthand("version"),
    shorthand("semver"),
    shorthand("regexp"),
    shorthand("set_contains"),
    shorthand("set_contains_all"),
    shorthand("set_contains_any"),
])
.finished_by(|body, _, _, _| {
    spread_shorthands(body, &["version", "semver", "regexp", "set_contains", "set_contains_all", "set_contains_any"]);
    default_operand(body);
});

/// `spread { ... }`.
pub static SPREAD: Shape = Shape::plain(&[
    text("attribute", "Attribute"),
    optional_int("weight", "Weight").within(-128, 127).stored(Stored::Int(50)),
    many("target", "SpreadTarget", &SPREAD_TARGET),
]);

static SPREAD_TARGET: Shape = Shape::labelled(
    "Value",
    &[Field { kind: Kind::Int(0, 255), parsed: Parsed::Zero, ..optional_int("percent", "Percent") }],
);

/// Text that may be written as null, which leaves it empty.
const fn unsettable(hcl: &'static str, json: &'static str) -> Field {
    text(hcl, json).parsed(Parsed::Text(""))
}

fn spread_shorthands(body: &mut Map<String, Value>, names: &[&str]) {
    for name in names {
        if let Some(value @ Value::String(_)) = body.remove(*name) {
            body.insert("Operand".to_owned(), json!(name));
            body.insert("RTarget".to_owned(), value);
        }
    }
}

fn default_operand(body: &mut Map<String, Value>) {
    if body["Operand"] == "" {
        body.insert("Operand".to_owned(), json!("="));
    }
}
