//! Functions on numbers.

use super::{Answer, Fault, Function, any, fixed, num, number_at, open, whole_at};
use crate::number::Number;
use crate::value::Value;

/// Most digits that are read.
const DIGITS_MAX: usize = 2000;

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("abs", &[num("num")], |a, _| Ok(number_at(a, 0).abs().into())),
    fixed("ceil", &[num("num")], |a, _| Ok(number_at(a, 0).ceil().into())),
    fixed("floor", &[num("num")], |a, _| Ok(number_at(a, 0).floor().into())),
    fixed("log", &[num("num"), num("base")], |a, _| {
        float(number_at(a, 0).as_f64().ln() / number_at(a, 1).as_f64().ln())
    }),
    open("max", &[], num("numbers"), |a, _| pick(a.iter().max())),
    open("min", &[], num("numbers"), |a, _| pick(a.iter().min())),
    fixed("parseint", &[any("number"), num("base")], |a, _| parseint(a)),
    fixed("pow", &[num("num"), num("power")], |a, _| float(number_at(a, 0).as_f64().powf(number_at(a, 1).as_f64()))),
    fixed("signum", &[num("num")], |a, _| Ok(whole_at(a, 0)?.signum().into())),
];

fn float(value: f64) -> Answer {
    match Number::from_f64(value) {
        Some(number) => Ok(number.into()),
        None => Fault::call("the result is not a number"),
    }
}

fn pick(found: Option<&Value>) -> Answer {
    match found {
        Some(value) => Ok(value.clone()),
        None => Fault::call("must pass at least one number"),
    }
}

fn parseint(arguments: &[Value]) -> Answer {
    let Some(text) = arguments[0].as_str() else {
        let have = arguments[0].type_name();
        return Fault::argument(0, format!("first argument must be a string, not {have}"));
    };
    let base = match whole_at(arguments, 1)? {
        base @ 2..=62 => base,
        _ => return Fault::argument(1, "base must be a whole number between 2 and 62 inclusive"),
    };
    let invalid = || Fault::Argument(0, format!("cannot parse \"{text}\" as a base {base} integer"));
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return Err(invalid());
    }
    // `base` lies between 2 and 62.
    let radix = Number::from(base);
    let mut value = Number::from_digits(false, "0", 10).ok_or_else(invalid)?;
    for c in digits.chars() {
        let digit = digit(c, base <= 36).filter(|digit| *digit < base).ok_or_else(invalid)?;
        value = value.times(&radix).and_then(|value| value.plus(&Number::from(digit))).ok_or_else(invalid)?;
    }
    Ok(Value::Number(if is_negative && !value.is_zero() { value.negated() } else { value }))
}

/// Above base 36 the capital letters are digits of their own.
fn digit(c: char, is_caseless: bool) -> Option<i64> {
    match c {
        '0'..='9' => Some(c as i64 - '0' as i64),
        'a'..='z' => Some(c as i64 - 'a' as i64 + 10),
        'A'..='Z' if is_caseless => Some(c as i64 - 'A' as i64 + 10),
        'A'..='Z' => Some(c as i64 - 'A' as i64 + 36),
        _ => None,
    }
}
