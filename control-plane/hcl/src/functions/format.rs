//! `format` and `formatlist`: printf as HCL has it.

use std::iter::{Peekable, Skip};
use std::str::CharIndices;

use super::encoding::json_text;
use super::{Answer, Context, Fault, Function, any_or_null, open, string, text_at};
use crate::evaluate::units_of;
use crate::scope::TEXT_BYTES_MAX;
use crate::value::Value;

/// Widest field and most digits.
const WIDTH_MAX: usize = 1000;

pub(super) const FUNCTIONS: &[Function] = &[
    open("format", &[string("format")], any_or_null("args"), |a, context| {
        let arguments: Vec<&Value> = a[1..].iter().collect();
        format(text_at(a, 0), &arguments, context).map(Value::String).map_err(Trouble::fault)
    }),
    open("formatlist", &[string("format")], any_or_null("args"), format_list),
];

fn format_list(arguments: &[Value], context: &mut Context) -> Answer {
    let (pattern, arguments) = (text_at(arguments, 0), &arguments[1..]);
    let mut length: Option<(usize, usize)> = None;
    for (i, argument) in arguments.iter().enumerate() {
        let Some(items) = argument.as_items() else { continue };
        match length {
            None => length = Some((i, items.len())),
            Some((first, length)) if length != items.len() => {
                return Fault::argument(
                    i + 1,
                    format!(
                        "argument {} has length {}, which is inconsistent with argument {} of length {length}",
                        i + 1,
                        items.len(),
                        first + 1
                    ),
                );
            }
            Some(_) => {}
        }
    }
    let mut out = Vec::new();
    let mut bytes = 0;
    for turn in 0..length.map_or(1, |(_, length)| length) {
        let row: Vec<&Value> = arguments
            .iter()
            .map(|argument| match argument.as_items() {
                Some(items) => items.get(turn).unwrap_or(&Value::Null),
                None => argument,
            })
            .collect();
        let text = format(pattern, &row, context).map_err(|trouble| match trouble {
            Trouble::Words(reason) => Fault::Call(format!("error on format iteration {turn}: {reason}")),
            exhausted => exhausted.fault(),
        })?;
        bytes += text.len();
        if bytes > TEXT_BYTES_MAX {
            return Fault::call(format!("the result would have more than {TEXT_BYTES_MAX} bytes"));
        }
        out.push(Value::String(text));
    }
    Ok(Value::List(out))
}

#[derive(Debug, Default)]
struct Verb {
    has_plus: bool,
    has_minus: bool,
    has_space: bool,
    has_zero: bool,
    has_sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
    /// The text of the whole verb, for messages.
    raw: String,
    letter: char,
}

/// Why nothing was printed.
enum Trouble {
    Words(String),
    Exhausted,
}

impl Trouble {
    fn fault(self) -> Fault {
        match self {
            Trouble::Words(reason) => Fault::Call(reason),
            Trouble::Exhausted => Fault::Exhausted,
        }
    }
}

impl From<String> for Trouble {
    fn from(reason: String) -> Trouble {
        Trouble::Words(reason)
    }
}

fn format(pattern: &str, arguments: &[&Value], context: &mut Context) -> Result<String, Trouble> {
    context.spend(pattern.len() / 64).map_err(|_| Trouble::Exhausted)?;
    let mut out = String::new();
    let mut next = 0;
    let mut used = 0;
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let offset = pattern.len() - rest.len() + at;
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("%%") {
            out.push('%');
            rest = after;
            continue;
        }
        let (verb, index, after) = read_verb(rest, offset)?;
        rest = after;
        let index = index.unwrap_or(next);
        let raw = &verb.raw;
        let argument = arguments.get(index).ok_or_else(|| {
            let (need, have) = (index + 1, arguments.len());
            format!("not enough arguments for \"{raw}\" at {offset}: need index {need} but have {have} total")
        })?;
        next = index + 1;
        used = used.max(next);
        // A verb may print little of an argument and still looks at all of it.
        context.spend(units_of(argument)).map_err(|_| Trouble::Exhausted)?;
        let text = write_verb(&verb, argument)
            .map_err(|reason| format!("unsupported value for \"{raw}\" at {offset}: {reason}"))?;
        out.push_str(&text);
        if out.len() > TEXT_BYTES_MAX {
            return Err(format!("the result would have more than {TEXT_BYTES_MAX} bytes").into());
        }
    }
    out.push_str(rest);
    if used < arguments.len() {
        let reason = match used {
            0 => "too many arguments; no verbs in format string".to_string(),
            _ => format!("too many arguments; only {used} used by format string"),
        };
        return Err(reason.into());
    }
    Ok(out)
}

