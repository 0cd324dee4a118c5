//! The canonical layout of a text: two blanks for each level, one blank between words, the `=` of neighbouring lines
//! in one column, comments at the end of neighbouring lines in another. Words, blank lines, comments and the text of
//! heredocs stay as they are. Works on tokens and lines, so that a text keeps everything a syntax tree would lose.

mod lines;
mod spaces;
mod tokens;

use crate::problem::Problem;
use crate::scope::Limits;
use crate::source::Source;
use crate::syntax;

/// Lays out a text. One that is no HCL is refused with its problems and nothing is laid out.
pub fn format(source: &Source) -> Result<String, Vec<Problem>> {
    syntax::read_body(source, Limits::default())?;
    let mut tokens = tokens::tokens(&source.text);
    let mut lines = lines::split(&tokens);
    lines::indent(&mut tokens, &lines);
    for line in &lines {
        spaces::within(&mut tokens, line);
    }
    lines::align(&mut tokens, &mut lines);
    Ok(tokens.iter().fold(String::with_capacity(source.text.len()), |mut out, token| {
        out.extend(std::iter::repeat_n(' ', token.blanks_before));
        out.push_str(token.text);
        out
    }))
}

#[cfg(test)]
mod tests;
