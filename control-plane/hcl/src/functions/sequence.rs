//! Functions on lists and tuples.

use std::collections::BTreeSet;

use super::{Answer, Fault, Function, any, fixed, items_at, num, number_at, open, texts, whole_at};
use crate::number::Number;
use crate::types::unify_values;
use crate::value::Value;

/// Most values of one `range`.
const RANGE_MAX: usize = 1024;

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("chunklist", &[any("list"), num("size")], |a, _| chunklist(a)),
    open("coalescelist", &[], any("vals"), |a, _| coalescelist(a)),
    fixed("compact", &[texts("list")], |a, _| {
        let kept = items_at(a, 0).iter().filter(|item| item.as_str().is_some_and(|text| !text.is_empty()));
        Ok(Value::List(kept.cloned().collect()))
    }),
    open("concat", &[], any("seqs"), |a, _| concat(a)),
    fixed("distinct", &[any("list")], |a, _| distinct(a)),
    fixed("element", &[any("list"), num("index")], |a, _| element(a)),
    fixed("flatten", &[any("list")], |a, _| flatten(a)),
    open("range", &[], super::num("params"), |a, _| range(a)),
    fixed("slice", &[any("list"), num("start_index"), num("end_index")], |a, _| slice(a)),
    fixed("sort", &[texts("list")], |a, _| {
        let mut sorted = super::text::all_texts(a, 0)?;
        sorted.sort();
        Ok(Value::List(sorted.into_iter().map(Value::String).collect()))
    }),
];

/// The items of a list or tuple.
fn list_at(arguments: &[Value], place: usize) -> Result<&[Value], Fault> {
    match arguments.get(place) {
        Some(Value::Tuple(items) | Value::List(items)) => Ok(items),
        other => {
            let have = other.map_or("nothing".to_string(), Value::type_name);
            Fault::argument(place, format!("a list or tuple is required, but have {have}"))
        }
    }
}

/// Items of the same kind of sequence that the first argument is.
fn same_kind(like: &Value, items: Vec<Value>) -> Value {
    if matches!(like, Value::List(_)) { Value::List(items) } else { Value::Tuple(items) }
}

fn chunklist(arguments: &[Value]) -> Answer {
    let items = list_at(arguments, 0)?;
    let Ok(size) = usize::try_from(whole_at(arguments, 1)?) else {
        return Fault::argument(1, "the size argument must be positive");
    };
    let size = if size == 0 { items.len().max(1) } else { size };
    Ok(Value::List(items.chunks(size).map(|chunk| Value::List(chunk.to_vec())).collect()))
}

fn coalescelist(arguments: &[Value]) -> Answer {
    if arguments.is_empty() {
        return Fault::call("at least one argument is required");
    }
    for place in 0..arguments.len() {
        if !list_at(arguments, place)?.is_empty() {
            return Ok(arguments[place].clone());
        }
    }
    Fault::call("no non-null arguments")
}

fn concat(arguments: &[Value]) -> Answer {
    if arguments.is_empty() {
        return Fault::call("at least one argument is required");
    }
    let mut all = Vec::new();
    for (place, argument) in arguments.iter().enumerate() {
        match argument {
            Value::Tuple(items) | Value::List(items) => all.extend(items.iter().cloned()),
            other => {
                let reason = format!("all arguments must be lists or tuples; got {}", other.type_name());
                return Fault::argument(place, reason);
            }
        }
    }
    Ok(Value::Tuple(all))
}

fn distinct(arguments: &[Value]) -> Answer {
    let Some(items) = unify_values(list_at(arguments, 0)?.to_vec()) else {
        return Fault::argument(0, "all elements must have the same type");
    };
    let mut seen = BTreeSet::new();
    Ok(Value::List(items.into_iter().filter(|item| seen.insert(item.clone())).collect()))
}

fn element(arguments: &[Value]) -> Answer {
    let items = list_at(arguments, 0)?;
    if items.is_empty() {
        return Fault::call("cannot use element function with an empty list");
    }
    let place = whole_at(arguments, 1)?.rem_euclid(items.len() as i64);
    // The remainder lies between 0 and the count, which came from a usize.
    Ok(items[place as usize].clone())
}

fn flatten(arguments: &[Value]) -> Answer {
    fn add(items: &[Value], out: &mut Vec<Value>) {
        for item in items {
            match item.as_items() {
                Some(inner) => add(inner, out),
                None => out.push(item.clone()),
            }
        }
    }
    let Some(items) = arguments[0].as_items() else {
        return Fault::argument(0, "can only flatten lists, sets and tuples");
    };
    let mut out = Vec::new();
    add(items, &mut out);
    Ok(Value::Tuple(out))
}

fn range(arguments: &[Value]) -> Answer {
    let (zero, one) = (Number::from(0i64), Number::from(1i64));
    let (start, end, step) = match arguments.len() {
        1 => (zero.clone(), number_at(arguments, 0), None),
        2 => (number_at(arguments, 0), number_at(arguments, 1), None),
        3 => (number_at(arguments, 0), number_at(arguments, 1), Some(number_at(arguments, 2))),
        _ => return Fault::call("must have one, two, or three arguments"),
    };
    let is_down = end < start;
    let step = step.unwrap_or_else(|| if is_down { one.negated() } else { one });
    if step.is_zero() {
        return Fault::call("step must not be zero");
    }
    if is_down && step > zero {
        return Fault::call("end must be greater than start when step is positive");
    }
    if !is_down && end != start && step < zero {
        return Fault::call("end must be less than start when step is negative");
    }
    let mut values = Vec::new();
    let mut at = start;
    while if is_down { at > end } else { at < end } {
        if values.len() >= RANGE_MAX {
            return Fault::call(format!(
                "more than {RANGE_MAX} values were generated; either decrease the difference between start and end or use a smaller step"
            ));
        }
        values.push(Value::Number(at.clone()));
        let Some(next) = at.plus(&step) else { break };
        at = next;
    }
    Ok(Value::List(values))
}

fn slice(arguments: &[Value]) -> Answer {
    let items = list_at(arguments, 0)?;
    let place = |argument: usize| match usize::try_from(whole_at(arguments, argument)?) {
        Ok(place) => Ok(place),
        Err(_) => Fault::argument(argument, "index must not be a negative number"),
    };
    let (start, end) = (place(1)?, place(2)?);
    if end > items.len() {
        return Fault::argument(2, "end index must not be greater than the length of the list");
    }
    if start > end {
        return Fault::argument(1, "start index must not be greater than end index");
    }
    Ok(same_kind(&arguments[0], items[start..end].to_vec()))
}
