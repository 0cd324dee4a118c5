//! A first look over a text, before the parser sees it: how deep brackets nest, which one stays open, and which
//! heredoc lines the parser would take for the end although a word follows the end word.

use crate::source::Span;

/// Deepest nesting of brackets, braces and holes in texts. The parser recurses, so this bounds its stack.
pub(crate) const NESTING_MAX: usize = 60;

/// Most items of an object. The parser compares each key with all before it.
pub(crate) const OBJECT_ITEMS_MAX: usize = 10_000;

/// What the look over a text found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The first bracket that is nested too deep.
    pub too_deep: Option<Span>,
    /// Brackets that are never closed, outermost first.
    pub unclosed: Vec<Span>,
    /// A heredoc that never ends.
    pub unclosed_heredoc: Option<Span>,
    /// Where the line of a quoted text ends that is not closed on it.
    pub unclosed_quote: Option<Span>,
    /// A directive in a text that ends before its own end: the parser would read on, over the closing quote.
    pub open_directive: Option<Span>,
    /// An object with more items than are allowed.
    pub too_many_items: Option<Span>,
    /// Bytes (all ASCII) that must be changed so that the parser does not end a heredoc early.
    pub false_ends: Vec<usize>,
    /// Heredocs that end on their first line, from `<<` to the end word.
    pub empty_heredocs: Vec<Span>,
}

/// How many items a bracket has, as far as that matters.
#[derive(Clone, Copy)]
enum Items {
    /// The brace of a block.
    Block,
    /// Any other bracket that is no object.
    Uncounted,
    Object(usize),
}

enum Mode<'s> {
    Code { open: usize, items: Items },
    Quoted { open: usize, directives: Vec<Span> },
    Heredoc { open: usize, word: &'s str },
}

/// Looks over a text. Never fails: what is wrong is left for the parser to refuse.
pub(crate) fn scan(text: &str) -> Scan {
    let mut scanner = Scanner { text, bytes: text.as_bytes(), at: 0, modes: Vec::new(), found: Scan::default() };
    while scanner.at < scanner.bytes.len() && scanner.found.too_deep.is_none() {
        scanner.step();
    }
    for mode in &scanner.modes {
        match mode {
            Mode::Code { open, .. } => scanner.found.unclosed.push(Span::new(*open, open + 1)),
            Mode::Quoted { open, .. } => scanner.found.unclosed_quote = Some(Span::new(*open, open + 1)),
            Mode::Heredoc { open, .. } => scanner.found.unclosed_heredoc = Some(Span::new(*open, open + 2)),
        }
    }
    scanner.found
}

struct Scanner<'s> {
    text: &'s str,
    bytes: &'s [u8],
    at: usize,
    modes: Vec<Mode<'s>>,
    found: Scan,
}

impl<'s> Scanner<'s> {
    fn step(&mut self) {
        match self.modes.last() {
            None | Some(Mode::Code { .. }) => self.step_code(),
            Some(Mode::Quoted { .. }) => self.step_quoted(),
            Some(Mode::Heredoc { word, .. }) => {
                let word = *word;
                self.step_heredoc(word);
            }
        }
    }

    fn starts_with(&self, prefix: &str) -> bool {
        self.bytes[self.at..].starts_with(prefix.as_bytes())
    }

    fn push(&mut self, mode: Mode<'s>, width: usize) {
        if self.modes.len() >= NESTING_MAX {
            self.found.too_deep = Some(Span::new(self.at, self.at + width));
        }
        self.modes.push(mode);
        self.at += width;
    }

    fn skip_past(&mut self, end: &str) {
        self.at = self.text[self.at..].find(end).map_or(self.bytes.len(), |found| self.at + found + end.len());
    }

    fn step_code(&mut self) {
        match self.bytes[self.at] {
            b'#' => self.skip_past("\n"),
            b'/' if self.starts_with("//") => self.skip_past("\n"),
            b'/' if self.starts_with("/*") => self.skip_past("*/"),
            b'"' => self.push(Mode::Quoted { open: self.at, directives: Vec::new() }, 1),
            b'{' if self.is_object() => self.push(Mode::Code { open: self.at, items: Items::Object(0) }, 1),
            b'{' => self.push(Mode::Code { open: self.at, items: Items::Block }, 1),
            b'[' | b'(' => self.push(Mode::Code { open: self.at, items: Items::Uncounted }, 1),
            b'=' | b':' => self.count_item(),
            b'}' | b']' | b')' => {
                self.modes.pop();
                self.at += 1;
            }
            b'<' if self.starts_with("<<") => self.open_heredoc(),
            _ => self.at += 1,
        }
    }

    /// Whether a brace begins an object: that of a block stands after a word or a label.
    fn is_object(&self) -> bool {
        if let Some(Mode::Code { items: Items::Uncounted | Items::Object(_), .. }) = self.modes.last() {
            return true;
        }
        let before = self.text[..self.at].trim_end_matches([' ', '\t']);
        !before.ends_with(|c: char| c == '"' || c == '_' || c == '-' || c.is_alphanumeric())
    }

