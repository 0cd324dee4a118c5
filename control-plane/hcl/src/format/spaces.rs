//! The blanks between the tokens of one line.

use super::lines::Line;
use super::tokens::{Kind, Token};

/// Sets the blanks inside the two halves of a line. What stands before each half is not touched.
pub(super) fn within(tokens: &mut [Token], line: &Line) {
    for half in [line.lead.clone(), line.assign.clone()] {
        for at in half.clone().skip(1) {
            let before = (at >= half.start + 2).then(|| &tokens[at - 2]);
            let is_apart = is_apart(before, &tokens[at - 1], &tokens[at]);
            tokens[at].blanks_before = usize::from(is_apart);
        }
    }
}

/// Whether a blank stands between a token and the next one; `before` is the one before both.
fn is_apart(before: Option<&Token>, token: &Token, next: &Token) -> bool {
    let is_text = |kind: Kind| matches!(kind, Kind::Text | Kind::OpenQuote | Kind::OpenHeredoc);
    match (token.kind, next.kind) {
        (_, Kind::Newline | Kind::End) => false,
        // A call, a name in a namespace, a step.
        (Kind::Word, Kind::OpenParen | Kind::DoubleColon) | (Kind::DoubleColon, Kind::Word) => false,
        (Kind::Dot, _) | (_, Kind::Dot | Kind::Comma | Kind::Ellipsis) => false,
        (Kind::Comma, _) => true,
        (kind, _) if is_text(kind) => false,
        (_, Kind::Text | Kind::CloseQuote | Kind::CloseHeredoc) => false,
        // `for x in [1]` is no index.
        (Kind::Word, _) if token.text == "in" && before.is_some_and(|before| before.kind == Kind::Word) => true,
        (Kind::Word | Kind::Number, Kind::OpenBracket) => false,
        (_, Kind::OpenBracket) if token.depth_change() < 0 => false,
        (Kind::Bang, _) => false,
        (Kind::Minus, _) => is_subtraction(before),
        (Kind::OpenBrace, Kind::CloseBrace) => false,
        (Kind::OpenBrace, _) | (_, Kind::CloseBrace) => true,
        // An object alone in a hole keeps its braces apart from those of the hole.
        (Kind::OpenHole, Kind::OpenBrace) | (Kind::CloseBrace, Kind::CloseHole) => true,
        (Kind::CloseHole, Kind::OpenHole) => false,
        _ => token.depth_change() <= 0 && next.depth_change() >= 0,
    }
}

/// Whether a minus has an operand on its left: it has none after what cannot end one.
fn is_subtraction(before: Option<&Token>) -> bool {
    before.is_some_and(|before| {
        !matches!(
            before.kind,
            Kind::OpenParen
                | Kind::OpenBrace
                | Kind::OpenBracket
                | Kind::Equal
                | Kind::Colon
                | Kind::Comma
                | Kind::Question
                | Kind::Operator
                | Kind::Minus
                | Kind::Bang
        )
    })
}
