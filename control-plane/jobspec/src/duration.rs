//! Durations as job files write them, signed: a negative one parses, and is refused later by the check that names it.

use std::time::Duration;

use drover_model::time::{format_duration, parse_duration};

/// Nanoseconds of `1h30m`, `-5s`; the error is the text after `Unsuitable duration value: `.
pub fn parse(text: &str) -> Result<i64, String> {
    let (is_negative, size) = match text.strip_prefix('-') {
        Some(size) => (true, size),
        None => (false, text),
    };
    // A sign may stand once only.
    let parsed = if is_negative && size.starts_with('+') { None } else { parse_duration(size) };
    match parsed.and_then(|duration| i64::try_from(duration.as_nanos()).ok()) {
        Some(nanos) => Ok(if is_negative { -nanos } else { nanos }),
        None => Err(complaint(text, size)),
    }
}

/// Why `size` (the text without its sign) is no duration.
fn complaint(text: &str, size: &str) -> String {
    let invalid = format!("time: invalid duration {text:?}");
    let mut rest = size.trim_start_matches('+');
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(number);
        if !digits.contains(|c: char| c.is_ascii_digit()) {
            return invalid;
        }
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        if unit.is_empty() {
            return format!("time: missing unit in duration {text:?}");
        }
        if !matches!(unit, "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h") {
            return format!("time: unknown unit {unit:?} in duration {text:?}");
        }
        rest = next;
    }
    invalid
}

/// `1m30s`, `-1s`.
pub fn format(nanos: i64) -> String {
    let size = format_duration(Duration::from_nanos(nanos.unsigned_abs()));
    if nanos < 0 { format!("-{size}") } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_complains() {
        let check = |text: &str, expected: Result<i64, &str>| {
            assert_eq!(parse(text), expected.map_err(str::to_owned), "{text}");
        };
        check("90s", Ok(90_000_000_000));
        check("-1s", Ok(-1_000_000_000));
        check("1d", Err(r#"time: unknown unit "d" in duration "1d""#));
        check("5", Err(r#"time: missing unit in duration "5""#));
        check("", Err(r#"time: invalid duration """#));
        check("x", Err(r#"time: invalid duration "x""#));
        check("-+1s", Err(r#"time: invalid duration "-+1s""#));
        assert_eq!(format(-90_000_000_000), "-1m30s");
    }
}
