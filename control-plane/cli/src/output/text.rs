//! Words: short ids, quoting, plurals.

/// Characters of an id that is not shown whole.
const SHORT_ID: usize = 8;

/// The beginning of an id, or all of it.
pub fn id(id: &str, verbose: bool) -> String {
    if verbose { id.to_owned() } else { id.chars().take(SHORT_ID).collect() }
}

/// Text in double quotes with escapes, so that it reads as one word whatever is in it.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if c.is_control() && u32::from(c) < 0x80 => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// `1 allocation`, `2 allocations`.
pub fn plural(count: u64, word: &str) -> String {
    if count == 1 { format!("{count} {word}") } else { format!("{count} {word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting() {
        let check = |text: &str, expected: &str| assert_eq!(quote(text), expected);
        check("web", "\"web\"");
        check("a \"b\" \\", r#""a \"b\" \\""#);
        check("line\n\ttab\u{1b}", r#""line\n\ttab\x1b""#);
        check("é", "\"é\"");
    }

    #[test]
    fn short_ids() {
        assert_eq!(id("4f2b771a-cdb5-281b-868a-8915203016a2", false), "4f2b771a");
        assert_eq!(id("4f2b", false), "4f2b");
        assert_eq!(id("4f2b771a-cdb5", true), "4f2b771a-cdb5");
    }
}
