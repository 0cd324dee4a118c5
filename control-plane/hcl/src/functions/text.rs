//! Functions on text. Lengths and places count characters as a reader sees them.

use std::collections::BTreeSet;

use regex::RegexBuilder;
use unicode_segmentation::UnicodeSegmentation;

use super::{Answer, Context, Fault, Function, fixed, items_at, num, open, string, text_at, texts, whole_at};
use crate::scope::TEXT_BYTES_MAX;
use crate::value::Value;

/// Most bytes of a compiled search pattern; also bounds how long a search takes.
const PATTERN_BYTES_MAX: usize = 128 * 1024;
/// Most bytes that all searches of one call may look at.
const LOOKED_OVER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest text that is searched with a pattern.
const SEARCHED_BYTES_MAX: usize = 64 * 1024;

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("chomp", &[string("str")], |a, _| Ok(text_at(a, 0).trim_end_matches(['\r', '\n']).into())),
    fixed("indent", &[num("spaces"), string("str")], |a, _| indent(a)),
    open("join", &[string("separator")], texts("lists"), |a, _| join(a)),
    fixed("lower", &[string("str")], |a, _| Ok(map_chars(text_at(a, 0), |c| single(c.to_lowercase(), c)).into())),
    fixed("regex_replace", &[string("str"), string("pattern"), string("replacement")], |a, context| {
        regex_replace(a, context)
    }),
    fixed("replace", &[string("str"), string("substr"), string("replace")], |a, _| replace(a)),
    fixed("reverse", &[string("str")], |a, _| Ok(reverse(text_at(a, 0)).into())),
    fixed("split", &[string("separator"), string("str")], |a, context| split(text_at(a, 0), text_at(a, 1), context)),
    fixed("strlen", &[string("str")], |a, _| Ok(count(text_at(a, 0)).into())),
    fixed("strrev", &[string("str")], |a, _| Ok(reverse(text_at(a, 0)).into())),
    fixed("substr", &[string("str"), num("offset"), num("length")], |a, _| substr(a)),
    fixed("title", &[string("str")], |a, _| Ok(title(text_at(a, 0)).into())),
    fixed("trim", &[string("str"), string("cutset")], |a, _| {
        let cutset: BTreeSet<char> = text_at(a, 1).chars().collect();
        Ok(text_at(a, 0).trim_matches(|c| cutset.contains(&c)).into())
    }),
    fixed("trimprefix", &[string("str"), string("prefix")], |a, _| {
        let text = text_at(a, 0);
        Ok(text.strip_prefix(text_at(a, 1)).unwrap_or(text).into())
    }),
    fixed("trimspace", &[string("str")], |a, _| Ok(text_at(a, 0).trim().into())),
    fixed("trimsuffix", &[string("str"), string("suffix")], |a, _| {
        let text = text_at(a, 0);
        Ok(text.strip_suffix(text_at(a, 1)).unwrap_or(text).into())
    }),
    fixed("upper", &[string("str")], |a, _| Ok(map_chars(text_at(a, 0), |c| single(c.to_uppercase(), c)).into())),
];

/// A case mapping that gives more than one character (as that of `ß`) is not made.
fn single(mut mapped: impl ExactSizeIterator<Item = char>, c: char) -> char {
    if mapped.len() == 1 { mapped.next().unwrap_or(c) } else { c }
}

fn map_chars(text: &str, map: impl Fn(char) -> char) -> String {
    text.chars().map(map).collect()
}

/// Characters as a reader sees them; in plain ASCII only `\r\n` is more than one byte.
fn count(text: &str) -> usize {
    if text.is_ascii() { text.len() - text.matches("\r\n").count() } else { text.graphemes(true).count() }
}

fn reverse(text: &str) -> String {
    text.graphemes(true).rev().collect()
}

/// Refuses a result that would be too long, before it is made.
fn bounded(bytes: usize) -> Result<(), Fault> {
    match bytes <= TEXT_BYTES_MAX {
        true => Ok(()),
        false => Fault::call(format!("the result would have more than {TEXT_BYTES_MAX} bytes")),
    }
}

