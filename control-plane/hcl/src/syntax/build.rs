//! The parser's tree into ours. All text and numbers are read from the source again, by their spans: the parser
//! rounds numbers, unindents heredocs by other rules, and sometimes gets a text with changed names (see `read`).

use std::collections::BTreeMap;

use hcl_edit::Span as _;
use hcl_edit::expr::{BinaryOperator, Expression, FuncCall, ObjectKey, TraversalOperator, UnaryOperator};
use hcl_edit::structure::{Block, BlockLabel, Body, Structure};
use hcl_edit::template::{Element, HeredocTemplate, Template};

use super::template::{TemplateKind, parts, unescape};
use super::tree::{
    AttributeTree, BlockTree, BodyTree, CallTree, Expr, ExprKind, ForTree, Operator, Part, Step, StepKind,
};
use crate::decoded::Label;
use crate::number::Number;
use crate::problem::Problem;
use crate::source::{Source, Span};
use crate::value::Value;

/// Builds our tree and collects what only shows while building.
pub(super) struct Builder<'s> {
    pub source: &'s Source,
    pub problems: Vec<Problem>,
}

impl Builder<'_> {
    pub fn body(&mut self, body: &Body, span: Span) -> BodyTree {
        let mut tree = BodyTree {
            attributes: Vec::with_capacity(body.attributes().count()),
            blocks: Vec::with_capacity(body.blocks().count()),
            span,
        };
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        let source = self.source;
        for structure in body.iter() {
            match structure {
                Structure::Attribute(attribute) => {
                    let name_span = span_of(attribute.key.span());
                    let name = source.slice(name_span);
                    let value = self.expression(&attribute.value);
                    let span = name_span.to(span_of(attribute.value.span()));
                    if let Some(first) = seen.get(name) {
                        let detail = format!(
                            "The argument \"{name}\" was already set at {}. Each argument may be set only once.",
                            source.range(*first)
                        );
                        self.problems.push(Problem::new(name_span, "Attribute redefined", detail));
                        continue;
                    }
                    seen.insert(name, name_span);
                    tree.attributes.push(AttributeTree { name: name.to_string(), name_span, value, span });
                }
                Structure::Block(block) => tree.blocks.push(self.block(block)),
            }
        }
        tree
    }

    fn block(&mut self, block: &Block) -> BlockTree {
        let kind_span = span_of(block.ident.span());
        let span = span_of(block.span());
        let labels: Vec<Label> = block
            .labels
            .iter()
            .map(|label| {
                let span = span_of(label.span());
                let raw = self.source.slice(span);
                let text = match label {
                    BlockLabel::Ident(_) => raw.to_string(),
                    BlockLabel::String(_) => unescape(raw.trim_matches('"'), TemplateKind::Quoted),
                };
                Label { text, span }
            })
            .collect();
        let header_end = labels.last().map_or(kind_span.end, |label| label.span.end);
        let gap = self.source.slice(Span::new(header_end, span.end)).find('{').unwrap_or(0);
        let open_brace_span = Span::new(header_end + gap, header_end + gap + 1);
        let body = self.body(&block.body, Span::new(open_brace_span.start, span.end));
        BlockTree { kind: self.source.slice(kind_span).to_string(), kind_span, labels, open_brace_span, body, span }
    }

    pub fn expression(&mut self, expression: &Expression) -> Expr {
        let mut span = span_of(expression.span());
        let kind = match expression {
            Expression::Null(_) => ExprKind::Literal(Value::Null),
            Expression::Bool(value) => ExprKind::Literal(Value::Bool(**value)),
            Expression::Number(_) => self.number(span),
            // A heredoc without a line went to the parser as a quoted text, see `read`.
            Expression::String(_) if self.source.slice(span).starts_with("<<") => ExprKind::Literal(Value::text("")),
            Expression::String(_) => {
                span = Span::new(span.start + 1, span.end.saturating_sub(1));
                ExprKind::Literal(Value::String(unescape(self.source.slice(span), TemplateKind::Quoted)))
            }
            Expression::Array(items) => ExprKind::Tuple(items.iter().map(|item| self.expression(item)).collect()),
            Expression::Object(object) => ExprKind::Object(
                object.iter().map(|(key, value)| (self.object_key(key), self.expression(value.expr()))).collect(),
            ),
            Expression::StringTemplate(template) => {
                let (kind, inner) = self.quoted(template, span);
                span = inner;
                kind
            }
            Expression::HeredocTemplate(heredoc) => self.heredoc(heredoc, span),
            Expression::Parenthesis(inner) => ExprKind::Paren(Box::new(self.expression(inner.inner()))),
            Expression::Variable(_) => self.reference(span, Vec::new()),
            Expression::Conditional(conditional) => ExprKind::Conditional {
                condition: Box::new(self.expression(&conditional.cond_expr)),
                yes: Box::new(self.expression(&conditional.true_expr)),
                no: Box::new(self.expression(&conditional.false_expr)),
            },
            Expression::FuncCall(call) => self.call(call, span),
            Expression::Traversal(traversal) => {
                let steps = traversal.operators.iter().map(|step| self.step(step, span_of(step.span()))).collect();
                match &traversal.expr {
                    Expression::Variable(name) => self.reference(span_of(name.span()), steps),
                    base => ExprKind::Access { base: Box::new(self.expression(base)), steps },
                }
            }
            Expression::UnaryOp(unary) => {
                let inner = Box::new(self.expression(&unary.expr));
                match *unary.operator {
                    UnaryOperator::Neg => ExprKind::Negate(inner),
                    UnaryOperator::Not => ExprKind::Not(inner),
                }
            }
            Expression::BinaryOp(binary) => {
                let left = self.expression(&binary.lhs_expr);
                let right = self.expression(&binary.rhs_expr);
                if expression.span().is_none() {
                    span = left.span.to(right.span);
                }
                let operator = operator(*binary.operator.value());
                ExprKind::Binary { operator, left: Box::new(left), right: Box::new(right) }
            }
            Expression::ForExpr(tree) => ExprKind::For(Box::new(ForTree {
                key_name: tree.intro.key_var.as_ref().map(|name| name.as_str().to_string()),
                value_name: tree.intro.value_var.as_str().to_string(),
                collection: self.expression(&tree.intro.collection_expr),
                key: tree.key_expr.as_ref().map(|key| self.expression(key)),
                value: self.expression(&tree.value_expr),
                condition: tree.cond.as_ref().map(|condition| self.expression(&condition.expr)),
                is_grouping: tree.grouping,
            })),
        };
        Expr { kind, span }
    }

    fn number(&mut self, span: Span) -> ExprKind {
        let text: String = self.source.slice(span).chars().filter(|c| !c.is_whitespace()).collect();
        let number = Number::from_text(&text).unwrap_or_else(|| {
            let detail = "Failed to recognize the value of this number literal.";
            self.problems.push(Problem::new(span, "Invalid number literal", detail));
            Number::from(0i64)
        });
        ExprKind::Literal(Value::Number(number))
    }

    /// A bare word as a key is text; so are the words that are values elsewhere.
    fn object_key(&mut self, key: &ObjectKey) -> Expr {
        let word =
            |span: Span, source: &Source| Expr { kind: ExprKind::Literal(Value::text(source.slice(span))), span };
        match key {
            ObjectKey::Ident(_) => word(span_of(key.span()), self.source),
            ObjectKey::Expression(Expression::Null(_) | Expression::Bool(_)) => word(span_of(key.span()), self.source),
            ObjectKey::Expression(expression) => {
                if let Expression::Traversal(_) = expression {
                    let detail = "Object keys that are references must be in parentheses, or in quotes when a dot belongs to the key.";
                    let span = span_of(expression.span());
                    self.problems.push(Problem::new(span, "Ambiguous attribute key", detail));
                }
                self.expression(expression)
            }
        }
    }

    fn quoted(&mut self, template: &Template, whole: Span) -> (ExprKind, Span) {
        let mut parts = parts(self, template, TemplateKind::Quoted);
        if parts.len() == 1
            && let Some(Part::Hole(hole)) = parts.pop_if(|part| matches!(part, Part::Hole(_)))
        {
            return (ExprKind::Wrapped(Box::new(hole)), whole);
        }
        let edge = |element: Option<&Element>| match element {
            Some(Element::Interpolation(hole)) => hole.expr.span(),
            Some(element) => element.span(),
            None => None,
        };
        let elements: Vec<&Element> = template.iter().collect();
        let first = edge(elements.first().copied()).map_or(whole.start, |span| span.start);
        let last = edge(elements.last().copied()).map_or(whole.end, |span| span.end);
        (literal_or_template(parts), Span::new(first, last))
    }

    fn heredoc(&mut self, heredoc: &HeredocTemplate, span: Span) -> ExprKind {
        let is_indented = self.source.slice(span).starts_with("<<-");
        literal_or_template(parts(self, &heredoc.template, TemplateKind::Heredoc { is_indented }))
    }

    fn reference(&mut self, name_span: Span, steps: Vec<Step>) -> ExprKind {
        ExprKind::Reference { name: self.source.slice(name_span).to_string(), name_span, steps }
    }

    fn step(&mut self, operator: &TraversalOperator, span: Span) -> Step {
        let kind = match operator {
            TraversalOperator::GetAttr(name) => StepKind::Attribute(name.as_str().to_string()),
            TraversalOperator::LegacyIndex(index) => {
                StepKind::Literal(Value::Number(Number::from_text(&index.value().to_string()).unwrap_or(0i64.into())))
            }
            TraversalOperator::Index(index) => match self.expression(index) {
                Expr { kind: ExprKind::Literal(value @ (Value::String(_) | Value::Number(_))), .. } => {
                    StepKind::Literal(value)
                }
                index => StepKind::Index(index),
            },
            TraversalOperator::AttrSplat(_) => StepKind::AttributeSplat,
            TraversalOperator::FullSplat(_) => StepKind::FullSplat,
        };
        Step { kind, span }
    }

    fn call(&mut self, call: &FuncCall, span: Span) -> ExprKind {
        let name_end = span_of(call.name.name.span()).end;
        let first = call.name.namespace.first().unwrap_or(&call.name.name);
        let name_span = Span::new(span_of(first.span()).start, name_end);
        let open = name_end + self.source.slice(Span::new(name_end, span.end)).find('(').unwrap_or(0);
        ExprKind::Call(Box::new(CallTree {
            name: self.source.slice(name_span).split_whitespace().collect(),
            name_span,
            open_span: Span::new(open, open + 1),
            close_span: Span::new(span.end.saturating_sub(1), span.end),
            arguments: call.args.iter().map(|argument| self.expression(argument)).collect(),
            is_expanding: call.args.expand_final(),
        }))
    }
}

