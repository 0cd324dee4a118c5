//! Texts with holes: escapes, strip markers, the indentation of `<<-`, and the tree of directives. Done on a flat
//! list of tokens, because markers and indentation look across the borders of directives.

use hcl_edit::Span as _;
use hcl_edit::template::{Directive, Element, Strip, Template};
use unicode_segmentation::UnicodeSegmentation;

use super::build::Builder;
use super::tree::{Expr, Hole, Part};

/// Where a template stands, which decides its escapes and pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TemplateKind {
    Quoted,
    Heredoc { is_indented: bool },
}

enum Token {
    Text(String),
    Hole(Hole),
    If(Expr),
    Else,
    EndIf,
    For { key_name: Option<String>, value_name: String, collection: Expr },
    EndFor,
}

struct Trimmed {
    token: Token,
    strip: Strip,
}

/// Turns the parser's template into parts.
pub(super) fn parts(builder: &mut Builder, template: &Template, kind: TemplateKind) -> Vec<Part> {
    let mut tokens = Vec::new();
    flatten(builder, template, kind, &mut tokens);
    trim(&mut tokens);
    if kind == (TemplateKind::Heredoc { is_indented: true }) {
        unindent(&mut tokens);
    }
    let mut tokens = tokens.into_iter().map(|trimmed| trimmed.token);
    tree(&mut tokens).0
}

/// The text that raw source stands for.
pub(super) fn unescape(raw: &str, kind: TemplateKind) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(next) = rest.chars().next() {
        if rest.starts_with("$${") || rest.starts_with("%%{") {
            out.push_str(&rest[1..3]);
            rest = &rest[3..];
        } else if next == '\\' && kind == TemplateKind::Quoted {
            let (c, width) = escape(rest);
            out.push(c);
            rest = &rest[width..];
        } else {
            out.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    out
}

/// The character of an escape at the start of `text`, and how many bytes it takes. The parser has refused bad ones.
fn escape(text: &str) -> (char, usize) {
    let code = |digits: usize| {
        let hex = text.get(2..2 + digits)?;
        Some((char::from_u32(u32::from_str_radix(hex, 16).ok()?)?, 2 + digits))
    };
    match text.as_bytes().get(1) {
        Some(b'n') => ('\n', 2),
        Some(b'r') => ('\r', 2),
        Some(b't') => ('\t', 2),
        Some(b'"') => ('"', 2),
        Some(b'\\') => ('\\', 2),
        Some(b'u') => code(4).unwrap_or(('\\', 1)),
        Some(b'U') => code(8).unwrap_or(('\\', 1)),
        _ => ('\\', 1),
    }
}

fn flatten(builder: &mut Builder, template: &Template, kind: TemplateKind, tokens: &mut Vec<Trimmed>) {
    let plain = |token| Trimmed { token, strip: Strip::None };
    for element in template.iter() {
        match element {
            Element::Literal(literal) => {
                let raw = literal.span().map_or(literal.as_str(), |span| builder.source.slice(span.into()));
                match kind {
                    TemplateKind::Quoted => tokens.push(plain(Token::Text(unescape(raw, kind)))),
                    TemplateKind::Heredoc { .. } => {
                        let lines = raw.split_inclusive('\n').map(|line| unescape(line, kind));
                        tokens.extend(lines.map(|line| plain(Token::Text(line))));
                    }
                }
            }
            Element::Interpolation(hole) => {
                let span = element.span().unwrap_or_default().into();
                let is_trimming = hole.strip != Strip::None;
                let value = builder.expression(&hole.expr);
                tokens.push(Trimmed { token: Token::Hole(Hole { value, span, is_trimming }), strip: hole.strip });
            }
            Element::Directive(directive) => match directive.as_ref() {
                Directive::If(directive) => {
                    let condition = builder.expression(&directive.if_expr.cond_expr);
                    tokens.push(Trimmed { token: Token::If(condition), strip: directive.if_expr.strip });
                    flatten(builder, &directive.if_expr.template, kind, tokens);
                    if let Some(otherwise) = &directive.else_expr {
                        tokens.push(Trimmed { token: Token::Else, strip: otherwise.strip });
                        flatten(builder, &otherwise.template, kind, tokens);
                    }
                    tokens.push(Trimmed { token: Token::EndIf, strip: directive.endif_expr.strip });
                }
                Directive::For(directive) => {
                    let intro = &directive.for_expr;
                    let token = Token::For {
                        key_name: intro.key_var.as_ref().map(|name| name.as_str().to_string()),
                        value_name: intro.value_var.as_str().to_string(),
                        collection: builder.expression(&intro.collection_expr),
                    };
                    tokens.push(Trimmed { token, strip: intro.strip });
                    flatten(builder, &intro.template, kind, tokens);
                    tokens.push(Trimmed { token: Token::EndFor, strip: directive.endfor_expr.strip });
                }
            },
        }
    }
}

/// Applies `~`: it reaches only the piece of text right beside it, which in a heredoc ends with the line.
fn trim(tokens: &mut [Trimmed]) {
    for i in 0..tokens.len() {
        let is_after = i > 0 && tokens[i - 1].strip.strip_end();
        let is_before = tokens.get(i + 1).is_some_and(|next| next.strip.strip_start());
        if let Token::Text(text) = &mut tokens[i].token {
            if is_after {
                *text = text.trim_start().to_string();
            }
            if is_before {
                *text = text.trim_end().to_string();
            }
        }
    }
}

/// Takes the smallest common indentation, counted in characters, from each line; blank lines do not count.
fn unindent(tokens: &mut [Trimmed]) {
    let mut smallest = usize::MAX;
    let mut starts = Vec::new();
    let mut is_line_start = true;
    for (i, trimmed) in tokens.iter().enumerate() {
        let text = match &trimmed.token {
            Token::Text(text) => Some(text),
            _ => None,
        };
        if is_line_start {
            is_line_start = false;
            let indent = match text {
                Some(text) if text.trim_start().is_empty() && text.ends_with('\n') => usize::MAX,
                Some(text) => {
                    starts.push(i);
                    text[..text.len() - text.trim_start().len()].graphemes(true).count()
                }
                None => 0,
            };
            smallest = smallest.min(indent);
        }
        is_line_start |= text.is_some_and(|text| text.ends_with('\n'));
    }
    for i in starts {
        if let Token::Text(text) = &mut tokens[i].token {
            *text = text.graphemes(true).skip(smallest).collect();
        }
    }
}

/// How a run of parts ended.
#[derive(PartialEq, Eq)]
enum End {
    Else,
    Closed,
}

/// Builds the parts up to the end of the directive they belong to. The parser has seen to it that ends match.
fn tree(tokens: &mut impl Iterator<Item = Token>) -> (Vec<Part>, End) {
    let mut parts: Vec<Part> = Vec::new();
    while let Some(token) = tokens.next() {
        match token {
            Token::Text(text) => match parts.last_mut() {
                Some(Part::Text(before)) => before.push_str(&text),
                _ => parts.push(Part::Text(text)),
            },
            Token::Hole(hole) => parts.push(Part::Hole(hole)),
            Token::If(condition) => {
                let (yes, end) = tree(tokens);
                let no = if end == End::Else { tree(tokens).0 } else { Vec::new() };
                parts.push(Part::If { condition, yes, no });
            }
            Token::For { key_name, value_name, collection } => {
                let body = tree(tokens).0;
                parts.push(Part::For { key_name, value_name, collection, body });
            }
            Token::Else => return (parts, End::Else),
            Token::EndIf | Token::EndFor => return (parts, End::Closed),
        }
    }
    (parts, End::Closed)
}