fn indent(arguments: &[Value]) -> Answer {
    let text = text_at(arguments, 1);
    let Ok(spaces) = usize::try_from(whole_at(arguments, 0)?) else {
        return Fault::argument(0, "the number of spaces must not be negative");
    };
    bounded(text.matches('\n').count().saturating_mul(spaces).saturating_add(text.len()))?;
    Ok(text.replace('\n', &format!("\n{}", " ".repeat(spaces))).into())
}

fn join(arguments: &[Value]) -> Answer {
    if arguments.len() < 2 {
        return Fault::call("at least one list is required");
    }
    let separator = text_at(arguments, 0);
    let mut out = String::new();
    let mut is_first = true;
    for (place, list) in arguments.iter().enumerate().skip(1) {
        for (i, item) in list.as_items().unwrap_or_default().iter().enumerate() {
            let Some(text) = item.as_str() else {
                return Fault::argument(place, format!("element {i} is null; cannot concatenate null values"));
            };
            bounded(out.len() + separator.len() + text.len())?;
            if !is_first {
                out.push_str(separator);
            }
            is_first = false;
            out.push_str(text);
        }
    }
    Ok(out.into())
}

fn replace(arguments: &[Value]) -> Answer {
    let (text, from, to) = (text_at(arguments, 0), text_at(arguments, 1), text_at(arguments, 2));
    bounded(text.matches(from).count().saturating_mul(to.len()).saturating_add(text.len()))?;
    Ok(text.replace(from, to).into())
}

fn regex_replace(arguments: &[Value], context: &mut Context) -> Answer {
    let (text, pattern, replacement) = (text_at(arguments, 0), text_at(arguments, 1), text_at(arguments, 2));
    if text.len() > SEARCHED_BYTES_MAX {
        return Fault::argument(0, format!("a text to search may have {SEARCHED_BYTES_MAX} bytes"));
    }
    context.spend(100 + (text.len() / 64 + 1) * (pattern.len() / 16 + 1))?;
    let regex = match RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build() {
        Ok(regex) => regex,
        Err(error) => return Fault::argument(1, format!("invalid pattern: {error}")),
    };
    let mut out = String::new();
    let mut copied = 0;
    let mut looked_over = 0;
    for captures in regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        // Each search may look at all that is left of the text.
        looked_over += text.len() - whole.start();
        if looked_over > LOOKED_OVER_BYTES_MAX {
            return Fault::call("the pattern is found too often in a text of this length");
        }
        out.push_str(&text[copied..whole.start()]);
        // One replacement cannot name the match more often than it has characters.
        bounded(out.len() + replacement.len().saturating_mul(whole.len() + 1))?;
        captures.expand(replacement, &mut out);
        copied = whole.end();
    }
    out.push_str(&text[copied..]);
    bounded(out.len())?;
    Ok(out.into())
}

fn split(separator: &str, text: &str, context: &mut Context) -> Answer {
    context.spend(text.matches(separator).count())?;
    let parts: Vec<Value> = match separator.is_empty() {
        true => text.chars().map(|c| Value::String(c.to_string())).collect(),
        false => text.split(separator).map(Value::text).collect(),
    };
    Ok(Value::List(parts))
}

fn substr(arguments: &[Value]) -> Answer {
    let text = text_at(arguments, 0);
    let (offset, length) = (whole_at(arguments, 1)?, whole_at(arguments, 2)?);
    let count = count(text) as i64;
    let start = if offset < 0 { offset.saturating_add(count).max(0) } else { offset.min(count) };
    let end = if length < 0 { count } else { start.saturating_add(length).min(count) };
    // Both lie between 0 and the count, which came from a usize.
    Ok(text.graphemes(true).skip(start as usize).take((end - start) as usize).collect::<String>().into())
}

fn title(text: &str) -> String {
    let mut is_start = true;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        out.push(if is_start { single(c.to_uppercase(), c) } else { c });
        is_start = !(c.is_alphanumeric() || c == '_') && (c.is_ascii() || c.is_whitespace());
    }
    out
}

/// All texts of a list of texts.
pub(super) fn all_texts(arguments: &[Value], place: usize) -> Result<Vec<String>, Fault> {
    let texts = items_at(arguments, place).iter().enumerate().map(|(i, item)| match item.as_str() {
        Some(text) => Ok(text.to_string()),
        None => Fault::argument(place, format!("element {i} is null")),
    });
    texts.collect()
}
