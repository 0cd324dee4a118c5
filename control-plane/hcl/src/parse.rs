//! The way in for a text that stands for itself: read, evaluate, hand back the tree or all problems.

use crate::decoded::Body;
use crate::evaluate::Evaluator;
use crate::problem::Problem;
use crate::scope::Scope;
use crate::source::Source;
use crate::syntax;

/// Reads and evaluates a text.
pub fn parse(source: &Source, scope: &Scope) -> Result<Body, Vec<Problem>> {
    let tree = syntax::read_body(source, scope.limits)?;
    let mut evaluator = Evaluator::new(source, scope);
    let body = evaluator.body(&tree, false);
    if evaluator.problems.is_empty() { Ok(body) } else { Err(evaluator.problems) }
}
