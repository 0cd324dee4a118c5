//! The value of each variable: default, then environment, then variable files, then flags; the last one wins, and
//! each one given must fit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Inputs;
use super::validation::validate;
use super::variable::Variable;
use crate::evaluate::Evaluator;
use crate::functions::Functions;
use crate::meter::Meter;
use crate::problem::{Place, Problem, hinted};
use crate::scope::{Limits, Scope};
use crate::source::{Source, Span};
use crate::syntax;
use crate::types::{Type, convert};
use crate::value::Value;

/// What the names of variables in the environment begin with.
const ENV_PREFIX: &str = "NOMAD_VAR_";

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    Env,
    VarFile,
    Flag,
}

impl Origin {
    /// The word in messages about a value that breaks a rule.
    pub fn word(self) -> &'static str {
        match self {
            Origin::Default => "default",
            Origin::Env => "env",
            Origin::VarFile => "varfile",
            Origin::Flag => "cmd",
        }
    }
}

/// A value with its origin.
pub(super) struct Given {
    pub value: Value,
    pub origin: Origin,
    pub place: Place,
}

/// Values of all variables, and what is wrong with those given.
pub(super) fn resolve(
    source: &Source,
    variables: &[Variable],
    inputs: &Inputs,
    meter: &mut Meter,
) -> (BTreeMap<String, Value>, Vec<Problem>) {
    let declared: BTreeMap<&str, &Variable> =
        variables.iter().map(|variable| (variable.name.as_str(), variable)).collect();
    let mut found = Found {
        tried: BTreeSet::new(),
        given: BTreeMap::new(),
        problems: Vec::new(),
        has_bad_file: false,
        limits: inputs.limits,
    };
    for (name, text) in &inputs.env {
        // The environment may hold names for other jobs, so an unknown one is fine.
        if let Some(variable) = name.strip_prefix(ENV_PREFIX).and_then(|name| declared.get(name)) {
            found.text(variable, text, Origin::Env);
        }
    }
    for file in &inputs.var_files {
        found.file(&Arc::new(file.clone()), &declared, inputs.is_strict);
    }
    // A bad file hides the flags, as it always did: scripts see the same problems.
    let flags = if !found.has_bad_file { inputs.var_flags.as_slice() } else { &[] };
    for (name, text) in flags {
        match declared.get(name.as_str()) {
            Some(variable) => found.text(variable, text, Origin::Flag),
            None if inputs.is_strict => {
                let problem = Problem::nowhere(
                    "Undefined -var variable",
                    format!(
                        "A \"{name}\" variable was passed in the command line but was not found in known variables. To declare variable \"{name}\", place this block in your job file"
                    ),
                );
                found.problems.push(hinted(problem, name, declared.keys().copied()));
            }
            None => {}
        }
    }
    let mut values = BTreeMap::new();
    for variable in variables {
        let given = found.given.remove(&variable.name).or_else(|| {
            let value = variable.default.clone()?;
            Some(Given { value, origin: Origin::Default, place: Place::At(variable.default_span) })
        });
        let Some(given) = given else {
            if found.tried.contains(&variable.name) {
                continue;
            }
            found.problems.push(Problem::nowhere(
                format!("Unset variable \"{}\"", variable.name),
                "A used variable must be set or have a default value; see https://developer.hashicorp.com/nomad/docs/reference/hcl2/variables  for details.",
            ));
            continue;
        };
        found.problems.extend(validate(source, variable, &given, inputs.limits, meter));
        values.insert(variable.name.clone(), given.value);
    }
    (values, found.problems)
}

struct Found {
    /// Names that were given a value, fit or not: an unfit one is not also unset.
    tried: BTreeSet<String>,
    given: BTreeMap<String, Given>,
    problems: Vec<Problem>,
    /// Whether a variable file could not be read as one.
    has_bad_file: bool,
    limits: Limits,
}

impl Found {
    /// A value given as text: as it is for text, numbers and variables without a type, else a constant expression.
    fn text(&mut self, variable: &Variable, text: &str, origin: Origin) {
        self.tried.insert(variable.name.clone());
        let (from, kind) = match origin {
            Origin::Env => ("env", "environment"),
            Origin::Default | Origin::VarFile | Origin::Flag => ("arguments", "-var"),
        };
        let (value, place) = match &variable.wanted {
            None | Some(Type::String | Type::Number) => (Value::text(text), Place::Unset),
            Some(_) => {
                let source =
                    Arc::new(Source::new(format!("<value for var.{} from {from}>", variable.name), text.trim()));
                match self.constant(&source) {
                    Ok((value, span)) => (value, Place::Other { source, span }),
                    Err(problems) => {
                        self.problems.extend(problems.into_iter().map(|problem| problem.in_source(&source)));
                        return;
                    }
                }
            }
        };
        let summary = format!("Invalid argument value for {kind} variable");
        let detail = format!("The received arg value for {}", variable.name);
        self.keep(variable, Given { value, origin, place }, summary, &detail);
    }

