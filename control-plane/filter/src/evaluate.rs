//! Asks an expression of a value.

use std::cell::Cell;
use std::sync::Arc;

use serde_json::Value;

use crate::error::{FilterError, ParseError};
use crate::expression::{Binding, Expression, Operator, Quantifier, Selector, Test};
use crate::grammar;
use crate::lookup::{Found, Named, find};

/// The most values that are looked at for one answer.
const LOOKS_MAX: usize = 1_000_000;

/// A filter expression.
#[derive(Clone, Debug)]
pub struct Filter {
    expression: Arc<Expression>,
}

impl Filter {
    /// Reads an expression.
    ///
    /// # Errors
    /// The text is none, or too large.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(Self { expression: grammar::parse(text)? })
    }

    /// Whether some part of the expression looks at that field of the object; what is not looked at need not be there.
    pub fn names(&self, field: &str) -> bool {
        self.expression.names(field)
    }

    /// Whether the expression holds for a value in the JSON form of the API, with every field of its record.
    ///
    /// # Errors
    /// It names a field that is not there, or asks something of a field that can't be asked of it.
    pub fn matches(&self, value: &Value) -> Result<bool, FilterError> {
        let question = Question { root: value, looks: Cell::new(0) };
        question.ask(&self.expression, &[])
    }
}

/// A name that an entry of a collection got.
struct Placeholder {
    name: String,
    stands_for: StandsFor,
}

enum StandsFor {
    Path(Vec<String>),
    Key(String),
    Index(usize),
}

struct Question<'a> {
    root: &'a Value,
    looks: Cell<usize>,
}

