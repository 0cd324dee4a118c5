//! Lines of tokens: how far each is indented, and which columns their `=` and comments share.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::tokens::{Kind, Token};

/// Places of the tokens of one line. The three parts follow each other; each but the first may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Up to the `=` of an argument whose value ends on this line, else all but the comment.
    pub lead: Range<usize>,
    /// From that `=` on.
    pub assign: Range<usize>,
    /// A comment that ends the line.
    pub comment: Range<usize>,
}

/// Parts the tokens into lines. A heredoc belongs to the line that it begins on.
pub(super) fn split(tokens: &[Token]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut start = 0;
    for (at, token) in tokens.iter().enumerate() {
        if token.ends_line() || at + 1 == tokens.len() {
            lines.push(line(tokens, start..at + 1));
            start = at + 1;
        }
    }
    lines
}

fn line(tokens: &[Token], all: Range<usize>) -> Line {
    let has_comment = all.len() > 1 && tokens[all.end - 1].kind == Kind::Comment;
    let end = if has_comment { all.end - 1 } else { all.end };
    let equal = (all.start + 1..end).find(|at| tokens[*at].kind == Kind::Equal);
    let is_whole = |at: &usize| tokens[*at..end].iter().map(Token::depth_change).sum::<i64>() == 0;
    let middle = equal.filter(is_whole).unwrap_or(end);
    Line { lead: all.start..middle, assign: middle..end, comment: end..all.end }
}

/// Indents each line by the brackets that are open before it. Brackets opened together count as one level.
pub(super) fn indent(tokens: &mut [Token], lines: &[Line]) {
    const LEVEL: usize = 2;
    let mut open: Vec<i64> = Vec::new();
    let mut is_in_heredoc = false;
    for line in lines {
        let all = &mut tokens[line.lead.start..line.assign.end];
        let is_inside = is_in_heredoc;
        let mut change = 0;
        for token in all.iter() {
            match token.kind {
                Kind::OpenHeredoc => is_in_heredoc = true,
                Kind::CloseHeredoc => is_in_heredoc = false,
                _ => {}
            }
            change += token.depth_change();
        }
        let Some(first) = all.first_mut() else { continue };
        if is_inside {
            continue;
        }
        if first.kind == Kind::Newline {
            first.blanks_before = 0;
            continue;
        }
        let mut closed = -change;
        while closed > 0
            && let Some(level) = open.last_mut()
        {
            if closed >= *level {
                closed -= *level;
                open.pop();
            } else {
                *level -= closed;
                closed = 0;
            }
        }
        first.blanks_before = LEVEL * open.len();
        if change > 0 {
            open.push(change);
        }
    }
}

/// Puts the `=` of neighbouring lines below each other, then their comments.
pub(super) fn align(tokens: &mut [Token], lines: &mut [Line]) {
    align_part(tokens, lines, |line| line.assign.clone());
    align_part(tokens, lines, |line| line.comment.clone());
}

/// Puts one part of neighbouring lines that have it into one column.
fn align_part(tokens: &mut [Token], lines: &[Line], part: impl Fn(&Line) -> Range<usize>) {
    for run in lines.chunk_by(|a, b| part(a).is_empty() == part(b).is_empty()) {
        let widths: Vec<usize> = run.iter().map(|line| columns(&tokens[line.lead.start..part(line).start])).collect();
        let widest = widths.iter().copied().max().unwrap_or_default();
        for (line, width) in run.iter().zip(&widths) {
            if let Some(first) = tokens[part(line)].first_mut() {
                first.blanks_before = widest - width + 1;
            }
        }
    }
}

/// How wide tokens are, in characters as a reader sees them.
fn columns(tokens: &[Token]) -> usize {
    tokens.iter().map(|token| token.blanks_before + token.text.graphemes(true).count()).sum()
}
