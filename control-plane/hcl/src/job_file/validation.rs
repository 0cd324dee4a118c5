//! Rules that a variable declares for its own value.

use super::given::Given;
use super::variable::Variable;
use crate::evaluate::Evaluator;
use crate::functions::Functions;
use crate::meter::Meter;
use crate::problem::Problem;
use crate::scope::{Limits, Scope};
use crate::source::Source;
use crate::syntax::tree::BlockTree;
use crate::syntax::walk::references;
use crate::value::Value;

/// What breaks the rules of a variable, or is wrong with a rule.
pub(super) fn validate(
    source: &Source,
    variable: &Variable,
    given: &Given,
    limits: Limits,
    meter: &mut Meter,
) -> Vec<Problem> {
    if variable.validations.is_empty() {
        return Vec::new();
    }
    let own = Value::Object([(variable.name.clone(), given.value.clone())].into());
    let scope =
        Scope { variables: [("var".to_string(), own)].into(), limits, functions: Functions::all(), ..Scope::default() };
    let mut evaluator = Evaluator::new(source, &scope).with_meter(*meter);
    for rule in &variable.validations {
        check(&mut evaluator, variable, given, rule);
    }
    *meter = evaluator.meter();
    evaluator.problems
}

fn check(evaluator: &mut Evaluator, variable: &Variable, given: &Given, rule: &BlockTree) {
    let fail = |evaluator: &mut Evaluator, problem: Problem| {
        // The caller looks at all problems at the end.
        let _ = evaluator.fail(problem);
    };
    let missing = |evaluator: &mut Evaluator, name: &str| {
        let detail = format!("The argument \"{name}\" is required, but no definition was found.");
        fail(evaluator, Problem::new(rule.open_brace_span.at_start(), "Missing required argument", detail));
    };
    let Some(condition) = rule.body.attribute("condition").map(|condition| &condition.value) else {
        return missing(evaluator, "condition");
    };
    let Some(message) = rule.body.attribute("error_message").map(|message| &message.value) else {
        return missing(evaluator, "error_message");
    };
    let name = &variable.name;
    let mut is_own_named = false;
    for reference in references(condition) {
        if reference.name == "var" && reference.member == Some(name) {
            is_own_named = true;
            continue;
        }
        let detail =
            format!("The condition for variable \"{name}\" can only refer to the variable itself, using var.{name}.");
        fail(evaluator, Problem::new(reference.span, "Invalid reference in variable validation", detail));
    }
    if !is_own_named {
        let detail =
            format!("The condition for variable \"{name}\" must refer to var.{name} in order to test incoming values.");
        fail(evaluator, Problem::new(condition.span, "Invalid variable validation condition", detail));
    }
    let message = match evaluator.evaluate(message).map(|text| text.to_text()) {
        Ok(Ok(text)) if !text.trim().is_empty() => text,
        Ok(_) => {
            let detail = "At least one full sentence explaining how to make the value valid is required.";
            return fail(evaluator, Problem::new(message.span, "Invalid validation error message", detail));
        }
        Err(_) => return,
    };
    let Ok(holds) = evaluator.evaluate(condition) else {
        return;
    };
    match holds.to_bool() {
        Ok(true) => {}
        Ok(false) => {
            let summary = format!("Invalid value for {} variable", given.origin.word());
            let place = evaluator.source.range(rule.kind_span);
            let detail = format!("{message}\n\nThis was checked by the validation rule at {place}.");
            fail(evaluator, Problem { place: given.place.clone(), ..Problem::nowhere(summary, detail) });
        }
        Err(_) if holds.is_null() => {
            let detail = "Validation condition expression must return either true or false, not null.";
            fail(evaluator, Problem::new(condition.span, "Invalid variable validation result", detail));
        }
        Err(problem) => {
            let detail = format!("Invalid validation condition result value: {problem}.");
            fail(evaluator, Problem::new(condition.span, "Invalid variable validation result", detail));
        }
    }
}
