//! From text to an expression.
//!
//! ```text
//! or     = and { "or" and } [ "or" collection ] | collection
//! and    = not { "and" not }
//! not    = { "not" } ( "(" or ")" | match )
//! match  = selector ("==" | "!=" | ["not"] "contains" | ["not"] "matches") value
//!        | selector "is" ["not"] ("empty" | "nil")
//!        | value ["not"] "in" selector
//! collection = ("any" | "all") selector "as" names "{" or "}"
//! ```
//!
//! The order in which the alternatives are tried shows in the messages, so it is part of the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::RegexBuilder;

use crate::error::ParseError;
use crate::expression::{Binding, Expression, Operator, Pattern, Quantifier, Selector, Test};
use crate::scanner::Scanner;

/// The longest expression that is read, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 64 * 1024;
/// How deep parentheses and collections may lie in each other.
const DEPTH_MAX: usize = 100;
/// The most regular expressions in one expression.
const PATTERNS_MAX: usize = 32;
/// The memory that a compiled regular expression may take, in bytes.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

type Parsed = Option<Arc<Expression>>;

/// Reads an expression.
pub(crate) fn parse(text: &str) -> Result<Arc<Expression>, ParseError> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(ParseError(format!("expression is longer than {EXPRESSION_BYTES_MAX} bytes")));
    }
    let mut parser =
        Parser { scanner: Scanner::new(text), known: BTreeMap::new(), depth: 0, is_too_deep: false, patterns: 0 };
    let found = parser.input();
    if parser.is_too_deep {
        return Err(ParseError(format!("expression is nested more than {DEPTH_MAX} deep")));
    }
    if parser.patterns > PATTERNS_MAX {
        return Err(ParseError(format!("expression has more than {PATTERNS_MAX} regular expressions")));
    }
    match found {
        Some(expression) if !parser.scanner.has_problems() => Ok(expression),
        _ => Err(parser.scanner.into_error()),
    }
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    /// What stands at a place, for those that ask again: without it a wrong expression would be read twice per
    /// parenthesis.
    known: BTreeMap<usize, (usize, Parsed)>,
    depth: usize,
    is_too_deep: bool,
    patterns: usize,
}

