//! Syntax tree to values. One [`Evaluator`] works on one source, collects all problems it meets, and counts what it
//! produces, so that a small text cannot expand without end.

mod access;
mod body;
mod call;
mod collection;
mod operators;
mod template;

pub(crate) use call::type_constraint;

use crate::meter::Meter;
use crate::problem::Problem;
use crate::scope::{PROBLEMS_MAX, Scope, VALUE_DEPTH_MAX};
use crate::source::{Source, Span};
use crate::syntax::tree::{Expr, ExprKind};
use crate::value::Value;

/// The heading of the problem with a text that produces too much.
const EXPANSION_SUMMARY: &str = "Expansion too large";

/// What a problem counts: words and suggestions cost more than a value, and `try` in a loop meets many.
const PROBLEM_UNITS: usize = 200;

/// The problem is already noted; go on with the neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed;

pub(crate) type Outcome = Result<Value, Failed>;

/// Evaluates expressions of one source within one scope.
pub(crate) struct Evaluator<'e> {
    pub(crate) source: &'e Source,
    pub(crate) scope: &'e Scope<'e>,
    pub(crate) problems: Vec<Problem>,
    /// Names of `for` and `dynamic`, innermost last.
    frames: Vec<(String, Value)>,
    /// What may still be produced, see `Limits::expansion_units`.
    meter: Meter,
    /// Whether more than that was asked for: everything fails from then on.
    is_exhausted: bool,
    /// Whether only constants may stand here: no names, no functions.
    is_constant: bool,
}

impl<'e> Evaluator<'e> {
    pub fn new(source: &'e Source, scope: &'e Scope<'e>) -> Evaluator<'e> {
        Evaluator {
            source,
            scope,
            problems: Vec::new(),
            frames: Vec::new(),
            meter: Meter::new(scope.limits.expansion_units),
            is_exhausted: false,
            is_constant: false,
        }
    }

    /// An evaluator for places where neither names nor functions may be used.
    pub fn constant(source: &'e Source, scope: &'e Scope<'e>) -> Evaluator<'e> {
        Evaluator { is_constant: true, ..Evaluator::new(source, scope) }
    }

    pub fn with_meter(mut self, meter: Meter) -> Evaluator<'e> {
        self.meter = meter;
        self
    }

    pub fn meter(&self) -> Meter {
        self.meter
    }

    pub fn evaluate(&mut self, expr: &Expr) -> Outcome {
        self.charge(1, expr.span)?;
        match &expr.kind {
            ExprKind::Literal(value) => {
                let value = value.clone();
                self.produced(value, expr.span)
            }
            ExprKind::Template(parts) => self.template(parts, expr.span),
            ExprKind::Wrapped(hole) => self.hole(hole),
            ExprKind::Reference { name, name_span, steps } => self.reference(name, *name_span, steps),
            ExprKind::Access { base, steps } => {
                let base = self.evaluate(base)?;
                self.apply(base, steps)
            }
            ExprKind::Paren(inner) => self.evaluate(inner),
            ExprKind::Tuple(items) => self.tuple(items, expr.span),
            ExprKind::Object(entries) => self.object(entries, expr.span),
            ExprKind::For(tree) => self.for_expression(tree, expr.span),
            ExprKind::Call(call) => self.call(call, expr.span),
            ExprKind::Not(inner) => self.not(inner),
            ExprKind::Negate(inner) => self.negate(inner),
            ExprKind::Binary { operator, left, right } => self.binary(*operator, left, right, expr.span),
            ExprKind::Conditional { condition, yes, no } => self.conditional(condition, yes, no, expr.span),
        }
    }

    /// Notes a problem.
    pub fn fail(&mut self, problem: Problem) -> Failed {
        self.meter.take_up_to(PROBLEM_UNITS);
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
        Failed
    }

    fn fail_at<T>(&mut self, span: Span, summary: &str, detail: impl Into<String>) -> Result<T, Failed> {
        Err(self.fail(Problem::new(span, summary, detail)))
    }

    /// Takes from what may still be produced; the first time nothing is left is a problem.
    fn charge(&mut self, units: usize, span: Span) -> Result<(), Failed> {
        if !self.is_exhausted && self.meter.take(units) {
            return Ok(());
        }
        Err(self.exhausted(span))
    }

    /// Nothing more is produced from here on.
    fn exhausted(&mut self, span: Span) -> Failed {
        if !self.is_exhausted {
            self.is_exhausted = true;
            self.meter.empty();
            let detail = format!("The text expands to more than {} values.", self.scope.limits.expansion_units);
            self.problems.truncate(PROBLEMS_MAX - 1);
            self.problems.push(Problem::new(span, EXPANSION_SUMMARY, detail));
        }
        Failed
    }

    /// Charges for a value that was produced, and refuses one that is nested too deep.
    fn produced(&mut self, value: Value, span: Span) -> Outcome {
        let mut units = 0;
        match weigh(&value, 0, &mut units) {
            true => self.charge(units, span).map(|()| value),
            false => {
                let detail = format!("The value is nested more than {VALUE_DEPTH_MAX} levels deep.");
                self.fail_at(span, "Value too deep", detail)
            }
        }
    }

    /// Runs `work` and hands back its problems instead of noting them.
    fn apart(&mut self, work: impl FnOnce(&mut Self) -> Outcome) -> Result<Value, Vec<Problem>> {
        let before = std::mem::take(&mut self.problems);
        let outcome = work(self);
        let mut inside = std::mem::replace(&mut self.problems, before);
        if self.is_exhausted {
            // Running out ends everything; nobody may catch it.
            self.problems.extend(inside.extract_if(.., |problem| problem.summary == EXPANSION_SUMMARY));
        }
        outcome.map_err(|Failed| inside)
    }

    /// Runs `work` with further names in sight.
    fn within<T>(&mut self, names: Vec<(String, Value)>, work: impl FnOnce(&mut Self) -> T) -> T {
        let depth = self.frames.len();
        self.frames.extend(names);
        let done = work(self);
        self.frames.truncate(depth);
        done
    }
}

/// What a value counts.
pub(crate) fn units_of(value: &Value) -> usize {
    let mut units = 0;
    // One that is too deep is refused where it is produced.
    let _ = weigh(value, 0, &mut units);
    units
}

/// One per value and one for each 64 bytes of text or digits; false when nested too deep.
fn weigh(value: &Value, depth: usize, units: &mut usize) -> bool {
    *units += 1;
    match value {
        Value::Null | Value::Bool(_) => true,
        Value::Number(number) => {
            *units += number.weight();
            true
        }
        Value::String(text) => {
            *units += text.len() / 64;
            true
        }
        Value::Tuple(items) | Value::List(items) | Value::Set(items) => {
            depth < VALUE_DEPTH_MAX && items.iter().all(|item| weigh(item, depth + 1, units))
        }
        Value::Object(entries) | Value::Map(entries) => {
            depth < VALUE_DEPTH_MAX
                && entries.iter().all(|(name, value)| {
                    *units += name.len() / 64;
                    weigh(value, depth + 1, units)
                })
        }
    }
}
