//! References and the steps after a value: attributes, indexes, splats.

use super::{Evaluator, Failed, Outcome};
use crate::problem::{Problem, hinted};
use crate::source::Span;
use crate::suggest::near;
use crate::syntax::tree::{Expr, ExprKind, Step, StepKind};
use crate::value::Value;

impl Evaluator<'_> {
    fn find(&self, name: &str) -> Option<&Value> {
        let frame = self.frames.iter().rev().find(|(frame, _)| frame == name).map(|(_, value)| value);
        frame.or_else(|| self.scope.variables.get(name))
    }

    pub(super) fn reference(&mut self, name: &str, name_span: Span, steps: &[Step]) -> Outcome {
        let fixed = steps.iter().take_while(|step| is_fixed(step)).count();
        let (fixed, rest) = steps.split_at(fixed);
        let span = fixed.last().map_or(name_span, |step| name_span.to(step.span));
        if self.is_constant {
            return self.fail_at(span, "Variables not allowed", "Variables may not be used here.");
        }
        let base = match self.find(name) {
            Some(mut value) => {
                let mut found = Ok(());
                for step in fixed {
                    match take_step(value, step) {
                        Ok(next) => value = next,
                        Err(problem) => {
                            found = Err(problem);
                            break;
                        }
                    }
                }
                found.map(|()| value.clone())
            }
            None if self.scope.keep_unknown => Ok(Value::String(format!("${{{}}}", self.source.slice(span)))),
            None => Err(self.unknown(name, name_span)),
        };
        match base {
            Ok(value) => {
                let value = self.produced(value, span)?;
                self.apply(value, rest)
            }
            Err(problem) => Err(self.fail(problem)),
        }
    }

    fn unknown(&self, name: &str, span: Span) -> Problem {
        let names = self.frames.iter().map(|(name, _)| name.as_str());
        let names = names.chain(self.scope.variables.keys().map(String::as_str));
        let suggestion = near(name, names).map_or(String::new(), |near| format!(" Did you mean \"{near}\"?"));
        let detail = format!("There is no variable named \"{name}\".{suggestion}");
        Problem::new(span, "Unknown variable", detail)
    }

    /// Whether this expression stays as text for run time when it stands alone in a hole.
    pub(super) fn is_kept(&self, expr: &Expr) -> bool {
        match &expr.kind {
            ExprKind::Reference { name, steps, .. } => {
                self.scope.keep_unknown && !self.is_constant && steps.iter().all(is_fixed) && self.find(name).is_none()
            }
            _ => false,
        }
    }

    /// Takes the steps after a value.
    pub(super) fn apply(&mut self, mut value: Value, steps: &[Step]) -> Outcome {
        let mut at = 0;
        while let Some(step) = steps.get(at) {
            at += 1;
            match &step.kind {
                StepKind::Attribute(_) | StepKind::Literal(_) => {
                    let next = take_step(&value, step).cloned();
                    value = next.map_err(|problem| self.fail(problem))?;
                }
                StepKind::Index(key) => {
                    let key = self.evaluate(key)?;
                    let next = take_index(&value, &key, step.span).cloned();
                    value = next.map_err(|problem| self.fail(problem))?;
                }
                StepKind::AttributeSplat => {
                    // `.*` carries on only over `.name` and `.0`; an index in brackets picks from the result.
                    let dots = steps[at..]
                        .iter()
                        .take_while(|step| is_fixed(step) && self.source.slice(step.span).starts_with('.'));
                    let end = at + dots.count();
                    value = self.splat(value, &steps[at..end], step.span)?;
                    at = end;
                }
                StepKind::FullSplat => return self.splat(value, &steps[at..], step.span),
            }
        }
        Ok(value)
    }

    fn splat(&mut self, value: Value, steps: &[Step], span: Span) -> Outcome {
        let items = match value {
            Value::Null => Vec::new(),
            Value::Tuple(items) | Value::List(items) | Value::Set(items) => items,
            single => vec![single],
        };
        self.charge(items.len(), span)?;
        let items: Result<Vec<Value>, Failed> = items.into_iter().map(|item| self.apply(item, steps)).collect();
        self.produced(Value::Tuple(items?), span)
    }
}

