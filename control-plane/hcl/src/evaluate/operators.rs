//! Operators and the conditional.

use super::{Evaluator, Failed, Outcome};
use crate::number::Number;
use crate::source::Span;
use crate::syntax::tree::{Expr, Operator};
use crate::types::{Type, convert, unify};
use crate::value::Value;

impl Evaluator<'_> {
    pub(super) fn not(&mut self, inner: &Expr) -> Outcome {
        let value = self.evaluate(inner)?;
        Ok(Value::Bool(!self.operand(value.to_bool(), "", inner.span)?))
    }

    pub(super) fn negate(&mut self, inner: &Expr) -> Outcome {
        let value = self.evaluate(inner)?;
        Ok(Value::Number(self.operand(value.to_number(), "", inner.span)?.negated()))
    }

    /// Passes an operand on, or notes that it is of the wrong kind.
    fn operand<T>(&mut self, operand: Result<T, String>, side: &str, span: Span) -> Result<T, Failed> {
        let blank = if side.is_empty() { "" } else { " " };
        operand.or_else(|problem| {
            let detail = format!("Unsuitable value for {side}{blank}operand: {problem}.");
            self.fail_at(span, "Invalid operand", detail)
        })
    }

    pub(super) fn binary(&mut self, operator: Operator, left: &Expr, right: &Expr, span: Span) -> Outcome {
        let (a, b) = (self.evaluate(left), self.evaluate(right));
        let (a, b) = (a?, b?);
        match operator {
            Operator::Equal => Ok(Value::Bool(a == b)),
            Operator::NotEqual => Ok(Value::Bool(a != b)),
            Operator::And | Operator::Or => {
                let a = self.operand(a.to_bool(), "left", left.span);
                let b = self.operand(b.to_bool(), "right", right.span);
                let (a, b) = (a?, b?);
                Ok(Value::Bool(if operator == Operator::And { a && b } else { a || b }))
            }
            _ => {
                let a = self.operand(a.to_number(), "left", left.span);
                let b = self.operand(b.to_number(), "right", right.span);
                let (a, b) = (a?, b?);
                match arithmetic(operator, &a, &b) {
                    Some(value) => Ok(value),
                    None => {
                        let detail = "Error during operation: the result is not a number.";
                        self.fail_at(span, "Operation failed", detail)
                    }
                }
            }
        }
    }

    pub(super) fn conditional(&mut self, condition: &Expr, yes: &Expr, no: &Expr, span: Span) -> Outcome {
        let holds = self.condition(condition);
        let yes = self.apart(|inner| inner.evaluate(yes));
        let no = self.apart(|inner| inner.evaluate(no));
        let (taken, other) = if holds? { (yes, no) } else { (no, yes) };
        let taken = match taken {
            Ok(value) => value,
            Err(problems) => {
                self.problems.extend(problems);
                return Err(Failed);
            }
        };
        // The branch not taken may fail, but when it does not, both must be of one type.
        let Ok(other) = other else { return Ok(taken) };
        let (type_taken, type_other) = (Type::of(&taken), Type::of(&other));
        let common = unify(&type_taken, &type_other).and_then(|common| convert(&taken, &common).ok());
        match common {
            Some(value) => self.produced(value, span),
            None => {
                let (yes, no) = match holds? {
                    true => (type_taken.name(), type_other.name()),
                    false => (type_other.name(), type_taken.name()),
                };
                let detail = format!(
                    "The true and false result expressions must have consistent types. The 'true' value is {yes}, but the 'false' value is {no}."
                );
                self.fail_at(span, "Inconsistent conditional result types", detail)
            }
        }
    }
}

/// Arithmetic and order; nothing when there is no such number (0/0 and the like).
fn arithmetic(operator: Operator, a: &Number, b: &Number) -> Option<Value> {
    let number = match operator {
        Operator::Less => return Some(Value::Bool(a < b)),
        Operator::LessEqual => return Some(Value::Bool(a <= b)),
        Operator::Greater => return Some(Value::Bool(a > b)),
        Operator::GreaterEqual => return Some(Value::Bool(a >= b)),
        Operator::Add => a.plus(b)?,
        Operator::Subtract => a.minus(b)?,
        Operator::Multiply => a.times(b)?,
        Operator::Divide => a.divided_by(b)?,
        Operator::Remainder => a.remainder(b)?,
        Operator::Equal | Operator::NotEqual | Operator::And | Operator::Or => return None,
    };
    Some(Value::Number(number))
}
