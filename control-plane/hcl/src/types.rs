//! Types of values: telling them, finding one that fits several values, and converting to one.

use std::collections::{BTreeMap, BTreeSet};

use crate::value::Value;

/// A type, or part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// Whatever comes; also the type of null.
    Any,
    /// A truth value.
    Bool,
    /// A number.
    Number,
    /// Text.
    String,
    /// A list of one type.
    List(Box<Type>),
    /// A set of one type.
    Set(Box<Type>),
    /// A map of one type.
    Map(Box<Type>),
    /// A tuple with a type for each place.
    Tuple(Vec<Type>),
    /// An object with a type for each attribute.
    Object(BTreeMap<String, Type>),
}

impl Type {
    /// The type of a value; items of a list are unified.
    pub fn of(value: &Value) -> Type {
        let common = |values: Vec<Type>| Box::new(unify_all(&values).unwrap_or(Type::Any));
        match value {
            Value::Null => Type::Any,
            Value::Bool(_) => Type::Bool,
            Value::Number(_) => Type::Number,
            Value::String(_) => Type::String,
            Value::Tuple(items) => Type::Tuple(items.iter().map(Type::of).collect()),
            Value::List(items) => Type::List(common(items.iter().map(Type::of).collect())),
            Value::Set(items) => Type::Set(common(items.iter().map(Type::of).collect())),
            Value::Object(entries) => {
                Type::Object(entries.iter().map(|(name, value)| (name.clone(), Type::of(value))).collect())
            }
            Value::Map(entries) => Type::Map(common(entries.values().map(Type::of).collect())),
        }
    }

    /// The type in words: `string`, `tuple`, `list of string`.
    pub fn name(&self) -> String {
        match self {
            Type::Any => "dynamic".to_string(),
            Type::Bool => "bool".to_string(),
            Type::Number => "number".to_string(),
            Type::String => "string".to_string(),
            Type::List(item) => format!("list of {}", item.name()),
            Type::Set(item) => format!("set of {}", item.name()),
            Type::Map(item) => format!("map of {}", item.name()),
            Type::Tuple(_) => "tuple".to_string(),
            Type::Object(_) => "object".to_string(),
        }
    }

    /// The type in words, after "a required" and the like: `list of string`, `any type`.
    fn wanted(&self) -> String {
        match self {
            Type::List(item) if **item == Type::Any => "list of any single type".to_string(),
            Type::Set(item) if **item == Type::Any => "set of any single type".to_string(),
            Type::Map(item) if **item == Type::Any => "map of any single type".to_string(),
            other => other.name(),
        }
    }

    /// How many types this one is made of, itself among them.
    fn parts(&self) -> usize {
        1 + match self {
            Type::Any | Type::Bool | Type::Number | Type::String => 0,
            Type::List(item) | Type::Set(item) | Type::Map(item) => item.parts(),
            Type::Tuple(items) => items.iter().map(Type::parts).sum(),
            Type::Object(entries) => entries.values().map(Type::parts).sum(),
        }
    }

    /// Whether a number, text or truth value.
    fn is_simple(&self) -> bool {
        matches!(self, Type::Bool | Type::Number | Type::String)
    }
}

/// One type that both can be converted to without loss.
pub fn unify(a: &Type, b: &Type) -> Option<Type> {
    Unifier::for_all(&[a, b]).unify(a, b)
}

/// One type for all of them; `Any` for none.
pub fn unify_all(types: &[Type]) -> Option<Type> {
    Unifier::for_all(&types.iter().collect::<Vec<_>>()).all(types)
}

/// Tuples that do not fit item by item are tried as lists, so each level may be looked at twice; the number of steps
/// keeps that from doubling with each level. Types that need more steps have no common one.
struct Unifier {
    steps_left: usize,
}

impl Unifier {
    fn for_all(types: &[&Type]) -> Unifier {
        const SPARE_STEPS: usize = 1000;
        const STEPS_PER_PART: usize = 8;
        let parts: usize = types.iter().map(|wanted| wanted.parts()).sum();
        Unifier { steps_left: SPARE_STEPS + STEPS_PER_PART * parts }
    }

