//! The templates in a driver's `config`: `${name}` anywhere in its strings.
//!
//! Elsewhere an unknown name stays as it is; here it fails the task before the start. Of the language's expressions only
//! names are evaluated: everything else in `${…}` is refused in words, never passed on.

use std::collections::BTreeMap;

use drover_model::interpolation::Scope;
use serde_json::Value;

/// The config with every string evaluated, or one line per problem.
pub fn evaluate(config: &BTreeMap<String, Value>, scope: &Scope<'_>) -> Result<BTreeMap<String, Value>, Vec<String>> {
    let mut problems = Vec::new();
    let evaluated = config.iter().map(|(key, item)| (key.clone(), value(item, scope, &mut problems))).collect();
    if problems.is_empty() { Ok(evaluated) } else { Err(problems) }
}

fn value(item: &Value, scope: &Scope<'_>, problems: &mut Vec<String>) -> Value {
    match item {
        Value::String(template) => Value::String(text(template, scope, problems)),
        Value::Array(items) => items.iter().map(|item| value(item, scope, problems)).collect(),
        Value::Object(fields) => fields.iter().map(|(key, item)| (key.clone(), value(item, scope, problems))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => item.clone(),
    }
}

fn text(template: &str, scope: &Scope<'_>, problems: &mut Vec<String>) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find(['$', '%']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let mark = &rest[..1];
        if let Some(after) = rest[1..].strip_prefix(mark).and_then(|after| after.strip_prefix('{')) {
            // Doubled, the mark stands for itself.
            out.push_str(mark);
            out.push('{');
            rest = after;
        } else if let Some(after) = rest[1..].strip_prefix('{') {
            let Some(end) = after.find('}') else {
                problems.push(format!("Unclosed template interpolation: {rest:?} has no closing brace."));
                return out;
            };
            match mark {
                "$" => match name(after[..end].trim(), scope) {
                    Ok(found) => out.push_str(&found),
                    Err(problem) => problems.push(problem),
                },
                _ => problems.push(format!(
                    "Unsupported expression: the template directive {:?} is not evaluated here.",
                    &rest[..end + 3]
                )),
            }
            rest = &after[end + 1..];
        } else {
            out.push_str(mark);
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

fn name(name: &str, scope: &Scope<'_>) -> Result<String, String> {
    if let Some(found) = scope.value(name) {
        return Ok(found);
    }
    if name.starts_with("env[\"") && name.ends_with("\"]") {
        return Err("Invalid index: The given key does not identify an element in this collection value.".to_owned());
    }
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !is_name {
        return Err(format!("Unsupported expression: {name:?} is not evaluated here, only names are."));
    }
    match name.split_once('.') {
        Some(("node" | "attr" | "meta", attribute)) => {
            let last = attribute.rsplit('.').next().unwrap_or(attribute);
            Err(format!("Unsupported attribute: This object does not have an attribute named {last:?}."))
        }
        Some((root, _)) => Err(format!("Unknown variable: There is no variable named {root:?}.")),
        None => Err(format!("Unknown variable: There is no variable named {name:?}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drover_model::node::Node;

    fn check(template: &str, expected: Result<&str, &str>) {
        let node =
            Node { attributes: BTreeMap::from([("kernel.name".to_owned(), "linux".to_owned())]), ..Node::default() };
        let env = BTreeMap::from([("NOMAD_DC".to_owned(), "dc1".to_owned()), ("a b".to_owned(), "c".to_owned())]);
        let config = BTreeMap::from([("x".to_owned(), Value::from(template))]);
        let found = evaluate(&config, &Scope { node: &node, region: "r", env: &env });
        match (found, expected) {
            (Ok(found), Ok(text)) => assert_eq!(found["x"], text, "{template}"),
            (Err(problems), Err(text)) => assert_eq!(problems, [text], "{template}"),
            (found, expected) => panic!("{template}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn names_are_replaced() {
        check("plain $HOME 100% $", Ok("plain $HOME 100% $"));
        check("${NOMAD_DC}/${ NOMAD_DC }", Ok("dc1/dc1"));
        check("${attr.kernel.name} ${env[\"a b\"]} ${node.region}", Ok("linux c r"));
        check("$${NOMAD_DC} %%{ if }", Ok("${NOMAD_DC} %{ if }"));
        check("ü${NOMAD_DC}é", Ok("üdc1é"));
    }

    #[test]
    fn what_cannot_be_replaced_is_a_problem() {
        check("${NOPE}", Err("Unknown variable: There is no variable named \"NOPE\"."));
        check("${attr.nope}", Err("Unsupported attribute: This object does not have an attribute named \"nope\"."));
        check(
            "${env[\"x\"]}",
            Err("Invalid index: The given key does not identify an element in this collection value."),
        );
        check("${1+1}", Err("Unsupported expression: \"1+1\" is not evaluated here, only names are."));
        check(
            "%{ if true }",
            Err("Unsupported expression: the template directive \"%{ if true }\" is not evaluated here."),
        );
        check("a ${NOMAD_DC", Err("Unclosed template interpolation: \"${NOMAD_DC\" has no closing brace."));
    }
}
