//! Runs the parser, and helps it over three kinds of text that it refuses or misreads: names given twice, heredoc
//! lines that begin with the end word, and heredocs without a line. Bytes of a copy are changed for the parser,
//! never their number; `build` reads the real text by the spans.

use hcl_edit::parser::{Error, parse_body, parse_expr};

use super::build::Builder;
use super::diagnose::{Wanted, diagnose};
use super::scan::{OBJECT_ITEMS_MAX, scan};
use super::tree::{BodyTree, Expr};
use crate::problem::Problem;
use crate::scope::Limits;
use crate::source::{Source, Span};

/// How many repeated names are looked at in one text; each costs a run of the parser.
const REPEATED_NAMES_MAX: usize = 16;
/// Most bytes that are parsed again for that.
const PARSED_AGAIN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Reads a whole file.
pub(crate) fn read_body(source: &Source, limits: Limits) -> Result<BodyTree, Vec<Problem>> {
    let body = read(source, limits, parse_body, Wanted::Body)?;
    let mut builder = Builder { source, problems: Vec::new() };
    let tree = builder.body(&body, Span::new(0, source.text.len()));
    if builder.problems.is_empty() { Ok(tree) } else { Err(builder.problems) }
}

/// Reads one expression, as in the value of a `-var` flag.
pub(crate) fn read_expression(source: &Source, limits: Limits) -> Result<Expr, Vec<Problem>> {
    let expression = read(source, limits, parse_expr, Wanted::Expression)?;
    let mut builder = Builder { source, problems: Vec::new() };
    let tree = builder.expression(&expression);
    if builder.problems.is_empty() { Ok(tree) } else { Err(builder.problems) }
}

fn read<T>(
    source: &Source,
    limits: Limits,
    parser: fn(&str) -> Result<T, Error>,
    wanted: Wanted,
) -> Result<T, Vec<Problem>> {
    if source.text.len() > limits.source_bytes {
        let detail =
            format!("The text has {} bytes, more than the {} allowed.", source.text.len(), limits.source_bytes);
        return Err(vec![Problem::new(Span::default(), "Text too large", detail)]);
    }
    let found = scan(&source.text);
    if let Some(span) = found.too_deep {
        let detail = "Brackets are nested too deep here.";
        return Err(vec![Problem::new(span, "Nesting too deep", detail)]);
    }
    if let Some(span) = found.too_many_items {
        let detail = format!("An object may have {OBJECT_ITEMS_MAX} items.");
        return Err(vec![Problem::new(span, "Object too large", detail)]);
    }
    if let Some(span) = found.unclosed_quote {
        // The parser would take the newline into the text.
        let detail = "Quoted strings may not be split over multiple lines. To produce a multi-line string, either use the \\n escape to represent a newline character or use the \"heredoc\" multi-line template syntax.";
        return Err(vec![Problem::new(span, "Invalid multi-line string", detail)]);
    }
    if let Some(span) = found.open_directive {
        let detail = "A directive is not closed in the text that it begins in: each \"if\" needs an \"endif\", each \"for\" an \"endfor\".";
        return Err(vec![Problem::new(span, "Unexpected end of template", detail)]);
    }
    let mut copy = source.text.clone().into_bytes();
    for at in &found.false_ends {
        copy[*at] = if copy[*at] == b'x' { b'y' } else { b'x' };
    }
    for span in &found.empty_heredocs {
        // The parser would read on to the next end word; a quoted text of the same width stands in.
        copy[span.start..span.end].fill(b'x');
        copy[span.start] = b'"';
        copy[span.end - 1] = b'"';
    }
    parse_renaming(copy, parser).map_err(|error| vec![diagnose(source, &error, &found, wanted)])
}

fn parse_renaming<T>(mut copy: Vec<u8>, parser: fn(&str) -> Result<T, Error>) -> Result<T, Error> {
    let most = REPEATED_NAMES_MAX.min(PARSED_AGAIN_BYTES_MAX / copy.len().max(1));
    let mut renamed = 0;
    loop {
        let text = String::from_utf8_lossy(&copy);
        let error = match parser(&text) {
            Ok(parsed) => return Ok(parsed),
            Err(error) => error,
        };
        let at = error.location().offset();
        let is_repeated = error.message().contains("found redefined");
        if !is_repeated || renamed >= most || !rename(&mut copy, at, renamed) {
            return Err(error);
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
