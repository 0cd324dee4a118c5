//! A text with a name, and places in it: byte ranges inside the crate, line and column for people.

use unicode_segmentation::UnicodeSegmentation;

/// A byte range in the text of a [`Source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// A span from `start` up to, not including, `end`.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end }
    }

    /// The empty span where this one begins.
    pub fn at_start(self) -> Span {
        Span::new(self.start, self.start)
    }

    /// The span from the start of this one to the end of `other`.
    pub fn to(self, other: Span) -> Span {
        Span::new(self.start, other.end)
    }
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Span {
        Span::new(range.start, range.end)
    }
}

/// A line and a column, both counted from 1; columns count characters as a reader sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

/// A text to be parsed and the name that problems in it are reported under.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// File name or another name a reader recognises.
    pub name: String,
    /// The text, without a byte order mark.
    pub text: String,
}

impl Source {
    /// Takes a name and a text; a leading UTF-8 byte order mark is dropped.
    pub fn new(name: impl Into<String>, text: impl AsRef<str>) -> Source {
        let text = text.as_ref();
        Source { name: name.into(), text: text.strip_prefix('\u{feff}').unwrap_or(text).to_string() }
    }

    /// The text of `span`; empty when the span does not fit this source.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// Line and column of a byte; a byte past the end is taken for the end.
    pub fn position(&self, byte: usize) -> Position {
        let mut byte = byte.min(self.text.len());
        while !self.text.is_char_boundary(byte) {
            byte -= 1;
        }
        let before = &self.text[..byte];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position { line: before.bytes().filter(|b| *b == b'\n').count() + 1, column: width(&before[line_start..]) + 1 }
    }

    /// `name:line,column-column`, or `name:line,column-line,column` for a span over several lines.
    pub fn range(&self, span: Span) -> String {
        let (start, end) = (self.position(span.start), self.position(span.end));
        if start.line == end.line {
            format!("{}:{},{}-{}", self.name, start.line, start.column, end.column)
        } else {
            format!("{}:{},{}-{},{}", self.name, start.line, start.column, end.line, end.column)
        }
    }

    /// The whole line that holds `byte`, without its line ending.
    pub fn line_at(&self, byte: usize) -> &str {
        self.text.lines().nth(self.position(byte).line - 1).unwrap_or_default()
    }
}

/// Longest stretch of a line whose characters are counted as a reader sees them.
const SEEN_BYTES_MAX: usize = 64 * 1024;

/// How many characters a stretch of a line has.
fn width(text: &str) -> usize {
    match text.is_ascii() {
        true => text.len(),
        // No reader counts columns there, and finding what belongs together takes long.
        false if text.len() > SEEN_BYTES_MAX => text.chars().count(),
        false => text.graphemes(true).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_count_seen_characters() {
        let check = |text: &str, start: usize, end: usize, expected: &str| {
            assert_eq!(Source::new("a.hcl", text).range(Span::new(start, end)), expected);
        };
        check("ab\ncd\n", 3, 5, "a.hcl:2,1-3");
        check("ab\ncd\n", 0, 5, "a.hcl:1,1-2,3");
        check("é = 1", 5, 6, "a.hcl:1,5-6");
        check("\u{feff}ab", 0, 1, "a.hcl:1,1-2");
        check("ab", 1, 90, "a.hcl:1,2-3");
        check("é", 1, 1, "a.hcl:1,1-1");
        check("", 0, 0, "a.hcl:1,1-1");
    }
}
