//! Job files: `variable`, `variables` and `locals` blocks are taken out and give the names that the rest may use.
//! `variable` reads the declarations, `given` finds the value of each, `validation` checks it, `locals` puts the
//! locals in an order in which each finds what it needs.

mod given;
mod locals;
mod validation;
mod variable;

use std::collections::BTreeMap;

use crate::decoded::Body;
use crate::evaluate::Evaluator;
use crate::files::Files;
use crate::meter::Meter;
use crate::problem::Problem;
use crate::scope::{Limits, PROBLEMS_MAX, Scope};
use crate::source::Source;
use crate::syntax;
use crate::value::Value;

/// What comes from outside the job file.
#[derive(Clone)]
pub struct Inputs<'a> {
    /// `-var name=value`, in the order given; the last one of a name wins.
    pub var_flags: Vec<(String, String)>,
    /// Variable files, in the order given; later ones win. JSON when the first character is `{`.
    pub var_files: Vec<Source>,
    /// The environment with full names; what begins with `NOMAD_VAR_` is picked out.
    pub env: BTreeMap<String, String>,
    /// Whether a flag or a file that sets an undeclared variable is a problem.
    pub is_strict: bool,
    /// Files for the file functions; none means that these functions fail.
    pub files: Option<&'a dyn Files>,
    /// Random bytes that `uuidv4` and the salt of `bcrypt` follow from; none means that these functions fail.
    pub seed: Option<[u8; 32]>,
    /// How far evaluation may go.
    pub limits: Limits,
}

impl Default for Inputs<'_> {
    fn default() -> Self {
        Inputs {
            var_flags: Vec::new(),
            var_files: Vec::new(),
            env: BTreeMap::new(),
            is_strict: true,
            files: None,
            seed: None,
            limits: Limits::default(),
        }
    }
}

/// Reads and evaluates a job file. Blocks that declare variables and locals are not part of the answer.
pub fn parse_job_file(source: &Source, inputs: &Inputs) -> Result<Body, Vec<Problem>> {
    let mut tree = syntax::read_body(source, inputs.limits)?;
    let blocks = std::mem::take(&mut tree.blocks);
    let (declaring, rest): (Vec<_>, Vec<_>) =
        blocks.into_iter().partition(|block| ["variable", "variables", "locals"].contains(&block.kind.as_str()));
    tree.blocks = rest;

    let mut meter = Meter::new(inputs.limits.expansion_units);
    let (variables, mut problems) = variable::declared(source, &declaring, inputs.limits);
    let values = if problems.is_empty() {
        let (values, found) = given::resolve(source, &variables, inputs, &mut meter);
        problems.extend(found);
        values
    } else {
        BTreeMap::new()
    };
    if !problems.is_empty() {
        problems.truncate(PROBLEMS_MAX);
        return Err(problems);
    }

    let mut scope = Scope { files: inputs.files, seed: inputs.seed, limits: inputs.limits, ..Scope::job() };
    scope.variables.insert("var".to_string(), Value::Object(values));
    locals::evaluate(source, &declaring, &mut scope, &mut meter)?;
    let mut evaluator = Evaluator::new(source, &scope).with_meter(meter);
    let body = evaluator.body(&tree, false);
    if evaluator.problems.is_empty() { Ok(body) } else { Err(evaluator.problems) }
}

#[cfg(test)]
mod tests;