impl Question<'_> {
    fn ask(&self, expression: &Expression, names: &[&Placeholder]) -> Result<bool, FilterError> {
        match expression {
            Expression::Or(parts) => {
                for part in parts {
                    if self.ask(part, names)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Expression::And(parts) => {
                for part in parts {
                    if !self.ask(part, names)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Expression::Not(part) => self.ask(part, names).map(|is_true| !is_true),
            Expression::Match { selector, test } => self.test(selector, test, names),
            Expression::Collection { quantifier, selector, binding, inner } => {
                self.each(*quantifier, selector, binding, inner, names)
            }
        }
    }

    fn look(&self) -> Result<(), FilterError> {
        self.looks.set(self.looks.get() + 1);
        if self.looks.get() > LOOKS_MAX { Err(FilterError::TooLong(LOOKS_MAX)) } else { Ok(()) }
    }

    /// The path with its placeholders put in, or what the placeholder itself is.
    fn resolve(&self, path: &[String], names: &[&Placeholder]) -> Result<Result<Vec<String>, Found<'_>>, FilterError> {
        let mut path = path.to_vec();
        for placeholder in names.iter().rev() {
            if path.first() != Some(&placeholder.name) {
                continue;
            }
            let (found, kind) = match &placeholder.stands_for {
                StandsFor::Path(prefix) => {
                    path.splice(..1, prefix.iter().cloned());
                    continue;
                }
                StandsFor::Key(key) => (Found::Key(key.clone()), "string"),
                StandsFor::Index(index) => (Found::Index(*index), "int"),
            };
            if path.len() > 1 {
                let name = placeholder.name.clone();
                return Err(FilterError::Placeholder { name, kind, path: path.join("/") });
            }
            return Ok(Err(found));
        }
        Ok(Ok(path))
    }

    fn test(&self, selector: &Selector, test: &Test, names: &[&Placeholder]) -> Result<bool, FilterError> {
        self.look()?;
        let path;
        let found = match self.resolve(&selector.path, names)? {
            Ok(resolved) => {
                path = resolved;
                find(self.root, &path)?
            }
            Err(found) => found,
        };
        let is_true = match found {
            Found::Absent => test.operator.of_absent(),
            Found::Key(key) => self.holds(Named::root(&Value::String(key)), &test.operator, selector)?,
            Found::Index(index) => self.holds(Named::root(&Value::from(index)), &test.operator, selector)?,
            Found::Value(named) => self.holds(named, &test.operator, selector)?,
        };
        Ok(is_true != test.negated)
    }

    fn holds(&self, named: Named<'_>, operator: &Operator, selector: &Selector) -> Result<bool, FilterError> {
        let kind = named.kind();
        let refuse =
            |operation: &'static str| Err(FilterError::Operation { operation, kind, selector: selector.text.clone() });
        match operator {
            Operator::Equal(wanted) => equal(named, wanted)?.ok_or(FilterError::NotComparable),
            Operator::In(wanted) => match (named.value, kind) {
                (Value::Object(map), "map") => Ok(map.contains_key(wanted)),
                (Value::Null, "map" | "slice") => Ok(false),
                (Value::Array(items), _) => {
                    for item in items {
                        self.look()?;
                        if equal(Named::root(item), wanted)?.ok_or(FilterError::ItemsNotComparable)? {
                            return Ok(true);
                        }
                    }
                    Ok(false)
                }
                (Value::String(text), _) => Ok(text.contains(wanted.as_str())),
                (Value::Bool(_) | Value::Number(_), _) => {
                    // What is sought must be of the field's kind; only then is it told that such fields hold nothing.
                    equal(named, wanted)?;
                    refuse("in/contains")
                }
                _ => refuse("in/contains"),
            },
            Operator::Empty => match (named.value, kind) {
                (_, "invalid" | "struct") => refuse("is-empty"),
                (Value::Null, _) => Ok(true),
                (Value::Object(map), _) => Ok(map.is_empty()),
                (Value::Array(items), _) => Ok(items.is_empty()),
                (Value::String(text), _) => Ok(text.is_empty()),
                _ => refuse("is-empty"),
            },
            Operator::Nil => match named.value {
                Value::Null => Ok(true),
                Value::Object(_) | Value::Array(_) => Ok(false),
                _ => refuse("is-nil"),
            },
            Operator::Matches(pattern) => {
                let Value::String(text) = named.value else {
                    return Err(FilterError::NotText(kind));
                };
                match &pattern.compiled {
                    Ok(regex) => Ok(regex.is_match(text)),
                    Err(reason) => Err(FilterError::Pattern { pattern: pattern.text.clone(), reason: reason.clone() }),
                }
            }
        }
    }

    fn each(
        &self,
        quantifier: Quantifier,
        selector: &Selector,
        binding: &Binding,
        inner: &Expression,
        names: &[&Placeholder],
    ) -> Result<bool, FilterError> {
        self.look()?;
        let is_all = quantifier == Quantifier::All;
        let not_iterable = || FilterError::NotIterable(selector.text.clone());
        let path = self.resolve(&selector.path, names)?.map_err(|_| not_iterable())?;
        let named = match find(self.root, &path)? {
            Found::Absent => return Ok(is_all),
            Found::Value(named) => named,
            Found::Key(_) | Found::Index(_) => return Err(not_iterable()),
        };
        let entries: Vec<String> = match (named.value, named.kind()) {
            (Value::Object(map), "map") => map.keys().cloned().collect(),
            (Value::Array(items), _) => (0..items.len()).map(|index| index.to_string()).collect(),
            (Value::Null, "map" | "slice") => return Ok(is_all),
            _ => return Err(not_iterable()),
        };
        for (index, entry) in entries.iter().enumerate() {
            self.look()?;
            if let (Some(index), Some(value)) = (&binding.index, &binding.value)
                && index == value
            {
                return Err(FilterError::SamePlaceholder(index.clone()));
            }
            let key = || if named.is_map() { StandsFor::Key(entry.clone()) } else { StandsFor::Index(index) };
            let item = || StandsFor::Path(path.iter().chain([entry]).cloned().collect());
            let default = |name: &String| Placeholder {
                name: name.clone(),
                stands_for: if named.is_map() { key() } else { item() },
            };
            let bound = [
                binding.default.as_ref().map(default),
                binding.index.as_ref().map(|name| Placeholder { name: name.clone(), stands_for: key() }),
                binding.value.as_ref().map(|name| Placeholder { name: name.clone(), stands_for: item() }),
            ];
            let names: Vec<&Placeholder> = names.iter().copied().chain(bound.iter().flatten()).collect();
            if self.ask(inner, &names)? != is_all {
                return Ok(!is_all);
            }
        }
        Ok(is_all)
    }
}

/// Whether a value is the one that is written; none when values of its kind are not compared.
fn equal(named: Named<'_>, wanted: &str) -> Result<Option<bool>, FilterError> {
    let syntax = |function: &str| FilterError::Value(format!("strconv.{function}: parsing {wanted:?}: invalid syntax"));
    Ok(match named.value {
        Value::String(text) => Some(text == wanted),
        Value::Bool(value) => match wanted {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(*value),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(!*value),
            _ => return Err(syntax("ParseBool")),
        },
        Value::Number(number) if number.is_f64() => {
            let wanted: f64 = wanted.parse().map_err(|_| syntax("ParseFloat"))?;
            Some(number.as_f64() == Some(wanted))
        }
        Value::Number(number) => {
            let (function, range) = if named.is_unsigned() {
                ("ParseUint", 0..=i128::from(u64::MAX))
            } else {
                ("ParseInt", i128::from(i64::MIN)..=i128::from(i64::MAX))
            };
            let wanted_number = whole(wanted, named.is_unsigned()).map_err(|error| match error {
                NotWhole::Syntax => syntax(function),
                NotWhole::Range => out_of_range(function, wanted),
            })?;
            if !range.contains(&wanted_number) {
                return Err(out_of_range(function, wanted));
            }
            let number = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            Some(number == Some(wanted_number))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    })
}

fn out_of_range(function: &str, wanted: &str) -> FilterError {
    FilterError::Value(format!("strconv.{function}: parsing {wanted:?}: value out of range"))
}

enum NotWhole {
    Syntax,
    Range,
}

/// A whole number, also in the forms `0x1f`, `0o17`, `017` and `0b1`.
fn whole(text: &str, is_unsigned: bool) -> Result<i128, NotWhole> {
    let (sign, digits) = match text.as_bytes() {
        [b'-', ..] if !is_unsigned => (-1, &text[1..]),
        [b'+', ..] if !is_unsigned => (1, &text[1..]),
        _ => (1, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(NotWhole::Syntax);
    }
    i128::from_str_radix(digits, radix).map(|number| sign * number).map_err(|_| NotWhole::Range)
}