impl Parser<'_> {
    /// Goes back to where it was when nothing was found.
    fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let start = self.scanner.position;
        let found = read(self);
        if found.is_none() {
            self.scanner.position = start;
        }
        found
    }

    fn blanks(&mut self) -> Option<()> {
        self.scanner.blanks().then_some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.scanner.literal(word).then_some(())
    }

    /// A word with blanks before it.
    fn next_word(&mut self, word: &str) -> Option<()> {
        self.blanks()?;
        self.word(word)
    }

    fn input(&mut self) -> Parsed {
        let in_parentheses = self.attempt(|p| {
            p.scanner.blanks();
            p.word("(")?;
            p.scanner.blanks();
            let found = p.or()?;
            p.scanner.blanks();
            p.word(")")?;
            p.scanner.blanks();
            p.scanner.end().then_some(found)
        });
        in_parentheses.or_else(|| {
            self.attempt(|p| {
                p.scanner.blanks();
                let found = p.or()?;
                p.scanner.blanks();
                p.scanner.end().then_some(found)
            })
        })
    }

    fn or(&mut self) -> Parsed {
        let start = self.scanner.position;
        if let Some((end, known)) = self.known.get(&start) {
            self.scanner.position = *end;
            return known.clone();
        }
        if self.depth >= DEPTH_MAX {
            self.is_too_deep = true;
        }
        if self.is_too_deep {
            return None;
        }
        self.depth += 1;
        let found = self.attempt(Self::alternatives);
        self.depth -= 1;
        self.known.insert(start, (self.scanner.position, found.clone()));
        found
    }

    fn alternatives(&mut self) -> Parsed {
        let Some(first) = self.attempt(Self::and) else {
            return self.collection();
        };
        let mut parts = vec![first];
        loop {
            let next = self.attempt(|p| {
                p.next_word("or")?;
                p.blanks()?;
                if let Some(next) = p.attempt(Self::and) { Some((next, false)) } else { Some((p.collection()?, true)) }
            });
            let is_last = next.as_ref().is_none_or(|(_, is_last)| *is_last);
            parts.extend(next.map(|(next, _)| next));
            if is_last {
                return if parts.len() == 1 { parts.pop() } else { Some(Arc::new(Expression::Or(parts))) };
            }
        }
    }

    fn and(&mut self) -> Parsed {
        let mut parts = vec![self.not()?];
        while let Some(next) = self.attempt(|p| {
            p.next_word("and")?;
            p.blanks()?;
            p.not()
        }) {
            parts.push(next);
        }
        if parts.len() == 1 { parts.pop() } else { Some(Arc::new(Expression::And(parts))) }
    }

    fn not(&mut self) -> Parsed {
        // Where each "not" begins: the last ones may be fields of that name.
        let mut starts = vec![self.scanner.position];
        while self.attempt(|p| p.word("not").and_then(|()| p.blanks())).is_some() {
            starts.push(self.scanner.position);
        }
        while let Some(start) = starts.pop() {
            self.scanner.position = start;
            if let Some(found) = self.attempt(Self::grouping) {
                return Some(if starts.len() % 2 == 1 { Arc::new(Expression::Not(found)) } else { found });
            }
        }
        None
    }

    fn grouping(&mut self) -> Parsed {
        let open = |p: &mut Self| {
            p.word("(")?;
            p.scanner.blanks();
            let found = p.or()?;
            p.scanner.blanks();
            Some(found)
        };
        let closed = self.attempt(|p| {
            let found = open(p)?;
            p.word(")")?;
            Some(found)
        });
        closed.or_else(|| self.matching()).or_else(|| {
            self.attempt(|p| {
                open(p)?;
                if !p.scanner.look_ahead(|s| s.literal(")"), true) {
                    p.scanner.problem(p.scanner.position, "grouping", "Unmatched parentheses");
                }
                None
            })
        })
    }

    fn matching(&mut self) -> Parsed {
        let found = self
            .attempt(|p| {
                let selector = p.selector()?;
                let (operator, negated) = p.operator_with_value()?;
                let value = p.value()?;
                let operator = match operator {
                    With::Equal => Operator::Equal(value),
                    With::In => Operator::In(value),
                    With::Matches => Operator::Matches(p.pattern(value)),
                };
                Some((selector, Test { operator, negated }))
            })
            .or_else(|| {
                self.attempt(|p| {
                    let selector = p.selector()?;
                    Some((selector, p.operator_alone()?))
                })
            })
            .or_else(|| self.value_in_selector());
        found.map(|(selector, test)| Arc::new(Expression::Match { selector, test }))
    }

    fn pattern(&mut self, text: String) -> Pattern {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return Pattern { text, compiled: Err(String::new()) };
        }
        let built = RegexBuilder::new(&text).size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX).build();
        let compiled = built.map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            format!("error parsing regexp: {}", last.trim_start_matches("error: "))
        });
        Pattern { text, compiled }
    }

    fn operator_with_value(&mut self) -> Option<(With, bool)> {
        let sign = |p: &mut Self, sign: &str| {
            p.attempt(|p| {
                p.scanner.blanks();
                p.word(sign)?;
                p.scanner.blanks();
                Some(())
            })
        };
        if sign(self, "==").is_some() {
            return Some((With::Equal, false));
        }
        if sign(self, "!=").is_some() {
            return Some((With::Equal, true));
        }
        for (word, with) in [("contains", With::In), ("matches", With::Matches)] {
            for negated in [false, true] {
                if self.attempt(|p| p.word_operator(word, negated)).is_some() {
                    return Some((with, negated));
                }
            }
        }
        None
    }

    /// `word` or `not word`, with blanks around.
    fn word_operator(&mut self, word: &str, negated: bool) -> Option<()> {
        if negated {
            self.next_word("not")?;
        }
        self.next_word(word)?;
        self.blanks()
    }

    fn operator_alone(&mut self) -> Option<Test> {
        for (word, operator) in [("empty", Operator::Empty), ("nil", Operator::Nil)] {
            for negated in [false, true] {
                let found = self.attempt(|p| {
                    p.next_word("is")?;
                    if negated {
                        p.next_word("not")?;
                    }
                    p.next_word(word)
                });
                if found.is_some() {
                    return Some(Test { operator, negated });
                }
            }
        }
        None
    }

    fn value_in_selector(&mut self) -> Option<(Selector, Test)> {
        let open = |p: &mut Self| {
            let value = p.value()?;
            let negated = if p.attempt(|p| p.word_operator("in", false)).is_some() {
                false
            } else {
                p.attempt(|p| p.word_operator("in", true))?;
                true
            };
            Some(Test { operator: Operator::In(value), negated })
        };
        let found = self.attempt(|p| {
            let test = open(p)?;
            Some((p.selector()?, test))
        });
        found.or_else(|| {
            self.attempt(|p| {
                open(p)?;
                let start = p.scanner.position;
                if !p.inverted(|p| p.selector().is_some()) {
                    p.scanner.problem(start, "match", "Invalid selector");
                }
                None
            })
        })
    }

    /// Looks whether something is there that must not be.
    fn inverted(&mut self, read: impl FnOnce(&mut Self) -> bool) -> bool {
        let start = self.scanner.position;
        self.scanner.invert();
        let is_found = read(self);
        self.scanner.invert();
        self.scanner.position = start;
        is_found
    }

    fn collection(&mut self) -> Parsed {
        self.attempt(|p| {
            let quantifier = |p: &mut Self, word: &str| {
                p.attempt(|p| {
                    p.word(word)?;
                    p.blanks()
                })
            };
            let quantifier = if quantifier(p, "any").is_some() {
                Quantifier::Any
            } else {
                quantifier(p, "all")?;
                Quantifier::All
            };
            let selector = p.selector()?;
            p.next_word("as")?;
            p.blanks()?;
            let binding = p.binding()?;
            p.scanner.blanks();
            p.word("{")?;
            p.scanner.blanks();
            let inner = p.or()?;
            p.scanner.blanks();
            p.word("}")?;
            Some(Arc::new(Expression::Collection { quantifier, selector, binding, inner }))
        })
    }

    fn binding(&mut self) -> Option<Binding> {
        let comma = |p: &mut Self| {
            p.scanner.blanks();
            p.word(",")?;
            p.scanner.blanks();
            Some(())
        };
        let both = self.attempt(|p| {
            let index = p.identifier()?;
            comma(p)?;
            Some(Binding { index: Some(index), value: Some(p.identifier()?), default: None })
        });
        let index = |p: &mut Self| {
            p.attempt(|p| {
                let index = p.identifier()?;
                comma(p)?;
                p.word("_")?;
                Some(Binding { index: Some(index), ..Binding::default() })
            })
        };
        let value = |p: &mut Self| {
            p.attempt(|p| {
                p.word("_")?;
                comma(p)?;
                Some(Binding { value: Some(p.identifier()?), ..Binding::default() })
            })
        };
        both.or_else(|| index(self))
            .or_else(|| value(self))
            .or_else(|| Some(Binding { default: Some(self.identifier()?), ..Binding::default() }))
    }

    fn identifier(&mut self) -> Option<String> {
        let start = self.scanner.position;
        if !self.scanner.class("[a-zA-Z]", |c| c.is_ascii_alphabetic()) {
            return None;
        }
        while self.scanner.class("[a-zA-Z0-9_/]", |c| c.is_ascii_alphanumeric() || c == '_' || c == '/') {}
        Some(self.scanner.since(start).to_owned())
    }

    fn selector(&mut self) -> Option<Selector> {
        let dotted = self.attempt(|p| {
            let mut path = vec![p.identifier()?];
            while let Some(next) = p.step() {
                path.push(next);
            }
            Some(Selector { text: path.join("."), path })
        });
        dotted.or_else(|| self.attempt(Self::pointer))
    }

    /// `.name`, `["name"]` or `.3`.
    fn step(&mut self) -> Option<String> {
        let name = self.attempt(|p| {
            p.word(".")?;
            p.identifier()
        });
        name.or_else(|| self.index()).or_else(|| {
            self.attempt(|p| {
                p.word(".")?;
                let start = p.scanner.position;
                p.scanner.classes("[0-9]", |c| c.is_ascii_digit()).then(|| p.scanner.since(start).to_owned())
            })
        })
    }

    fn index(&mut self) -> Option<String> {
        let closed = self.attempt(|p| {
            p.word("[")?;
            p.scanner.blanks();
            let name = p.string()?;
            p.scanner.blanks();
            p.word("]")?;
            Some(name)
        });
        if closed.is_some() {
            return closed;
        }
        self.attempt(|p| {
            p.word("[")?;
            p.scanner.blanks();
            if !p.inverted(|p| p.string().is_some()) {
                p.scanner.problem(p.scanner.position, "index", "Invalid index");
                return None;
            }
            p.string()?;
            p.scanner.blanks();
            if !p.scanner.look_ahead(|s| s.literal("]"), true) {
                p.scanner.problem(p.scanner.position, "index", "Unclosed index expression");
            }
            None
        })
    }

    /// `"/a/b"`.
    fn pointer(&mut self) -> Option<Selector> {
        self.word("\"")?;
        let mut path = Vec::new();
        while let Some(segment) = self.attempt(|p| {
            p.word("/")?;
            let start = p.scanner.position;
            let is_part = |c: char| c.is_alphabetic() || c.is_numeric() || "-_.~:|".contains(c);
            p.scanner.classes("[\\pL\\pN-_.~:|]", is_part).then(|| p.scanner.since(start).to_owned())
        }) {
            path.push(segment.replace("~1", "/").replace("~0", "~"));
        }
        self.word("\"")?;
        if path.is_empty() {
            path.push(String::new());
        }
        Some(Selector { text: path.join("/"), path })
    }

    fn value(&mut self) -> Option<String> {
        if let Some(selector) = self.selector() {
            return Some(selector.text);
        }
        self.number().or_else(|| self.string())
    }

    fn number(&mut self) -> Option<String> {
        self.attempt(|p| {
            let start = p.scanner.position;
            p.scanner.literal("-");
            p.digits()?;
            let text = p.scanner.since(start).to_owned();
            let is_over = p.scanner.look_ahead(|s| s.blanks() || s.end() || s.literal(")"), false);
            if !is_over {
                p.scanner.problem(p.scanner.position, "number", "Invalid number literal");
            }
            is_over.then_some(text)
        })
    }

    fn digits(&mut self) -> Option<()> {
        let is_digit = |c: char| c.is_ascii_digit();
        if !self.scanner.literal("0") {
            if !self.scanner.class("[1-9]", |c| ('1'..='9').contains(&c)) {
                return None;
            }
            while self.scanner.class("[0-9]", is_digit) {}
        }
        self.attempt(|p| {
            p.word(".")?;
            p.scanner.classes("[0-9]", is_digit).then_some(())
        });
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        let start = self.scanner.position;
        for quote in ["`", "\""] {
            let found = self.attempt(|p| {
                p.word(quote)?;
                while !p.scanner.look_ahead(|s| s.literal(quote), true) && p.scanner.class(".", |_| true) {}
                Some(p.scanner.literal(quote))
            });
            match found {
                None => {}
                Some(true) => {
                    let text = self.scanner.since(start);
                    return Some(unquoted(text).unwrap_or_else(|| {
                        self.scanner.problem(start, "string", "invalid syntax");
                        String::new()
                    }));
                }
                Some(false) => {
                    self.scanner.problem(self.scanner.position, "string", "Unterminated string literal");
                    self.scanner.position = start;
                    return None;
                }
            }
        }
        None
    }
}