fn literal_or_template(mut parts: Vec<Part>) -> ExprKind {
    match parts.len() {
        0 => ExprKind::Literal(Value::text("")),
        1 => match parts.pop_if(|part| matches!(part, Part::Text(_))) {
            Some(Part::Text(text)) => ExprKind::Literal(Value::String(text)),
            _ => ExprKind::Template(parts),
        },
        _ => ExprKind::Template(parts),
    }
}

fn span_of(range: Option<std::ops::Range<usize>>) -> Span {
    range.map(Span::from).unwrap_or_default()
}

fn operator(operator: BinaryOperator) -> Operator {
    match operator {
        BinaryOperator::Eq => Operator::Equal,
        BinaryOperator::NotEq => Operator::NotEqual,
        BinaryOperator::LessEq => Operator::LessEqual,
        BinaryOperator::GreaterEq => Operator::GreaterEqual,
        BinaryOperator::Less => Operator::Less,
        BinaryOperator::Greater => Operator::Greater,
        BinaryOperator::Plus => Operator::Add,
        BinaryOperator::Minus => Operator::Subtract,
        BinaryOperator::Mul => Operator::Multiply,
        BinaryOperator::Div => Operator::Divide,
        BinaryOperator::Mod => Operator::Remainder,
        BinaryOperator::And => Operator::And,
        BinaryOperator::Or => Operator::Or,
    }
}
