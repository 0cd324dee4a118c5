//! Reads characters and remembers what would have been taken at the farthest place it got to: that is what the message
//! about a wrong expression tells.

use std::collections::BTreeSet;

use crate::error::ParseError;

/// White space, as messages call it.
const BLANKS: &str = "[ \\t\\r\\n]";

/// A text being read.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    pub position: usize,
    /// What is read now must not be there.
    inverted: bool,
    farthest: usize,
    expected: BTreeSet<String>,
    /// Problems that were told where they are, in order, each once.
    problems: Vec<String>,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        let (expected, problems) = (BTreeSet::new(), Vec::new());
        Self { text, position: 0, inverted: false, farthest: 0, expected, problems }
    }

    fn note(&mut self, is_found: bool, at: usize, wanted: &str) {
        if is_found != self.inverted || at < self.farthest {
            return;
        }
        if at > self.farthest {
            self.farthest = at;
            self.expected.clear();
        }
        let not = if self.inverted { "!" } else { "" };
        self.expected.insert(format!("{not}{wanted}"));
    }

    fn next(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    /// That very text.
    pub fn literal(&mut self, text: &str) -> bool {
        let is_found = self.text[self.position..].starts_with(text);
        self.note(is_found, self.position, &format!("{text:?}"));
        if is_found {
            self.position += text.len();
        }
        is_found
    }

    /// One character for which the test holds.
    pub fn class(&mut self, name: &str, test: impl Fn(char) -> bool) -> bool {
        let found = self.next().filter(|c| test(*c));
        self.note(found.is_some(), self.position, name);
        self.position += found.map_or(0, char::len_utf8);
        found.is_some()
    }

    /// One or more of them.
    pub fn classes(&mut self, name: &str, test: impl Fn(char) -> bool + Copy) -> bool {
        let is_found = self.class(name, test);
        while is_found && self.class(name, test) {}
        is_found
    }

    pub fn blanks(&mut self) -> bool {
        self.classes(BLANKS, |c| matches!(c, ' ' | '\t' | '\r' | '\n'))
    }

    /// The end of the text.
    pub fn end(&mut self) -> bool {
        !self.look_ahead(|scanner| scanner.class(".", |_| true), true)
    }

    /// All that `read` takes, looked at without being taken; `inverted` when it is not to be there.
    pub fn look_ahead(&mut self, read: impl FnOnce(&mut Self) -> bool, inverted: bool) -> bool {
        let start = self.position;
        self.inverted ^= inverted;
        let is_found = read(self);
        self.inverted ^= inverted;
        self.position = start;
        is_found
    }

    /// From here on what is read must not be there; called again, it may be there again.
    pub fn invert(&mut self) {
        self.inverted = !self.inverted;
    }

    /// What was read since.
    pub fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.position]
    }

    /// Tells a problem of that rule.
    pub fn problem(&mut self, at: usize, rule: &str, what: &str) {
        let text = format!("{}: rule {rule:?}: {what}", self.place(at));
        if !self.problems.contains(&text) {
            self.problems.push(text);
        }
    }

    pub fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    fn place(&self, at: usize) -> String {
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        // A line's end counts as the column before the next line's first.
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        match self.text[at..].starts_with('\n') {
            true => format!("{}:0 ({at})", line + 1),
            false => format!("{line}:{column} ({at})"),
        }
    }

    /// Why the text could not be read.
    pub fn into_error(mut self) -> ParseError {
        if !self.problems.is_empty() {
            return ParseError(self.problems.join("\n"));
        }
        let is_end = self.expected.remove("!.");
        let mut expected: Vec<String> = self.expected.iter().cloned().collect();
        if is_end {
            expected.push("EOF".to_owned());
        }
        let expected = match expected.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        };
        ParseError(format!("{}: no match found, expected: {expected}", self.place(self.farthest)))
    }
}
