//! Expressions that make collections: `[...]`, `{...}` and `for`.

use std::collections::BTreeMap;

use super::{Evaluator, Failed, Outcome};
use crate::source::Span;
use crate::syntax::tree::{Expr, ForTree};
use crate::value::Value;

impl Evaluator<'_> {
    pub(super) fn tuple(&mut self, items: &[Expr], span: Span) -> Outcome {
        let mut values = Vec::with_capacity(items.len());
        let mut result = Ok(());
        for item in items {
            match self.evaluate(item) {
                Ok(value) => values.push(value),
                Err(Failed) => result = Err(Failed),
            }
        }
        result?;
        self.produced(Value::Tuple(values), span)
    }

    pub(super) fn object(&mut self, entries: &[(Expr, Expr)], span: Span) -> Outcome {
        let mut values = BTreeMap::new();
        let mut result = Ok(());
        for (key, value) in entries {
            // The value is evaluated even when the key fails, for its problems.
            let (name, value) = (self.object_key(key), self.evaluate(value));
            match (name, value) {
                (Ok(name), Ok(value)) => {
                    values.insert(name, value);
                }
                _ => result = Err(Failed),
            }
        }
        result?;
        self.produced(Value::Object(values), span)
    }

    fn object_key(&mut self, key: &Expr) -> Result<String, Failed> {
        let value = self.evaluate(key)?;
        if value.is_null() {
            return self.fail_at(key.span, "Null value as key", "Can't use a null value as a key.");
        }
        match value.to_text() {
            Ok(name) => Ok(name),
            Err(problem) => {
                let detail = format!("Can't use this value as a key: {problem}.");
                self.fail_at(key.span, "Incorrect key type", detail)
            }
        }
    }

    /// Keys and values of whatever can be gone through.
    pub(super) fn items_of(&mut self, collection: &Expr) -> Result<Vec<(Value, Value)>, Failed> {
        let value = self.evaluate(collection)?;
        if value.is_null() {
            let detail = "A null value cannot be used as the collection in a 'for' expression.";
            return self.fail_at(collection.span, "Iteration over null value", detail);
        }
        let type_name = value.type_name();
        match items(value) {
            Some(items) => Ok(items),
            None => {
                let detail =
                    format!("A value of type {type_name} cannot be used as the collection in a 'for' expression.");
                self.fail_at(collection.span, "Iteration over non-iterable value", detail)
            }
        }
    }

    pub(super) fn for_expression(&mut self, tree: &ForTree, span: Span) -> Outcome {
        let items = self.items_of(&tree.collection)?;
        let mut list = Vec::new();
        let mut single: BTreeMap<String, Value> = BTreeMap::new();
        let mut grouped: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (key, value) in items {
            self.charge(1, span)?;
            let mut names = vec![(tree.value_name.clone(), value)];
            names.extend(tree.key_name.clone().map(|name| (name, key)));
            // The first failing item ends the loop: the others would most likely say the same again.
            let made = self.within(names, |inner| inner.for_item(tree))?;
            match made {
                None => {}
                Some((None, value)) => list.push(value),
                Some((Some(name), value)) if tree.is_grouping => grouped.entry(name).or_default().push(value),
                Some((Some(name), value)) => {
                    if single.contains_key(&name) {
                        let detail = format!(
                            "Two different items produced the key \"{name}\" in this 'for' expression. If duplicates are expected, use the ellipsis (...) after the value expression to enable grouping by key."
                        );
                        let key_span = tree.key.as_ref().map_or(span, |key| key.span);
                        return self.fail_at(key_span, "Duplicate object key", detail);
                    }
                    single.insert(name, value);
                }
            }
        }
        let value = match (&tree.key, tree.is_grouping) {
            (None, _) => Value::Tuple(list),
            (Some(_), false) => Value::Object(single),
            (Some(_), true) => {
                Value::Object(grouped.into_iter().map(|(name, values)| (name, Value::Tuple(values))).collect())
            }
        };
        self.produced(value, span)
    }

    /// One turn of a loop: nothing when the condition leaves it out, else the value and its key.
    fn for_item(&mut self, tree: &ForTree) -> Result<Option<(Option<String>, Value)>, Failed> {
        if let Some(condition) = &tree.condition {
            let value = self.evaluate(condition)?;
            if value.is_null() {
                let detail = "The value of the 'if' clause must not be null.";
                return self.fail_at(condition.span, "Condition is null", detail);
            }
            match value.to_bool() {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(problem) => {
                    let detail = format!("The 'if' clause value is invalid: {problem}.");
                    return self.fail_at(condition.span, "Invalid 'for' condition", detail);
                }
            }
        }
        let name = match &tree.key {
            None => None,
            Some(key) => {
                let value = self.evaluate(key)?;
                if value.is_null() {
                    let detail = "Key expression in 'for' expression must not produce a null value.";
                    return self.fail_at(key.span, "Invalid object key", detail);
                }
                match value.to_text() {
                    Ok(name) => Some(name),
                    Err(problem) => {
                        let detail = format!("The key expression produced an invalid result: {problem}.");
                        return self.fail_at(key.span, "Invalid object key", detail);
                    }
                }
            }
        };
        Ok(Some((name, self.evaluate(&tree.value)?)))
    }
}

/// Keys and values, in the order of the loop; a set has its values as keys.
pub(super) fn items(value: Value) -> Option<Vec<(Value, Value)>> {
    match value {
        Value::Tuple(items) | Value::List(items) => {
            Some(items.into_iter().enumerate().map(|(i, item)| (Value::from(i), item)).collect())
        }
        Value::Set(items) => Some(items.into_iter().map(|item| (item.clone(), item)).collect()),
        Value::Object(entries) | Value::Map(entries) => {
            Some(entries.into_iter().map(|(name, value)| (Value::String(name), value)).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}
