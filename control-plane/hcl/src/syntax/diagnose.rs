//! Puts a refusal of the parser into the words that HCL users know.

use hcl_edit::parser::Error;

use super::scan::Scan;
use crate::problem::Problem;
use crate::source::{Source, Span};

/// The problem behind a refusal.
pub(super) fn diagnose(source: &Source, error: &Error, found: &Scan) -> Problem {
    let at = error.location().offset();
    let here = token_at(&source.text, at);
    Problem::new(here, format!("Invalid expression {at}"), format!("{} {found:?}", error.message()))
}

/// The word or the single character at a place.
fn token_at(text: &str, at: usize) -> Span {
    let rest = text.get(at..).unwrap_or_default();
    let word: usize =
        rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '-').map(char::len_utf8).sum();
    let width = if word > 0 { word } else { rest.chars().next().map_or(0, char::len_utf8) };
    Span::new(at.min(text.len()), at.min(text.len()) + width)
}