    fn constant(&self, source: &Source) -> Result<(Value, Span), Vec<Problem>> {
        let expr = syntax::read_expression(source, self.limits)?;
        let scope = Scope { limits: self.limits, functions: Functions::all(), ..Scope::default() };
        let mut evaluator = Evaluator::constant(source, &scope);
        match evaluator.evaluate(&expr) {
            Ok(value) => Ok((value, expr.span)),
            Err(_) => Err(evaluator.problems),
        }
    }

    fn keep(&mut self, variable: &Variable, given: Given, summary: String, detail: &str) {
        let converted = match &variable.wanted {
            Some(wanted) => convert(&given.value, wanted),
            None => Ok(given.value),
        };
        match converted {
            Ok(value) => {
                self.given.insert(variable.name.clone(), Given { value, ..given });
            }
            Err(problem) => {
                let detail = format!("{detail} is not compatible with the variable's type constraint: {problem}.");
                self.problems.push(Problem { place: given.place, ..Problem::nowhere(summary, detail) });
            }
        }
    }

    fn file(&mut self, file: &Arc<Source>, declared: &BTreeMap<&str, &Variable>, is_strict: bool) {
        let entries = match file.text.trim_start_matches(' ').starts_with('{') {
            true => json_entries(file),
            false => self.hcl_entries(file),
        };
        for (name, value, span) in entries.unwrap_or_else(|problems| {
            self.has_bad_file = true;
            self.problems.extend(problems.into_iter().map(|problem| problem.in_source(file)));
            Vec::new()
        }) {
            let place = Place::Other { source: file.clone(), span };
            match declared.get(name.as_str()) {
                Some(variable) => {
                    self.tried.insert(name.clone());
                    let given = Given { value, origin: Origin::VarFile, place };
                    let detail = format!("The received value for {name}");
                    self.keep(variable, given, "Invalid value for variable".to_string(), &detail);
                }
                None if is_strict => {
                    let problem = Problem::nowhere(
                        "Undefined variable",
                        format!(
                            "A \"{name}\" variable was set but was not found in known variables. To declare variable \"{name}\", place this block in your job files"
                        ),
                    );
                    self.problems.push(hinted(problem, &name, declared.keys().copied()));
                }
                None => {}
            }
        }
    }

    fn hcl_entries(&mut self, file: &Source) -> Result<Vec<(String, Value, Span)>, Vec<Problem>> {
        let tree = syntax::read_body(file, self.limits)?;
        let scope = Scope { limits: self.limits, functions: Functions::all(), ..Scope::default() };
        let mut evaluator = Evaluator::constant(file, &scope);
        for block in &tree.blocks {
            let name = block.labels.first().map_or("<name>", |label| label.text.as_str());
            let detail = format!(
                "A .var file is used to assign values to variables that have already been declared in job files, not to declare new variables. To declare variable \"{name}\", place this block in one of your job files\n\nTo set a value for this variable in {}, use the definition syntax instead:\n    {name} = <value>",
                file.name
            );
            let _ = evaluator.fail(Problem::new(block.kind_span, "Variable declaration in a .var file", detail));
        }
        let mut entries = Vec::new();
        for attribute in &tree.attributes {
            if tree.blocks.is_empty() {
                self.tried.insert(attribute.name.clone());
            }
            if let Ok(value) = evaluator.evaluate(&attribute.value) {
                entries.push((attribute.name.clone(), value, attribute.value.span));
            }
        }
        if evaluator.problems.is_empty() { Ok(entries) } else { Err(evaluator.problems) }
    }
}

fn json_entries(file: &Source) -> Result<Vec<(String, Value, Span)>, Vec<Problem>> {
    let whole = Span::new(0, file.text.len());
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&file.text) {
        Ok(entries) => Ok(entries.iter().map(|(name, value)| (name.clone(), Value::from_json(value), whole)).collect()),
        Err(error) => {
            let line_start: usize =
                file.text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
            let at = (line_start + error.column().saturating_sub(1)).min(file.text.len());
            Err(vec![Problem::new(Span::new(at, at + 1), "Invalid JSON", format!("{error}."))])
        }
    }
}
