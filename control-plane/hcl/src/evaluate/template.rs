//! Texts with holes and directives.

use super::{Evaluator, Failed, Outcome};
use crate::scope::TEXT_BYTES_MAX;
use crate::source::Span;
use crate::syntax::tree::{Expr, Hole, Part};
use crate::value::Value;

/// The heading of a problem with a value that is no text.
pub(super) const TEMPLATE_SUMMARY: &str = "Invalid template interpolation value";

impl Evaluator<'_> {
    /// The value of a hole; a reference nobody knows stays as it was written.
    pub(super) fn hole(&mut self, hole: &Hole) -> Outcome {
        if !hole.is_trimming && self.is_kept(&hole.value) {
            let text = self.source.slice(hole.span).to_string();
            return self.produced(Value::String(text), hole.span);
        }
        self.evaluate(&hole.value)
    }

    pub(super) fn template(&mut self, parts: &[Part], span: Span) -> Outcome {
        let mut out = String::new();
        self.parts(parts, &mut out, span)?;
        self.produced(Value::String(out), span)
    }

    fn parts(&mut self, parts: &[Part], out: &mut String, span: Span) -> Result<(), Failed> {
        let mut result = Ok(());
        for part in parts {
            // A failed part does not stop the others: their problems are wanted too.
            if self.part(part, out, span).is_err() {
                result = Err(Failed);
            }
        }
        result
    }

    fn part(&mut self, part: &Part, out: &mut String, span: Span) -> Result<(), Failed> {
        match part {
            Part::Text(text) => self.push(out, text, span),
            Part::Hole(hole) => {
                let value = self.hole(hole)?;
                if value.is_null() {
                    let detail = "The expression result is null. Cannot include a null value in a string template.";
                    return self.fail_at(hole.value.span, TEMPLATE_SUMMARY, detail);
                }
                match value.to_text() {
                    Ok(text) => self.push(out, &text, span),
                    Err(problem) => {
                        let detail = format!("Cannot include the given value in a string template: {problem}.");
                        self.fail_at(hole.value.span, TEMPLATE_SUMMARY, detail)
                    }
                }
            }
            Part::If { condition, yes, no } => {
                let holds = self.condition(condition)?;
                self.parts(if holds { yes } else { no }, out, span)
            }
            Part::For { key_name, value_name, collection, body } => {
                let items = self.items_of(collection)?;
                for (key, value) in items {
                    self.charge(1, span)?;
                    let mut names = vec![(value_name.clone(), value)];
                    names.extend(key_name.clone().map(|name| (name, key)));
                    self.within(names, |inner| inner.parts(body, out, span))?;
                }
                Ok(())
            }
        }
    }

    fn push(&mut self, out: &mut String, text: &str, span: Span) -> Result<(), Failed> {
        self.charge(1 + text.len() / 64, span)?;
        if out.len() + text.len() > TEXT_BYTES_MAX {
            let detail = format!("The text grows beyond {TEXT_BYTES_MAX} bytes.");
            return self.fail_at(span, "Text too large", detail);
        }
        out.push_str(text);
        Ok(())
    }

    /// A truth value that decides between two ways.
    pub(super) fn condition(&mut self, condition: &Expr) -> Result<bool, Failed> {
        let value = self.evaluate(condition)?;
        if value.is_null() {
            let detail = "The condition value is null. Conditions must either be true or false.";
            return self.fail_at(condition.span, "Null condition", detail);
        }
        match value.to_bool() {
            Ok(holds) => Ok(holds),
            Err(_) => {
                let detail = "The condition expression must be of type bool.";
                self.fail_at(condition.span, "Incorrect condition type", detail)
            }
        }
    }
}
