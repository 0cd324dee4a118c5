//! Function calls, and the three functions that see their arguments before these are evaluated.

use std::collections::BTreeMap;

use super::{Evaluator, Failed, Outcome};
use crate::functions::{Context, Fault};
use crate::source::Span;
use crate::suggest::near;
use crate::syntax::tree::{CallTree, Expr, ExprKind};
use crate::types::{Type, convert};
use crate::value::Value;

/// Functions that are evaluated here and not in `functions`.
const LAZY: [&str; 3] = ["can", "convert", "try"];

impl Evaluator<'_> {
    pub(super) fn call(&mut self, call: &CallTree, span: Span) -> Outcome {
        if self.is_constant {
            return self.fail_at(span, "Function calls not allowed", "Functions may not be called here.");
        }
        match call.name.as_str() {
            "try" => self.call_try(call),
            "can" => self.call_can(call),
            "convert" => self.call_convert(call),
            _ => self.call_function(call, span),
        }
    }

    fn call_failed<T>(&mut self, call: &CallTree, reason: &str) -> Result<T, Failed> {
        let detail = format!("Call to function \"{}\" failed: {reason}.", call.name);
        self.fail_at(call.name_span.to(call.open_span), "Error in function call", detail)
    }

    fn too_few(&mut self, call: &CallTree, wanted: usize, qualifier: &str, name: &str) -> Failed {
        let detail = format!(
            "Function \"{}\" expects{qualifier} {wanted} argument(s). Missing value for \"{name}\".",
            call.name
        );
        self.fail(crate::problem::Problem::new(call.close_span, "Not enough function arguments", detail))
    }

    fn too_many(&mut self, call: &CallTree, wanted: usize) -> Failed {
        let first = call.arguments.get(wanted).map_or(call.close_span, |extra| extra.span);
        let detail = format!("Function \"{}\" expects only {wanted} argument(s).", call.name);
        self.fail(crate::problem::Problem::new(first.to(call.close_span), "Too many function arguments", detail))
    }

    fn call_function(&mut self, call: &CallTree, span: Span) -> Outcome {
        let Some(function) = self.scope.functions.find(&call.name) else {
            let suggestion = near(&call.name, self.scope.functions.names().chain(LAZY))
                .map_or(String::new(), |near| format!(" Did you mean \"{near}\"?"));
            let detail = format!("There is no function named \"{}\".{suggestion}", call.name);
            return self.fail_at(call.name_span, "Call to unknown function", detail);
        };
        let arguments = self.arguments(call)?;
        if let Some(missing) = function.parameters.get(arguments.len()) {
            let qualifier = if function.rest.is_some() { " at least" } else { "" };
            return Err(self.too_few(call, function.parameters.len(), qualifier, missing.name));
        }
        if function.rest.is_none() && arguments.len() > function.parameters.len() {
            return Err(self.too_many(call, function.parameters.len()));
        }
        let mut converted = Vec::with_capacity(arguments.len());
        let mut result = Ok(());
        for (i, (value, place)) in arguments.iter().enumerate() {
            let Some(parameter) = function.parameters.get(i).or(function.rest.as_ref()) else {
                break;
            };
            match parameter.accept(value) {
                Ok(value) => converted.push(value),
                Err(problem) => {
                    let detail = format!("Invalid value for \"{}\" parameter: {problem}.", parameter.name);
                    result = self.fail_at(*place, "Invalid function argument", detail);
                }
            }
        }
        result?;
        // What goes in may be looked at more than once; count it before the function runs.
        self.charge(converted.len(), span)?;
        let mut context = Context { files: self.scope.files, seed: self.scope.seed, meter: self.meter };
        let answer = (function.run)(&converted, &mut context);
        self.meter = context.meter;
        match answer {
            Ok(value) => self.produced(value, span),
            Err(Fault::Call(reason)) => self.call_failed(call, &reason),
            Err(Fault::Exhausted) => Err(self.exhausted(span)),
            Err(Fault::Argument(i, reason)) => {
                let parameter = function.parameters.get(i).or(function.rest.as_ref());
                let name = parameter.map_or("argument", |parameter| parameter.name);
                let place = arguments.get(i).map_or(call.close_span, |(_, place)| *place);
                let detail = format!("Invalid value for \"{name}\" parameter: {reason}.");
                self.fail_at(place, "Invalid function argument", detail)
            }
        }
    }

    /// Evaluates all arguments, with `list...` spread out.
    fn arguments(&mut self, call: &CallTree) -> Result<Vec<(Value, Span)>, Failed> {
        let mut values = Vec::with_capacity(call.arguments.len());
        let mut result = Ok(());
        for (i, argument) in call.arguments.iter().enumerate() {
            let Ok(value) = self.evaluate(argument) else {
                result = Err(Failed);
                continue;
            };
            if !call.is_expanding || i + 1 < call.arguments.len() {
                values.push((value, argument.span));
                continue;
            }
            match value {
                Value::Tuple(items) | Value::List(items) | Value::Set(items) => {
                    values.extend(items.into_iter().map(|item| (item, argument.span)));
                }
                Value::Null => {
                    let detail = "The expanding argument (indicated by ...) must not be null.";
                    result = self.fail_at(argument.span, "Invalid expanding argument value", detail);
                }
                _ => {
                    let detail = "The expanding argument (indicated by ...) must be of a tuple, list, or set type.";
                    result = self.fail_at(argument.span, "Invalid expanding argument value", detail);
                }
            }
        }
        result.map(|()| values)
    }

    fn call_try(&mut self, call: &CallTree) -> Outcome {
        if call.arguments.is_empty() {
            return self.call_failed(call, "at least one argument is required");
        }
        let mut reasons = String::new();
        for argument in &call.arguments {
            match self.apart(|inner| inner.evaluate(argument)) {
                Ok(value) => return Ok(value),
                Err(problems) => {
                    for problem in problems {
                        // Finding a line goes through the whole text.
                        self.charge(self.source.text.len() / 1024, call.name_span)?;
                        let (place, detail) = (problem.range(self.source), problem.detail.replace('\n', "\n  "));
                        reasons.push_str(&format!("\n- {} (at {place})\n  {detail}", problem.summary));
                    }
                }
            }
        }
        // Running out of what may be produced must not be hidden by `try`.
        self.charge(1, call.name_span)?;
        let reason =
            format!("no expression succeeded:{reasons}\n\nAt least one expression must produce a successful result");
        self.call_failed(call, &reason)
    }

    fn call_can(&mut self, call: &CallTree) -> Outcome {
        let argument = match call.arguments.as_slice() {
            [argument] => argument,
            [] => return Err(self.too_few(call, 1, "", "expression")),
            _ => return Err(self.too_many(call, 1)),
        };
        Ok(Value::Bool(self.apart(|inner| inner.evaluate(argument)).is_ok()))
    }

    fn call_convert(&mut self, call: &CallTree) -> Outcome {
        let (value, wanted) = match call.arguments.as_slice() {
            [value, wanted] => (value, wanted),
            [] => return Err(self.too_few(call, 2, "", "value")),
            [_] => return Err(self.too_few(call, 2, "", "type")),
            _ => return Err(self.too_many(call, 2)),
        };
        let converted = self.evaluate(value)?;
        let wanted = match type_constraint(wanted, true) {
            Ok(wanted) => wanted,
            Err((place, detail)) => return self.fail_at(place, "Invalid type specification", detail),
        };
        match convert(&converted, &wanted) {
            Ok(value) => self.produced(value, call.name_span),
            Err(problem) => {
                let detail = format!("Invalid value for \"value\" parameter: {problem}.");
                self.fail_at(value.span, "Invalid function argument", detail)
            }
        }
    }
}