/// Reads `%[flags][width][.precision][[index]]letter`.
fn read_verb(text: &str, offset: usize) -> Result<(Verb, Option<usize>, &str), String> {
    let mut verb = Verb::default();
    let mut index = None;
    let mut chars = text.char_indices().skip(1).peekable();
    loop {
        match chars.peek().map(|(_, c)| *c) {
            Some('+') => verb.has_plus = true,
            Some('-') => verb.has_minus = true,
            Some(' ') => verb.has_space = true,
            Some('0') => verb.has_zero = true,
            Some('#') => verb.has_sharp = true,
            _ => break,
        }
        chars.next();
    }
    verb.width = digits(&mut chars);
    if chars.next_if(|(_, c)| *c == '.').is_some() {
        verb.precision = Some(digits(&mut chars).unwrap_or(0));
    }
    if chars.next_if(|(_, c)| *c == '[').is_some() {
        let position = digits(&mut chars).filter(|position| *position > 0);
        let is_closed = chars.next_if(|(_, c)| *c == ']').is_some();
        match position {
            Some(position) if is_closed => index = Some(position - 1),
            _ => return Err(format!("unrecognized format character '[' at offset {offset}")),
        }
    }
    let Some((at, letter)) = chars.next() else {
        return Err(format!("unexpected end of format string in the verb at offset {offset}"));
    };
    let end = at + letter.len_utf8();
    verb.letter = letter;
    verb.raw = text[..end].to_string();
    if verb.width.is_some_and(|width| width > WIDTH_MAX) || verb.precision.is_some_and(|digits| digits > WIDTH_MAX) {
        return Err(format!("width or precision above {WIDTH_MAX} in \"{}\" at {offset}", verb.raw));
    }
    if !"vtbdoxXeEfFgGsq".contains(letter) {
        return Err(format!("unsupported format verb '{letter}' at offset {offset}"));
    }
    Ok((verb, index, &text[end..]))
}

/// Decimal digits as a number.
fn digits(chars: &mut Peekable<Skip<CharIndices>>) -> Option<usize> {
    let mut value = None;
    while let Some(digit) = chars.peek().and_then(|(_, c)| c.to_digit(10)) {
        value = Some(value.unwrap_or(0usize).saturating_mul(10).saturating_add(digit as usize));
        chars.next();
    }
    value
}

fn write_verb(verb: &Verb, value: &Value) -> Result<String, String> {
    match verb.letter {
        'v' => {
            let text = match value {
                Value::String(text) if !verb.has_sharp => text.clone(),
                Value::Number(number) if !verb.has_sharp => return Ok(write_number(verb, &number.to_string())),
                other => json_text(other)?,
            };
            Ok(pad(verb, &text, false))
        }
        's' => {
            let text = value.to_text()?;
            let kept: String = text.chars().take(verb.precision.unwrap_or(usize::MAX)).collect();
            Ok(pad(verb, &kept, false))
        }
        'q' => {
            let text = value.to_text()?;
            let kept: String = text.chars().take(verb.precision.unwrap_or(usize::MAX)).collect();
            Ok(pad(verb, &json_text(&Value::String(kept))?, false))
        }
        't' => Ok(pad(verb, &value.to_bool()?.to_string(), false)),
        'd' | 'b' | 'o' | 'x' | 'X' => {
            let number = value.to_number()?;
            let base = match verb.letter {
                'b' => 2,
                'o' => 8,
                'd' => 10,
                _ => 16,
            };
            let digits = number.whole_digits(base).ok_or("an integer is required")?;
            let digits = if verb.letter == 'X' { digits.to_uppercase() } else { digits };
            let prefix = match verb.letter {
                'x' if verb.has_sharp => "0x",
                'X' if verb.has_sharp => "0X",
                'o' if verb.has_sharp => "0",
                'b' if verb.has_sharp => "0b",
                _ => "",
            };
            let sign = if number.is_negative() && !number.is_zero() { "-" } else { "" };
            Ok(write_number(verb, &format!("{sign}{prefix}{digits}")))
        }
        _ => {
            let number = value.to_number()?;
            if !number.is_finite() {
                return Ok(pad(verb, &number.to_string(), false));
            }
            Ok(write_number(verb, &float_text(verb, number.as_f64())))
        }
    }
}

fn float_text(verb: &Verb, value: f64) -> String {
    let text = match verb.letter {
        'e' | 'E' => exponent_text(value, Some(verb.precision.unwrap_or(6))),
        'g' | 'G' => {
            let exponent = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
            match (-4..6).contains(&exponent) {
                true => value.to_string(),
                false => exponent_text(value, None),
            }
        }
        _ => format!("{value:.*}", verb.precision.unwrap_or(6)),
    };
    if verb.letter.is_uppercase() { text.to_uppercase() } else { text }
}

/// `1.5e+07`: the exponent has a sign and two digits at least.
fn exponent_text(value: f64, digits: Option<usize>) -> String {
    let text = match digits {
        Some(digits) => format!("{value:.digits$e}"),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{exponent:0>2}")
}

fn write_number(verb: &Verb, text: &str) -> String {
    let signed = match text.starts_with('-') {
        true => text.to_string(),
        false if verb.has_plus => format!("+{text}"),
        false if verb.has_space => format!(" {text}"),
        false => text.to_string(),
    };
    pad(verb, &signed, true)
}

fn pad(verb: &Verb, text: &str, is_number: bool) -> String {
    let missing = verb.width.unwrap_or(0).saturating_sub(text.chars().count());
    if verb.has_minus {
        format!("{text}{}", " ".repeat(missing))
    } else if verb.has_zero && is_number {
        let digits = text.trim_start_matches(['+', '-', ' ']);
        format!("{}{}{digits}", &text[..text.len() - digits.len()], "0".repeat(missing))
    } else {
        format!("{}{text}", " ".repeat(missing))
    }
}
