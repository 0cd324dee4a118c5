//! Puts a refusal of the parser into the words that HCL users know. The parser stops at the first fault, so there
//! is one problem per text here.

use hcl_edit::parser::Error;

use super::scan::Scan;
use crate::problem::Problem;
use crate::source::{Source, Span};

/// What was to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Body,
    Expression,
}

/// The problem behind a refusal.
pub(super) fn diagnose(source: &Source, error: &Error, found: &Scan, wanted: Wanted) -> Problem {
    let text = source.text.as_str();
    let mut at = error.location().offset().min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let here = token_at(text, at);
    let message = error.message();
    if let Some(problem) = unclosed(text, at, found) {
        return problem;
    }
    let says = |label: &str| message.contains(label);
    let (summary, detail) = if says("nesting depth") || says("chained binary operators") {
        ("Nesting too deep", "Expressions or blocks are nested too deep here.")
    } else if says("escape sequence") || says("unicode") {
        ("Invalid escape sequence", "This is not a valid escape sequence; a single backslash is written as \\\\.")
    } else if says("invalid block body") || says("invalid attribute; expected `=`") {
        block_body(text, at)
    } else if says("invalid structure") {
        ("Invalid block definition", "Either a quoted string block label or an opening brace (\"{\") is expected here.")
    } else if says("invalid expression") {
        ("Invalid expression", "Expected the start of an expression, but found an invalid expression token.")
    } else if says("invalid object item") {
        ("Missing attribute separator", "Expected a newline or comma to mark the beginning of the next attribute.")
    } else if says("object value assignment") {
        ("Missing attribute value", "Expected an attribute value, introduced by an equals sign (\"=\").")
    } else if says("expected newline or eof") {
        match text[..at].trim_end_matches([' ', '\t']).ends_with('}') {
            true => ("Missing newline after block definition", "A block definition must end with a newline."),
            false => ("Missing newline after argument", "An argument definition must end with a newline."),
        }
    } else if wanted == Wanted::Expression && message == "unexpected token" {
        (
            "Extra characters after expression",
            "An expression was successfully parsed, but extra characters were found after it.",
        )
    } else if message == "unexpected token" {
        definition_required(text, at)
    } else {
        return Problem::new(here, "Invalid syntax", format!("The parser says: {message}."));
    };
    Problem::new(here, summary, detail)
}

/// Something stays open to the end of the text or the line.
fn unclosed(text: &str, at: usize, found: &Scan) -> Option<Problem> {
    if let Some(span) = found.unclosed_heredoc {
        let detail = "No closing marker was found for the string.";
        return Some(Problem::new(span, "Unterminated template string", detail));
    }
    let span = *found.unclosed.last()?;
    // The parser gives the last byte as the place when it runs into the end.
    if at + 1 < text.len() && !text[at..].trim().is_empty() {
        return None;
    }
    let before = text[..span.start].trim_end_matches([' ', '\t']);
    let is_block = text[span.start..].starts_with('{')
        && before.ends_with(|c: char| c == '"' || c == '_' || c == '-' || c.is_alphanumeric());
    Some(match is_block {
        true => Problem::new(
            span,
            "Unclosed configuration block",
            "There is no closing brace for this block before the end of the file. This may be caused by incorrect brace nesting elsewhere in this file.",
        ),
        false => Problem::new(
            span,
            "Unclosed bracket",
            "There is no closing bracket for this one before the end of the file. This may be caused by incorrect nesting elsewhere in this file.",
        ),
    })
}

/// A body that goes wrong inside its braces.
fn block_body(text: &str, at: usize) -> (&'static str, &'static str) {
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    match text[line_start..at].rfind('{') {
        Some(brace) if text[line_start + brace..at].contains('=') => (
            "Invalid single-argument block definition",
            "A single-line block definition must end with a closing brace immediately after its single argument definition.",
        ),
        Some(_) if !text[at..].starts_with('"') => (
            "Argument definition required",
            "A single-line block definition can contain only a single argument. If you want to define multiple arguments or nested blocks, place each on a separate line.",
        ),
        _ => definition_required(text, at),
    }
}

fn definition_required(text: &str, at: usize) -> (&'static str, &'static str) {
    match text[at..].starts_with('"') {
        true => ("Invalid argument name", "Argument names must not be quoted."),
        false => ("Argument or block definition required", "An argument or block definition is required here."),
    }
}

/// The word or the single character at a place.
fn token_at(text: &str, at: usize) -> Span {
    let rest = &text[at..];
    let word: usize =
        rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '-').map(char::len_utf8).sum();
    let width = if word > 0 { word } else { rest.chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8) };
    Span::new(at, at + width)
}
