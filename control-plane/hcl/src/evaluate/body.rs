//! Bodies: attributes get their values, `dynamic` blocks become what they describe.

use super::collection::items;
use super::template::TEMPLATE_SUMMARY;
use super::{Evaluator, Failed};
use crate::decoded::{Attribute, Block, Body, Label};
use crate::problem::{Problem, hinted};
use crate::source::Span;
use crate::syntax::tree::{BlockTree, BodyTree, Expr, ExprKind};
use crate::value::Value;

/// What a `dynamic` block may say beside its content.
const ARGUMENTS: [&str; 3] = ["for_each", "iterator", "labels"];

impl Evaluator<'_> {
    /// Evaluates a body; what fails is missing from the result and noted.
    pub fn body(&mut self, tree: &BodyTree, is_opaque: bool) -> Body {
        let mut body = Body {
            attributes: Vec::with_capacity(tree.attributes.len()),
            blocks: Vec::with_capacity(tree.blocks.len()),
            span: tree.span,
        };
        for attribute in &tree.attributes {
            let value_span = attribute.value.span;
            let before = self.problems.len();
            match self.evaluate(&attribute.value) {
                Ok(value) => body.attributes.push(Attribute {
                    name: attribute.name.clone(),
                    value,
                    span: attribute.span,
                    name_span: attribute.name_span,
                    value_span,
                }),
                // A hole that does not fit leaves a text unknown, but the map known.
                Err(Failed)
                    if self.scope.map_attributes.contains(&attribute.name)
                        && !is_opaque
                        && self.problems[before..].iter().any(|problem| problem.summary != TEMPLATE_SUMMARY) =>
                {
                    let brace = Span::new(value_span.start, value_span.start + 1);
                    let _: Result<(), Failed> =
                        self.fail_at(brace, "Unsuitable value type", "Unsuitable value: value must be known");
                }
                Err(Failed) => {}
            }
        }
        for block in &tree.blocks {
            if block.kind == "dynamic" && !is_opaque && block.labels.len() == 1 {
                // A failed block is noted; the others go on.
                if self.dynamic(block, &mut body.blocks).is_err() {
                    continue;
                }
            } else {
                body.blocks.push(self.block(block, is_opaque));
            }
        }
        body
    }

    fn block(&mut self, tree: &BlockTree, is_opaque: bool) -> Block {
        let is_opaque = is_opaque || self.scope.opaque_blocks.contains(&tree.kind);
        Block {
            kind: tree.kind.clone(),
            labels: tree.labels.clone(),
            body: self.body(&tree.body, is_opaque),
            span: tree.span,
            header_span: tree.header_span(),
            kind_span: tree.kind_span,
            open_brace_span: tree.open_brace_span,
        }
    }

    fn missing(&mut self, block: &BlockTree, name: &str) -> Failed {
        let detail = format!("The argument \"{name}\" is required, but no definition was found.");
        let place = block.open_brace_span.at_start();
        self.fail(Problem::new(place, "Missing required argument", detail))
    }

    fn dynamic(&mut self, tree: &BlockTree, out: &mut Vec<Block>) -> Result<(), Failed> {
        let kind = tree.labels.first().map(|label| label.text.clone()).unwrap_or_default();
        let Some(for_each) = tree.body.attribute("for_each") else {
            return Err(self.missing(tree, "for_each"));
        };
        for attribute in &tree.body.attributes {
            if !ARGUMENTS.contains(&attribute.name.as_str()) {
                let detail = format!("An argument named \"{}\" is not expected here.", attribute.name);
                let problem = Problem::new(attribute.name_span, "Unsupported argument", detail);
                return Err(self.fail(hinted(problem, &attribute.name, ARGUMENTS.into_iter())));
            }
        }
        let labels = tree.body.attribute("labels").map(|labels| &labels.value);
        if labels.is_none() && self.scope.labelled_blocks.contains(&kind) {
            return Err(self.missing(tree, "labels"));
        }
        let Some(content) = tree.body.blocks.iter().find(|block| block.kind == "content") else {
            let detail = "A dynamic block must have a nested block of type \"content\" to describe the body of each generated block.";
            return self.fail_at(tree.open_brace_span.at_start(), "Missing dynamic content block", detail);
        };
        let iterator = match tree.body.attribute("iterator").map(|iterator| &iterator.value) {
            None => kind.clone(),
            Some(Expr { kind: ExprKind::Reference { name, steps, .. }, .. }) if steps.is_empty() => name.clone(),
            Some(other) => {
                let detail = "Dynamic iterator must be a single variable name.";
                return self.fail_at(other.span, "Invalid dynamic iterator name", detail);
            }
        };
        let value = self.evaluate(&for_each.value)?;
        if value.is_null() {
            let detail = "Cannot use a null value in for_each.";
            return self.fail_at(for_each.value.span, "Invalid dynamic for_each value", detail);
        }
        let type_name = value.type_name();
        let Some(items) = items(value) else {
            let detail = format!("Cannot use a {type_name} value in for_each. An iterable collection is required.");
            return self.fail_at(for_each.value.span, "Invalid dynamic for_each value", detail);
        };
        for (key, value) in items {
            self.charge(1, tree.span)?;
            let each = Value::Object([("key".to_string(), key), ("value".to_string(), value)].into());
            let names = vec![(iterator.clone(), each)];
            let block = self.within(names, |inner| inner.generated(tree, &kind, labels, content))?;
            out.push(block);
        }
        Ok(())
    }

    fn generated(
        &mut self,
        tree: &BlockTree,
        kind: &str,
        labels: Option<&Expr>,
        content: &BlockTree,
    ) -> Result<Block, Failed> {
        let labels = match labels {
            Some(labels) => self.labels(labels)?,
            None => Vec::new(),
        };
        let before = self.problems.len();
        let is_opaque = self.scope.opaque_blocks.contains(kind);
        let body = self.body(&content.body, is_opaque);
        // The first block with problems ends the loop, as in `for`.
        if self.problems.len() > before || self.is_exhausted {
            return Err(Failed);
        }
        Ok(Block {
            kind: kind.to_string(),
            labels,
            body,
            span: tree.span,
            header_span: tree.header_span(),
            kind_span: tree.kind_span,
            open_brace_span: content.open_brace_span,
        })
    }

    fn labels(&mut self, labels: &Expr) -> Result<Vec<Label>, Failed> {
        let value = self.evaluate(labels)?;
        let texts: Option<Vec<String>> =
            value.as_items().and_then(|items| items.iter().map(|item| item.to_text().ok()).collect());
        match texts {
            Some(texts) => Ok(texts.into_iter().map(|text| Label { text, span: labels.span }).collect()),
            None => {
                let detail = "Cannot use this value as a dynamic block label: a list of string is required.";
                self.fail_at(labels.span, "Invalid dynamic block label", detail)
            }
        }
    }
}
