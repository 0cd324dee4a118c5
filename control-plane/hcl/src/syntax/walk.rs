//! Finds the references inside an expression.

use super::tree::{Expr, ExprKind, Part, Step, StepKind};
use crate::source::Span;
use crate::value::Value;

/// A reference to a root name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reference<'t> {
    pub name: &'t str,
    pub span: Span,
    /// The name taken from the root, as `x` of `local.x`.
    pub member: Option<&'t str>,
}

/// All references inside an expression, in the order of the source.
pub(crate) fn references(expr: &Expr) -> Vec<Reference<'_>> {
    let mut found = Vec::new();
    walk(expr, &mut found);
    found
}

fn walk<'t>(expr: &'t Expr, found: &mut Vec<Reference<'t>>) {
    match &expr.kind {
        ExprKind::Literal(_) => {}
        ExprKind::Template(parts) => walk_parts(parts, found),
        ExprKind::Wrapped(hole) => walk(&hole.value, found),
        ExprKind::Reference { name, steps, .. } => {
            let member = match steps.first().map(|step| &step.kind) {
                Some(StepKind::Attribute(member) | StepKind::Literal(Value::String(member))) => Some(member.as_str()),
                _ => None,
            };
            found.push(Reference { name, span: expr.span, member });
            walk_steps(steps, found);
        }
        ExprKind::Access { base, steps } => {
            walk(base, found);
            walk_steps(steps, found);
        }
        ExprKind::Paren(inner) | ExprKind::Not(inner) | ExprKind::Negate(inner) => walk(inner, found),
        ExprKind::Tuple(items) => items.iter().for_each(|item| walk(item, found)),
        ExprKind::Object(entries) => entries.iter().for_each(|(key, value)| {
            walk(key, found);
            walk(value, found);
        }),
        ExprKind::For(tree) => {
            let parts = [Some(&tree.collection), tree.key.as_ref(), Some(&tree.value), tree.condition.as_ref()];
            parts.into_iter().flatten().for_each(|part| walk(part, found));
        }
        ExprKind::Call(call) => call.arguments.iter().for_each(|argument| walk(argument, found)),
        ExprKind::Binary { left, right, .. } => {
            walk(left, found);
            walk(right, found);
        }
        ExprKind::Conditional { condition, yes, no } => {
            walk(condition, found);
            walk(yes, found);
            walk(no, found);
        }
    }
}

fn walk_steps<'t>(steps: &'t [Step], found: &mut Vec<Reference<'t>>) {
    for step in steps {
        if let StepKind::Index(index) = &step.kind {
            walk(index, found);
        }
    }
}

fn walk_parts<'t>(parts: &'t [Part], found: &mut Vec<Reference<'t>>) {
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Hole(hole) => walk(&hole.value, found),
            Part::If { condition, yes, no } => {
                walk(condition, found);
                walk_parts(yes, found);
                walk_parts(no, found);
            }
            Part::For { collection, body, .. } => {
                walk(collection, found);
                walk_parts(body, found);
            }
        }
    }
}