    fn all(&mut self, types: &[Type]) -> Option<Type> {
        types.iter().try_fold(Type::Any, |common, next| self.unify(&common, next))
    }

    fn boxed(&mut self, a: &Type, b: &Type) -> Option<Box<Type>> {
        self.unify(a, b).map(Box::new)
    }

    fn unify(&mut self, a: &Type, b: &Type) -> Option<Type> {
        self.steps_left = self.steps_left.checked_sub(1)?;
        match (a, b) {
            (Type::Any, other) | (other, Type::Any) => Some(other.clone()),
            (Type::String, other) | (other, Type::String) => other.is_simple().then_some(Type::String),
            (Type::Bool, Type::Bool) | (Type::Number, Type::Number) => Some(a.clone()),
            (Type::List(a), Type::List(b)) => self.boxed(a, b).map(Type::List),
            (Type::Set(a), Type::Set(b)) => self.boxed(a, b).map(Type::Set),
            (Type::Map(a), Type::Map(b)) => self.boxed(a, b).map(Type::Map),
            (Type::List(list), Type::Set(set)) | (Type::Set(set), Type::List(list)) => {
                self.boxed(list, set).map(Type::List)
            }
            (Type::Tuple(a), Type::Tuple(b)) => {
                if a.len() == b.len() {
                    let both: Option<Vec<Type>> = a.iter().zip(b).map(|(a, b)| self.unify(a, b)).collect();
                    if let Some(types) = both {
                        return Some(Type::Tuple(types));
                    }
                }
                Some(Type::List(Box::new(self.all(&[a.as_slice(), b].concat())?)))
            }
            (Type::Tuple(items), Type::List(item)) | (Type::List(item), Type::Tuple(items)) => {
                let inner = self.all(items)?;
                self.boxed(&inner, item).map(Type::List)
            }
            (Type::Object(a), Type::Object(b)) => {
                if a.len() == b.len() && a.keys().eq(b.keys()) {
                    let pairs = a.iter().zip(b.values());
                    let both: Option<BTreeMap<String, Type>> =
                        pairs.map(|((name, a), b)| Some((name.clone(), self.unify(a, b)?))).collect();
                    if let Some(types) = both {
                        return Some(Type::Object(types));
                    }
                }
                let all: Vec<Type> = a.values().chain(b.values()).cloned().collect();
                Some(Type::Map(Box::new(self.all(&all)?)))
            }
            (Type::Object(entries), Type::Map(item)) | (Type::Map(item), Type::Object(entries)) => {
                let inner = self.all(&entries.values().cloned().collect::<Vec<_>>())?;
                self.boxed(&inner, item).map(Type::Map)
            }
            _ => None,
        }
    }
}

/// Converts values to the one type that fits them all.
pub fn unify_values(values: Vec<Value>) -> Option<Vec<Value>> {
    let types: Vec<Type> = values.iter().map(Type::of).collect();
    let common = unify_all(&types)?;
    values.into_iter().map(|value| convert(&value, &common).ok()).collect()
}

/// Sorted, none twice.
pub fn set_of(values: impl IntoIterator<Item = Value>) -> Value {
    Value::Set(values.into_iter().collect::<BTreeSet<_>>().into_iter().collect())
}