/// Reads an expression as a type: `string`, `list(number)`, `object({ a = bool })`.
pub(crate) fn type_constraint(expr: &Expr, is_any_allowed: bool) -> Result<Type, (Span, String)> {
    let wrong = |detail: &str| Err((expr.span, detail.to_string()));
    match &expr.kind {
        ExprKind::Reference { name, steps, .. } if steps.is_empty() => match name.as_str() {
            "bool" => Ok(Type::Bool),
            "string" => Ok(Type::String),
            "number" => Ok(Type::Number),
            "any" if is_any_allowed => Ok(Type::Any),
            "any" => wrong("The keyword \"any\" cannot be used in this type specification: an exact type is required."),
            "list" | "set" | "map" => {
                wrong(&format!("The {name} type constructor requires one argument specifying the element type."))
            }
            "object" => wrong(
                "The object type constructor requires one argument specifying the attribute types and values as a map.",
            ),
            "tuple" => {
                wrong("The tuple type constructor requires one argument specifying the element types as a list.")
            }
            _ => wrong(&format!("The keyword \"{name}\" is not a valid type specification.")),
        },
        // A type in quotes is the old way to write it.
        ExprKind::Literal(Value::String(name)) => match name.as_str() {
            "bool" => Ok(Type::Bool),
            "string" => Ok(Type::String),
            "number" => Ok(Type::Number),
            _ => wrong(&format!("The keyword \"{name}\" is not a valid type specification.")),
        },
        ExprKind::Call(call) => constructed_type(call, expr.span, is_any_allowed),
        _ => wrong(
            "A type specification is either a primitive type keyword (bool, number, string) or a complex type constructor call, like list(string).",
        ),
    }
}

fn constructed_type(call: &CallTree, span: Span, is_any_allowed: bool) -> Result<Type, (Span, String)> {
    let name = call.name.as_str();
    let argument = match call.arguments.as_slice() {
        [argument] => argument,
        _ => {
            let detail = format!("The {name} type constructor requires one argument.");
            return Err((call.open_span.to(call.close_span), detail));
        }
    };
    let item = || type_constraint(argument, is_any_allowed).map(Box::new);
    match (name, &argument.kind) {
        ("list", _) => Ok(Type::List(item()?)),
        ("set", _) => Ok(Type::Set(item()?)),
        ("map", _) => Ok(Type::Map(item()?)),
        ("tuple", ExprKind::Tuple(items)) => {
            let types: Result<Vec<Type>, _> = items.iter().map(|item| type_constraint(item, is_any_allowed)).collect();
            types.map(Type::Tuple)
        }
        ("tuple", _) => Err((argument.span, "Tuple type constructor requires a list of element types.".to_string())),
        ("object", ExprKind::Object(entries)) => {
            let mut types = BTreeMap::new();
            for (key, value) in entries {
                let ExprKind::Literal(Value::String(name)) = &key.kind else {
                    let detail = "Object constructor map keys must be attribute names.";
                    return Err((key.span, detail.to_string()));
                };
                types.insert(name.clone(), type_constraint(value, is_any_allowed)?);
            }
            Ok(Type::Object(types))
        }
        ("object", _) => {
            let detail = "Object type constructor requires a map whose keys are attribute names and whose values are the corresponding attribute types.";
            Err((argument.span, detail.to_string()))
        }
        ("optional", _) => {
            let detail = "Optional attribute modifier is only for type constraints, not for exact types.";
            Err((call.name_span, detail.to_string()))
        }
        ("bool" | "string" | "number" | "any", _) => {
            Err((call.name_span, format!("Primitive type keyword \"{name}\" does not expect arguments.")))
        }
        _ => Err((span, format!("Keyword \"{name}\" is not a valid type constructor."))),
    }
}