fn is_fixed(step: &Step) -> bool {
    matches!(step.kind, StepKind::Attribute(_) | StepKind::Literal(_))
}

/// Takes a step that needs no evaluation.
fn take_step<'v>(value: &'v Value, step: &Step) -> Result<&'v Value, Problem> {
    match &step.kind {
        StepKind::Attribute(name) => take_attribute(value, name, step.span),
        StepKind::Literal(key) => take_index(value, key, step.span),
        StepKind::Index(_) | StepKind::AttributeSplat | StepKind::FullSplat => {
            Err(Problem::new(step.span, "Invalid index", "The key must be evaluated first."))
        }
    }
}

fn take_attribute<'v>(value: &'v Value, name: &str, span: Span) -> Result<&'v Value, Problem> {
    let unsupported = |detail: String| Problem::new(span, "Unsupported attribute", detail);
    match value {
        Value::Object(entries) => entries.get(name).ok_or_else(|| {
            let problem = unsupported(format!("This object does not have an attribute named \"{name}\"."));
            hinted(problem, name, entries.keys().map(String::as_str))
        }),
        Value::Map(entries) => entries.get(name).ok_or_else(|| {
            let detail = format!("This map does not have an element with the key \"{name}\".");
            let problem = Problem::new(span, "Missing map element", detail);
            hinted(problem, name, entries.keys().map(String::as_str))
        }),
        Value::Null => {
            let detail = "This value is null, so it does not have any attributes.";
            Err(Problem::new(span, "Attempt to get attribute from null value", detail))
        }
        Value::Tuple(_) | Value::List(_) | Value::Set(_) => Err(unsupported(format!(
            "Can't access attributes on a list of objects. Did you mean to access attribute \"{name}\" for a specific element of the list, or across all elements of the list?"
        ))),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(unsupported("This value does not have any attributes.".to_string()))
        }
    }
}

fn take_index<'v>(value: &'v Value, key: &Value, span: Span) -> Result<&'v Value, Problem> {
    const NOT_FOUND: &str = "The given key does not identify an element in this collection value";
    let invalid = |detail: String| Problem::new(span, "Invalid index", detail);
    match value {
        Value::Tuple(items) | Value::List(items) => {
            let number = key.to_number().map_err(|problem| invalid(format!("{NOT_FOUND}: {problem}.")))?;
            if number.is_negative() && !number.is_zero() {
                let reason = "a negative number is not a valid index for a sequence";
                return Err(invalid(format!("{NOT_FOUND}: {reason}.")));
            }
            if !number.is_whole() {
                return Err(invalid(format!("{NOT_FOUND}: a whole number is required.")));
            }
            let index = number.as_i64().and_then(|index| usize::try_from(index).ok());
            index.and_then(|index| items.get(index)).ok_or_else(|| match items.is_empty() {
                true => invalid(format!("{NOT_FOUND}: the collection has no elements.")),
                false => invalid(format!(
                    "{NOT_FOUND}: the given index is greater than or equal to the length of the collection."
                )),
            })
        }
        Value::Object(entries) | Value::Map(entries) => {
            let name = key.to_text().map_err(|problem| invalid(format!("{NOT_FOUND}: {problem}.")))?;
            entries.get(&name).ok_or_else(|| invalid(format!("{NOT_FOUND}.")))
        }
        Value::Set(_) => Err(invalid(
            "Elements of a set are identified only by their value and don't have any separate index or key to select with, so it's only possible to perform operations across all elements of the set.".to_string(),
        )),
        Value::Null => {
            let detail = "This value is null, so it does not have any indices.";
            Err(Problem::new(span, "Attempt to index null value", detail))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(invalid("This value does not have any indices.".to_string()))
        }
    }
}