/// An operator that is followed by a value.
#[derive(Clone, Copy)]
enum With {
    Equal,
    In,
    Matches,
}

/// What stands between quotes; nothing when it is not well formed.
fn unquoted(text: &str) -> Option<String> {
    let inner = text.get(1..text.len().checked_sub(1)?)?;
    if text.starts_with('`') {
        return Some(inner.replace('\r', ""));
    }
    let mut found = Vec::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\n' => return None,
            '\\' => escape(&mut chars, &mut found)?,
            c => found.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Some(String::from_utf8_lossy(&found).into_owned())
}

fn escape(chars: &mut std::str::Chars<'_>, found: &mut Vec<u8>) -> Option<()> {
    let kind = chars.next()?;
    let mut number = |count: usize, radix: u32, first: u32| {
        (0..count).try_fold(first, |value, _| value.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?))
    };
    let byte = match kind {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' | '"' => kind as u8,
        'x' => u8::try_from(number(2, 16, 0)?).ok()?,
        '0'..='7' => u8::try_from(number(2, 8, kind.to_digit(8)?)?).ok()?,
        'u' | 'U' => {
            let c = char::from_u32(number(if kind == 'u' { 4 } else { 8 }, 16, 0)?)?;
            found.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(());
        }
        _ => return None,
    };
    found.push(byte);
    Some(())
}
