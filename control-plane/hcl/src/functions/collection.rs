//! Functions on maps, objects and on any kind of collection.

use std::collections::BTreeMap;

use super::{Answer, Fault, Function, any, any_or_null, fixed, items_at, open, string, text_at, texts};
use crate::types::{Type, convert, unify_values};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    open("coalesce", &[], any_or_null("vals"), |a, _| coalesce(a)),
    fixed("contains", &[any("list"), any_or_null("value")], |a, _| contains(a)),
    fixed("index", &[any("collection"), any("key")], |a, _| index(a)),
    fixed("keys", &[any("inputMap")], |a, _| Ok(Value::Tuple(entries(a, 0)?.keys().map(Value::text).collect()))),
    fixed("length", &[any("collection")], |a, _| length(&a[0])),
    fixed("lookup", &[any("inputMap"), string("key"), any_or_null("default")], |a, _| lookup(a)),
    open("merge", &[], any_or_null("maps"), |a, _| merge(a)),
    fixed("values", &[any("mapping")], |a, _| Ok(Value::Tuple(entries(a, 0)?.values().cloned().collect()))),
    fixed("zipmap", &[texts("keys"), any("values")], |a, _| zipmap(a)),
];

fn entries(arguments: &[Value], place: usize) -> Result<&BTreeMap<String, Value>, Fault> {
    let argument = arguments.get(place).unwrap_or(&Value::Null);
    match argument.as_entries() {
        Some(entries) => Ok(entries),
        None => Fault::argument(place, format!("a map or object is required, but have {}", argument.type_name())),
    }
}

fn coalesce(arguments: &[Value]) -> Answer {
    if arguments.is_empty() {
        return Fault::call("at least one argument is required");
    }
    let Some(values) = unify_values(arguments.to_vec()) else {
        return Fault::call("all arguments must have the same type");
    };
    match values.into_iter().find(|value| !value.is_null()) {
        Some(value) => Ok(value),
        None => Fault::call("no non-null arguments"),
    }
}

fn contains(arguments: &[Value]) -> Answer {
    match arguments[0].as_items() {
        Some(items) => Ok(items.contains(&arguments[1]).into()),
        None => Fault::call("argument must be list, tuple, or set"),
    }
}

fn index(arguments: &[Value]) -> Answer {
    match &arguments[0] {
        Value::Tuple(items) | Value::List(items) => {
            let number = arguments[1].to_number().map_err(|reason| Fault::Argument(1, reason))?;
            let place = number.as_i64().and_then(|place| usize::try_from(place).ok());
            match place.and_then(|place| items.get(place)) {
                Some(item) => Ok(item.clone()),
                None => Fault::call("invalid index"),
            }
        }
        Value::Map(entries) => {
            let key = arguments[1].to_text().map_err(|reason| Fault::Argument(1, reason))?;
            match entries.get(&key) {
                Some(value) => Ok(value.clone()),
                None => Fault::call("invalid index"),
            }
        }
        other => Fault::argument(0, format!("a list, tuple or map is required, but have {}", other.type_name())),
    }
}

fn length(collection: &Value) -> Answer {
    match collection {
        Value::Tuple(items) | Value::List(items) | Value::Set(items) => Ok(items.len().into()),
        Value::Map(entries) => Ok(entries.len().into()),
        _ => Fault::call("collection must be a list, a map or a tuple"),
    }
}

fn lookup(arguments: &[Value]) -> Answer {
    let (key, default) = (text_at(arguments, 1), &arguments[2]);
    let entries = entries(arguments, 0)?;
    match (entries.get(key), &arguments[0]) {
        (Some(value), _) => Ok(value.clone()),
        (None, Value::Map(_)) => {
            let Type::Map(item) = Type::of(&arguments[0]) else {
                return Ok(default.clone());
            };
            convert(default, &item).map_err(|reason| Fault::Argument(2, reason))
        }
        (None, _) => Ok(default.clone()),
    }
}

fn merge(arguments: &[Value]) -> Answer {
    let mut merged = BTreeMap::new();
    let mut is_map = !arguments.is_empty();
    for (place, argument) in arguments.iter().enumerate() {
        match argument {
            Value::Null => {}
            Value::Object(entries) | Value::Map(entries) => {
                is_map &= matches!(argument, Value::Map(_));
                merged.extend(entries.clone());
            }
            other => {
                let reason = format!("arguments must be maps or objects, got \"{}\"", other.type_name());
                return Fault::argument(place, reason);
            }
        }
    }
    Ok(if is_map { Value::Map(merged) } else { Value::Object(merged) })
}

fn zipmap(arguments: &[Value]) -> Answer {
    let keys = super::text::all_texts(arguments, 0)?;
    let values = items_at(arguments, 1);
    if arguments[1].as_items().is_none() {
        return Fault::argument(1, "values parameter must be a list or tuple value");
    }
    if keys.len() != values.len() {
        let reason = format!("number of keys ({}) does not match number of values ({})", keys.len(), values.len());
        return Fault::call(reason);
    }
    Ok(Value::Object(keys.into_iter().zip(values.iter().cloned()).collect()))
}
