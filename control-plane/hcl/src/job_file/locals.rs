//! Locals, evaluated in an order in which each finds what it refers to.

use std::collections::{BTreeMap, BTreeSet};

use crate::evaluate::Evaluator;
use crate::meter::Meter;
use crate::problem::Problem;
use crate::scope::{PROBLEMS_MAX, Scope};
use crate::source::Source;
use crate::syntax::tree::{AttributeTree, BlockTree};
use crate::syntax::walk::references;
use crate::value::Value;

/// Puts the object `local` into the scope.
pub(super) fn evaluate(
    source: &Source,
    blocks: &[BlockTree],
    scope: &mut Scope,
    meter: &mut Meter,
) -> Result<(), Vec<Problem>> {
    // Of one name in two blocks the later one counts.
    let locals: BTreeMap<&str, &AttributeTree> = blocks
        .iter()
        .filter(|block| block.kind == "locals")
        .flat_map(|block| &block.body.attributes)
        .map(|attribute| (attribute.name.as_str(), attribute))
        .collect();
    let (ordered, in_circle) = order(&locals);
    let mut problems = Vec::new();
    scope.variables.insert("local".to_string(), Value::Object(BTreeMap::new()));
    let is_circular = |name: &str| in_circle.contains(name);
    for name in ordered.iter().chain(&in_circle) {
        let mut evaluator = Evaluator::new(source, scope).with_meter(*meter);
        let outcome = evaluator.evaluate(&locals[name].value);
        *meter = evaluator.meter();
        let found = std::mem::take(&mut evaluator.problems);
        match outcome {
            Ok(value) => {
                if let Some(Value::Object(done)) = scope.variables.get_mut("local") {
                    done.insert(name.to_string(), value);
                }
            }
            Err(_) => problems.extend(found.into_iter().map(|problem| match is_circular(name) {
                true => problem.with_hint(format!(
                    "these locals refer to each other in a circle, or to one that does: {}",
                    in_circle.iter().copied().collect::<Vec<_>>().join(", ")
                )),
                false => problem,
            })),
        }
    }
    problems.truncate(PROBLEMS_MAX);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Stands for all locals that do not use `local` as a whole object; no real one has an empty name.
const ALL_PLAIN: &str = "";

/// Names in an order that works, and those left over because they wait for each other.
fn order<'t>(locals: &BTreeMap<&'t str, &'t AttributeTree>) -> (Vec<&'t str>, BTreeSet<&'t str>) {
    let mut waits_for: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut wanted_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // `local` as a whole object waits for all that do not use it so.
    let whole: BTreeSet<&str> = locals
        .iter()
        .filter(|(_, local)| {
            references(&local.value).iter().any(|reference| reference.name == "local" && reference.member.is_none())
        })
        .map(|(name, _)| *name)
        .collect();
    for (name, local) in locals {
        let needs: BTreeSet<&str> = match whole.contains(name) {
            true => [ALL_PLAIN].into(),
            false => references(&local.value)
                .iter()
                .filter(|reference| reference.name == "local")
                .filter_map(|reference| reference.member.and_then(|member| locals.get_key_value(member)))
                .map(|(name, _)| *name)
                .collect(),
        };
        needs.iter().for_each(|need| wanted_by.entry(need).or_default().push(name));
        waits_for.insert(name, needs);
    }
    if !whole.is_empty() {
        let plain: BTreeSet<&str> = locals.keys().copied().filter(|name| !whole.contains(name)).collect();
        plain.iter().for_each(|need| wanted_by.entry(need).or_default().push(ALL_PLAIN));
        waits_for.insert(ALL_PLAIN, plain);
    }
    let mut ready: Vec<&str> =
        waits_for.iter().filter(|(_, needs)| needs.is_empty()).map(|(name, _)| *name).rev().collect();
    let mut ordered = Vec::new();
    while let Some(name) = ready.pop() {
        ordered.push(name);
        waits_for.remove(name);
        for waiting in wanted_by.remove(name).unwrap_or_default() {
            if let Some(needs) = waits_for.get_mut(waiting)
                && needs.remove(name)
                && needs.is_empty()
            {
                ready.push(waiting);
            }
        }
    }
    ordered.retain(|name| *name != ALL_PLAIN);
    waits_for.remove(ALL_PLAIN);
    (ordered, waits_for.into_keys().collect())
}
