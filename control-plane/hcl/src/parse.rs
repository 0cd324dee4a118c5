//! The way in for a text that stands for itself: read, evaluate, hand back the tree or all problems.

use crate::decoded::Body;
use crate::evaluate::Evaluator;
use crate::job_file::{Inputs, parse_job_file};
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

/// For a fuzz target: any bytes go in, nothing may panic or hang.
pub fn fuzz(data: &[u8]) {
    let source = Source::new("fuzz.hcl", String::from_utf8_lossy(data));
    for outcome in [parse_job_file(&source, &Inputs::default()), parse(&source, &Scope::settings())] {
        for problem in outcome.err().unwrap_or_default() {
            let shown = problem.one_line(&source).len() + problem.human(&source).len();
            assert!(shown > 0, "a problem always has a text");
        }
    }
}