/// Converts a value. The error says what is missing, with the way to it: `element 0: a number is required`.
pub fn convert(value: &Value, wanted: &Type) -> Result<Value, String> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let mismatch = || format!("{} required, but have {}", wanted.wanted(), value.type_name());
    match wanted {
        Type::Any => Ok(value.clone()),
        Type::Bool => value.to_bool().map(Value::Bool),
        Type::Number => value.to_number().map(Value::Number),
        Type::String => value.to_text().map(Value::String),
        Type::List(item) => Ok(Value::List(convert_items(value, item).ok_or_else(mismatch)??)),
        Type::Set(item) => Ok(set_of(convert_items(value, item).ok_or_else(mismatch)??)),
        Type::Map(item) => {
            let entries = value.as_entries().ok_or_else(mismatch)?;
            let item = concrete(item, entries.values())?;
            let converted: Result<BTreeMap<_, _>, String> = entries
                .iter()
                .map(|(name, value)| {
                    let value = convert(value, &item).map_err(|problem| format!("element \"{name}\": {problem}"))?;
                    Ok((name.clone(), value))
                })
                .collect();
            Ok(Value::Map(converted?))
        }
        Type::Tuple(types) => {
            let items = match value {
                Value::Tuple(items) => items,
                _ => return Err(mismatch()),
            };
            if items.len() != types.len() {
                return Err(format!("a tuple of {} elements is required", types.len()));
            }
            let converted: Result<Vec<_>, String> = items
                .iter()
                .zip(types)
                .enumerate()
                .map(|(i, (item, wanted))| convert(item, wanted).map_err(|problem| format!("element {i}: {problem}")))
                .collect();
            Ok(Value::Tuple(converted?))
        }
        Type::Object(types) => {
            let entries = value.as_entries().ok_or_else(mismatch)?;
            let missing: Vec<&String> = types.keys().filter(|name| !entries.contains_key(*name)).collect();
            match missing.as_slice() {
                [] => {}
                [one] => return Err(format!("attribute \"{one}\" is required")),
                several => {
                    let names: Vec<String> = several.iter().map(|name| format!("\"{name}\"")).collect();
                    let (last, rest) = names.split_last().map_or(("", Vec::new()), |(l, r)| (l.as_str(), r.to_vec()));
                    return Err(format!("attributes {} and {last} are required", rest.join(", ")));
                }
            }
            let converted: Result<BTreeMap<_, _>, String> = types
                .iter()
                .map(|(name, wanted)| {
                    let value = convert(&entries[name], wanted)
                        .map_err(|problem| format!("attribute \"{name}\": {problem}"))?;
                    Ok((name.clone(), value))
                })
                .collect();
            Ok(Value::Object(converted?))
        }
    }
}

/// Items of any sequence, each converted; `None` when the value is no sequence.
fn convert_items(value: &Value, item: &Type) -> Option<Result<Vec<Value>, String>> {
    let items = value.as_items()?;
    let item = match concrete(item, items.iter()) {
        Ok(item) => item,
        Err(problem) => return Some(Err(problem)),
    };
    let converted = items
        .iter()
        .enumerate()
        .map(|(i, value)| convert(value, &item).map_err(|problem| format!("element {i}: {problem}")));
    Some(converted.collect())
}

/// `any` inside a collection stands for the one type that fits all items.
fn concrete<'v>(item: &Type, values: impl Iterator<Item = &'v Value>) -> Result<Type, String> {
    if *item != Type::Any {
        return Ok(item.clone());
    }
    unify_all(&values.map(Type::of).collect::<Vec<_>>())
        .ok_or_else(|| "all elements must have the same type".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_with_a_way_to_the_fault() {
        let tuple = Value::Tuple(vec![Value::from(1i64), Value::from("a")]);
        assert_eq!(
            convert(&tuple, &Type::List(Box::new(Type::String))),
            Ok(Value::List(vec![Value::from("1"), Value::from("a")]))
        );
        assert_eq!(
            convert(&tuple, &Type::List(Box::new(Type::Number))),
            Err("element 1: a number is required".to_string())
        );
        let object = Type::Object([("x".to_string(), Type::String)].into());
        assert_eq!(convert(&Value::Object(BTreeMap::new()), &object), Err("attribute \"x\" is required".to_string()));
        assert_eq!(
            convert(&Value::from("x"), &Type::List(Box::new(Type::String))),
            Err("list of string required, but have string".to_string())
        );
    }

    #[test]
    fn finds_a_common_type() {
        let check = |a: &Type, b: &Type, expected: Option<Type>| assert_eq!(unify(a, b), expected);
        check(&Type::Number, &Type::String, Some(Type::String));
        check(&Type::Number, &Type::Bool, None);
        check(&Type::Any, &Type::Bool, Some(Type::Bool));
        let short = Type::Tuple(vec![Type::Number]);
        let long = Type::Tuple(vec![Type::String, Type::String]);
        check(&short, &long, Some(Type::List(Box::new(Type::String))));
        check(&short, &Type::Object(BTreeMap::new()), None);
    }
}