    fn count_item(&mut self) {
        if let Some(Mode::Code { open, items: Items::Object(items) }) = self.modes.last_mut() {
            *items += 1;
            if *items > OBJECT_ITEMS_MAX {
                self.found.too_many_items.get_or_insert(Span::new(*open, *open + 1));
            }
        }
        self.at += 1;
    }

    fn open_heredoc(&mut self) {
        let open = self.at;
        let rest = &self.text[open + 2..];
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        let line = rest.split_inclusive('\n').next().unwrap_or_default();
        let word = line.trim_end();
        let is_word = word.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && word.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        if !is_word || !line.ends_with('\n') {
            self.at += 2;
            return;
        }
        let next_line = self.text.len() - rest.len() + line.len();
        self.push(Mode::Heredoc { open, word }, next_line - open);
        if self.line_start(word) {
            self.found.empty_heredocs.push(Span::new(open, self.at));
        }
    }

    /// At the start of a heredoc line: ends the heredoc and says so, or notes a false end.
    fn line_start(&mut self, word: &str) -> bool {
        let rest = &self.text[self.at..];
        let line = rest.split('\n').next().unwrap_or_default();
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        let Some(after) = line[indent..].strip_prefix(word) else {
            return false;
        };
        if after.trim_end_matches(['\r', ' ', '\t']).is_empty() {
            self.modes.pop();
            self.at += indent + word.len();
            return true;
        }
        if !after.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-') && word.is_ascii() {
            self.found.false_ends.push(self.at + indent);
        }
        false
    }

    fn step_text(&mut self) -> bool {
        if self.starts_with("$${") || self.starts_with("%%{") {
            self.at += 3;
        } else if self.starts_with("${") || self.starts_with("%{") {
            self.note_directive();
            self.push(Mode::Code { open: self.at, items: Items::Uncounted }, 2);
        } else {
            return false;
        }
        true
    }

    /// Keeps count of the directives in a quoted text.
    fn note_directive(&mut self) {
        let word = self.text[self.at..].strip_prefix("%{").unwrap_or_default();
        let word = word.strip_prefix('~').unwrap_or(word).trim_start();
        let word = &word[..word.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(word.len())];
        let Some(Mode::Quoted { directives, .. }) = self.modes.last_mut() else { return };
        match word {
            "if" | "for" => directives.push(Span::new(self.at, self.at + 2)),
            "endif" | "endfor" => {
                directives.pop();
            }
            _ => {}
        }
    }

    fn step_quoted(&mut self) {
        if self.step_text() {
            return;
        }
        match self.bytes[self.at] {
            b'\\' => self.at += 2,
            b'"' => {
                if let Some(Mode::Quoted { directives, .. }) = self.modes.pop()
                    && let Some(span) = directives.last()
                {
                    self.found.open_directive.get_or_insert(*span);
                }
                self.at += 1;
            }
            b'\n' => {
                self.found.unclosed_quote.get_or_insert(Span::new(self.at, self.at + 1));
                self.modes.pop();
            }
            _ => self.at += 1,
        }
    }

    fn step_heredoc(&mut self, word: &'s str) {
        if self.step_text() {
            return;
        }
        let is_newline = self.bytes[self.at] == b'\n';
        self.at += 1;
        if is_newline {
            self.line_start(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_stays_open() {
        let check = |text: &str, expected: &[usize]| {
            let found: Vec<usize> = scan(text).unclosed.iter().map(|span| span.start).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("a {\n}\n", &[]);
        check("a {\nb {\n", &[2, 6]);
        check("a = \"{\" # {\n// {\n/* { */", &[]);
        check("a = \"${\"{\"}\"", &[]);
        check("a = <<E\n{\nE\n", &[]);
        check("a = <<-E\n${ b {\nE\n", &[9, 14]);
        check("a \\", &[]);
        check("a = \"\\", &[]);
    }

    #[test]
    fn finds_false_heredoc_ends() {
        assert_eq!(scan("a = <<E\nE b\n E\n").false_ends, [8]);
        assert_eq!(scan("a = <<E\nEb\nE\n").false_ends, [0usize; 0]);
        assert_eq!(scan("a = <<E\n E\n").empty_heredocs, [Span::new(4, 10)]);
        // Blanks after the end word are none of its business.
        assert_eq!(scan("a = <<E\nx\nE \t\n").false_ends, [0usize; 0]);
        assert!(scan("a = <<E\nx\nE \t\n").unclosed_heredoc.is_none());
        assert!(scan("a = <<E\nx\n").unclosed_heredoc.is_some());
        assert_eq!(scan("a = \"x\nb").unclosed_quote, Some(Span::new(6, 7)));
        assert_eq!(scan("a = \"x%{ if b }%{~ for c in d }%{ endfor }\"\n").open_directive, Some(Span::new(6, 8)));
        assert_eq!(scan("a = \"%{ if b }%{ else }%{ endif }\"\n").open_directive, None);
    }

    #[test]
    fn stops_at_too_much_nesting() {
        assert!(scan(&"[".repeat(NESTING_MAX)).too_deep.is_none());
        assert!(scan(&"[".repeat(100_000)).too_deep.is_some());
    }
}
