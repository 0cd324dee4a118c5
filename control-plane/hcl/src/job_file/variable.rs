//! Declarations of variables: `variable "name" { ... }` and the short form `variables { name = default }`.

use std::collections::BTreeSet;

use crate::evaluate::{Evaluator, type_constraint};
use crate::functions::Functions;
use crate::problem::{Problem, hinted};
use crate::scope::{Limits, Scope};
use crate::source::{Source, Span};
use crate::syntax::tree::{AttributeTree, BlockTree};
use crate::types::{Type, convert};
use crate::value::Value;

/// What a declaration may say beside its rules.
const ARGUMENTS: [&str; 3] = ["type", "default", "description"];

/// A declared variable.
pub(super) struct Variable<'t> {
    pub name: String,
    /// From the declaration, or the type of the default; missing when there is neither.
    pub wanted: Option<Type>,
    pub default: Option<Value>,
    pub default_span: Span,
    pub validations: Vec<&'t BlockTree>,
}

/// All variables that the blocks declare, and what is wrong with the declarations.
pub(super) fn declared<'t>(
    source: &Source,
    blocks: &'t [BlockTree],
    limits: Limits,
) -> (Vec<Variable<'t>>, Vec<Problem>) {
    let scope = Scope { limits, functions: Functions::all(), ..Scope::default() };
    let mut reader =
        Reader { evaluator: Evaluator::constant(source, &scope), variables: Vec::new(), names: BTreeSet::new() };
    for block in blocks {
        match block.kind.as_str() {
            "variable" => reader.long_form(block),
            "variables" => block.body.attributes.iter().for_each(|default| reader.short_form(default)),
            _ => {}
        }
    }
    (reader.variables, reader.evaluator.problems)
}

struct Reader<'t, 'e> {
    evaluator: Evaluator<'e>,
    variables: Vec<Variable<'t>>,
    names: BTreeSet<String>,
}

impl<'t> Reader<'t, '_> {
    fn fail(&mut self, span: Span, summary: &str, detail: impl Into<String>) {
        // The caller looks at all problems at the end.
        let _ = self.evaluator.fail(Problem::new(span, summary, detail));
    }

    fn declare(&mut self, variable: Variable<'t>) {
        if !self.names.insert(variable.name.clone()) {
            let _ =
                self.evaluator.fail(Problem::nowhere("Duplicate variable", "Duplicate a variable definition found."));
            return;
        }
        self.variables.push(variable);
    }

    fn short_form(&mut self, default: &AttributeTree) {
        let Ok(value) = self.evaluator.evaluate(&default.value) else {
            return;
        };
        let wanted = Some(Type::of(&value)).filter(|wanted| *wanted != Type::Any);
        self.declare(Variable {
            name: default.name.clone(),
            wanted,
            default: Some(value),
            default_span: default.value.span,
            validations: Vec::new(),
        });
    }

    fn long_form(&mut self, block: &'t BlockTree) {
        let [label] = block.labels.as_slice() else {
            let detail = "All variable blocks must have 1 labels (name).";
            return self.fail(block.open_brace_span, "Missing name for variable", detail);
        };
        if !is_name(&label.text) {
            let detail = "A name must start with a letter or underscore and may contain only letters, digits, underscores, and dashes.";
            return self.fail(label.span, "Invalid variable name", detail);
        }
        let mut variable = Variable {
            name: label.text.clone(),
            wanted: None,
            default: None,
            default_span: block.open_brace_span,
            validations: Vec::new(),
        };
        for attribute in &block.body.attributes {
            if !ARGUMENTS.contains(&attribute.name.as_str()) {
                let detail = format!("An argument named \"{}\" is not expected here.", attribute.name);
                let problem = Problem::new(attribute.name_span, "Unsupported argument", detail);
                let _ = self.evaluator.fail(hinted(problem, &attribute.name, ARGUMENTS.into_iter()));
            }
        }
        for inner in &block.body.blocks {
            if inner.kind == "validation" {
                variable.validations.push(inner);
            } else {
                let detail = format!("Blocks of type \"{}\" are not expected here.", inner.kind);
                let problem = Problem::new(inner.kind_span, "Unsupported block type", detail);
                let _ = self.evaluator.fail(hinted(problem, &inner.kind, ["validation"].into_iter()));
            }
        }
        if let Some(wanted) = block.body.attribute("type") {
            match type_constraint(&wanted.value, false) {
                Ok(wanted) => variable.wanted = Some(wanted),
                Err((place, detail)) => self.fail(place, "Invalid type specification", detail),
            }
        }
        if let Some(default) = block.body.attribute("default") {
            variable.default_span = default.value.span;
            if let Ok(value) = self.evaluator.evaluate(&default.value) {
                self.take_default(&mut variable, value);
            }
        }
        self.declare(variable);
    }

    fn take_default(&mut self, variable: &mut Variable, value: Value) {
        match &variable.wanted {
            None => {
                variable.wanted = Some(Type::of(&value)).filter(|wanted| *wanted != Type::Any);
                variable.default = Some(value);
            }
            Some(wanted) => match convert(&value, wanted) {
                Ok(value) => variable.default = Some(value),
                Err(problem) => {
                    let detail =
                        format!("This default value is not compatible with the variable's type constraint: {problem}.");
                    self.fail(variable.default_span, "Invalid default value for variable", detail);
                }
            },
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}
