//! Runs the parser, and helps it over two kinds of text that it refuses although they are fine or have a better
//! error: names given twice, and heredoc lines that begin with the end word. In both cases single bytes of a copy
//! are changed for the parser; `build` reads the real text by the spans.

use hcl_edit::parser::{Error, parse_body, parse_expr};

use super::build::Builder;
use super::diagnose::diagnose;
use super::scan::{Scan, scan};
use super::tree::{BodyTree, Expr};
use crate::problem::Problem;
use crate::scope::Limits;
use crate::source::{Source, Span};

/// How many repeated names are looked at in one text; each costs a run of the parser.
const REPEATED_NAMES_MAX: usize = 16;

/// Reads a whole file.
pub(crate) fn read_body(source: &Source, limits: Limits) -> Result<BodyTree, Vec<Problem>> {
    let body = read(source, limits, parse_body)?;
    let mut builder = Builder { source, problems: Vec::new() };
    let tree = builder.body(&body, Span::new(0, source.text.len()));
    if builder.problems.is_empty() { Ok(tree) } else { Err(builder.problems) }
}

/// Reads one expression, as in the value of a `-var` flag.
pub(crate) fn read_expression(source: &Source, limits: Limits) -> Result<Expr, Vec<Problem>> {
    let expression = read(source, limits, parse_expr)?;
    let mut builder = Builder { source, problems: Vec::new() };
    let tree = builder.expression(&expression);
    if builder.problems.is_empty() { Ok(tree) } else { Err(builder.problems) }
}

fn read<T>(source: &Source, limits: Limits, parser: fn(&str) -> Result<T, Error>) -> Result<T, Vec<Problem>> {
    if source.text.len() > limits.source_bytes {
        let detail = format!("The text has {} bytes, more than the {} allowed.", source.text.len(), limits.source_bytes);
        return Err(vec![Problem::new(Span::default(), "Text too large", detail)]);
    }
    let found = scan(&source.text);
    if let Some(span) = found.too_deep {
        let detail = "Brackets are nested too deep here.";
        return Err(vec![Problem::new(span, "Nesting too deep", detail)]);
    }
    let mut copy = source.text.clone().into_bytes();
    for at in &found.false_ends {
        copy[*at] = if copy[*at] == b'x' { b'y' } else { b'x' };
    }
    parse_renaming(source, copy, &found, parser).map_err(|problem| vec![problem])
}

fn parse_renaming<T>(
    source: &Source,
    mut copy: Vec<u8>,
    found: &Scan,
    parser: fn(&str) -> Result<T, Error>,
) -> Result<T, Problem> {
    let mut renamed = 0;
    loop {
        let text = String::from_utf8_lossy(&copy);
        let error = match parser(&text) {
            Ok(parsed) => return Ok(parsed),
            Err(error) => error,
        };
        let at = error.location().offset();
        let is_repeated = error.message().contains("found redefined");
        if !is_repeated || renamed == REPEATED_NAMES_MAX || !rename(&mut copy, at, renamed) {
            return Err(diagnose(source, &error, found));
        }
        renamed += 1;
    }
}

/// Gives the name at `at` another first letter; false when there is no ASCII name to change.
fn rename(copy: &mut [u8], at: usize, turn: usize) -> bool {
    let at = if copy.get(at) == Some(&b'"') { at + 1 } else { at };
    match copy.get_mut(at) {
        Some(byte) if byte.is_ascii_alphabetic() || *byte == b'_' => {
            let letter = b'A' + (turn % 26) as u8;
            *byte = if *byte == letter { letter.to_ascii_lowercase() } else { letter };
            true
        }
        Some(byte) if byte.is_ascii_digit() => {
            *byte = b'0' + (*byte - b'0' + 1) % 10;
            true
        }
        Some(_) | None => false,
    }
}
