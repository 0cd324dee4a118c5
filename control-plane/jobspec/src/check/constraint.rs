//! Constraints, affinities and spreads.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{int, items, items_of, text};
use crate::multierror::nested;

/// Constraints of a job, group or device.
pub fn constraints(body: &Map<String, Value>, problems: &mut Vec<String>) {
    for (place, constraint) in items_of(body, "Constraints").enumerate() {
        nested(problems, format!("Constraint {} validation failed: ", place + 1), constraint_problems(constraint));
    }
}

/// Constraints of a task, which can't count allocs per node.
pub fn of_task(body: &Map<String, Value>, problems: &mut Vec<String>) {
    for (place, constraint) in items_of(body, "Constraints").enumerate() {
        nested(problems, format!("Constraint {} validation failed: ", place + 1), constraint_problems(constraint));
        let operand = text(constraint, "Operand");
        if operand.starts_with("distinct_") {
            problems.push(format!("Constraint {} has disallowed Operand at task level: {operand}", place + 1));
        }
    }
}

/// Constraints and affinities of a device.
pub fn of_device(device: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for (place, constraint) in items(device, "Constraints").enumerate() {
        let operand = text(constraint, "Operand");
        let heading = format!("Constraint {} validation failed: ", place + 1);
        match operand {
            "distinct_hosts" | "distinct_property" => {
                problems.push(format!("{heading}using unsupported operand {operand:?}"));
            }
            _ => nested(&mut problems, heading, constraint_problems(constraint)),
        }
    }
    for (place, affinity) in items(device, "Affinities").enumerate() {
        nested(&mut problems, format!("Affinity {} validation failed: ", place + 1), affinity_problems(affinity));
    }
    problems
}

/// Affinities of a job, group or task. Jobs that run on every node prefer none.
pub fn affinities(body: &Map<String, Value>, kind: &str, problems: &mut Vec<String>) {
    if kind == "system" {
        if items_of(body, "Affinities").next().is_some() {
            problems.push("System jobs may not have an affinity block".to_owned());
        }
        return;
    }
    for (place, affinity) in items_of(body, "Affinities").enumerate() {
        nested(problems, format!("Affinity {} validation failed: ", place + 1), affinity_problems(affinity));
    }
}

/// Spreads of a job or group. Jobs that run on every node are spread already.
pub fn spreads(body: &Map<String, Value>, kind: &str, problems: &mut Vec<String>) {
    if kind == "system" {
        if items_of(body, "Spreads").next().is_some() {
            problems.push("System jobs may not have a spread block".to_owned());
        }
        return;
    }
    for (place, spread) in items_of(body, "Spreads").enumerate() {
        nested(problems, format!("Spread {} validation failed: ", place + 1), spread_problems(spread));
    }
}

fn constraint_problems(constraint: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let (left, operand, right) =
        (text(constraint, "LTarget"), text(constraint, "Operand"), text(constraint, "RTarget"));
    if operand.is_empty() {
        problems.push("Missing constraint operand".to_owned());
    }
    match operand {
        "distinct_hosts" => return problems,
        "distinct_property" => problems.extend(distinct_count(right)),
        "is_set" | "is_not_set" if !right.is_empty() => {
            problems.push(format!("Operator {operand:?} does not support an RTarget"));
        }
        "is_set" | "is_not_set" => {}
        "set_contains" | "set_contains_all" | "set_contains_any" => {
            if right.is_empty() {
                problems.push("Set contains constraint requires an RTarget".to_owned());
            }
        }
        _ => problems.extend(comparison("constraint", "Unknown constraint type", operand, right)),
    }
    if left.is_empty() {
        problems.push("no attribute provided but is required by operator".to_owned());
    } else {
        problems.extend(unknown_attribute(left));
    }
    problems
}

fn distinct_count(right: &str) -> Option<String> {
    if right.is_empty() {
        return None;
    }
    let is_number = right.chars().all(|c| c.is_ascii_digit());
    match right.parse::<u64>() {
        Ok(0) => Some("Distinct Property must have an allowed count of 1 or greater: 0 < 1".to_owned()),
        Ok(_) if is_number => None,
        _ => {
            let reason = if is_number { "value out of range" } else { "invalid syntax" };
            Some(format!(
                "Failed to convert RTarget {right:?} to uint64: strconv.ParseUint: parsing {right:?}: {reason}"
            ))
        }
    }
}

/// What is wrong with an interpolation of something that nodes have; a literal is always good.
fn unknown_attribute(left: &str) -> Option<String> {
    if !left.starts_with('$') {
        return None;
    }
    let Some(name) = left.strip_prefix("${") else {
        return Some(format!("attribute {left:?} is missing an opening brace"));
    };
    let Some(name) = name.strip_suffix('}') else {
        return Some(format!("attribute {left:?} is missing a closing brace"));
    };
    let is_known =
        matches!(name, "node.unique.id" | "node.datacenter" | "node.unique.name" | "node.class" | "node.pool")
            || ["attr.", "meta.", "device."].iter().any(|start| name.starts_with(start));
    (!is_known).then(|| format!("unsupported attribute {left:?}"))
}

fn affinity_problems(affinity: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let (left, operand, right) = (text(affinity, "LTarget"), text(affinity, "Operand"), text(affinity, "RTarget"));
    if operand.is_empty() {
        problems.push("Missing affinity operand".to_owned());
    }
    match operand {
        "set_contains" | "set_contains_all" | "set_contains_any" => {
            if right.is_empty() {
                problems.push("Set contains operators require an RTarget".to_owned());
            }
        }
        _ => problems.extend(comparison("affinity", "Unknown affinity operator", operand, right)),
    }
    if left.is_empty() {
        problems.push("No LTarget provided but is required".to_owned());
    }
    match int(affinity, "Weight") {
        0 => problems.push("Affinity weight cannot be zero".to_owned()),
        -100..=100 => {}
        _ => problems.push("Affinity weight must be within the range [-100,100]".to_owned()),
    }
    problems
}

/// The operators that constraints and affinities share.
fn comparison(what: &str, unknown: &str, operand: &str, right: &str) -> Option<String> {
    match operand {
        "=" | "==" | "is" | "!=" | "not" | "<" | "<=" | ">" | ">=" => {
            right.is_empty().then(|| format!("Operator {operand:?} requires an RTarget"))
        }
        "regexp" => regexp(right).map(|e| format!("Regular expression failed to compile: {e}")),
        "version" => malformed(right, &["~>", ">=", "<=", "!=", "=", ">", "<"], false)
            .map(|part| format!("Version {what} is invalid: malformed constraint: {part}")),
        "semver" => malformed(right, &[">=", "<=", "!=", "=", ">", "<"], true)
            .map(|part| format!("Semver {what} is invalid: Malformed constraint: {part}")),
        _ => Some(format!("{unknown} {operand:?}")),
    }
}

/// Why a pattern does not compile.
fn regexp(pattern: &str) -> Option<String> {
    let error = regex::Regex::new(pattern).err()?.to_string();
    let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    Some(match reason.as_str() {
        "unclosed group" => format!("error parsing regexp: missing closing ): `{pattern}`"),
        "unopened group" => format!("error parsing regexp: unexpected ): `{pattern}`"),
        "unclosed character class" => format!("error parsing regexp: missing closing ]: `{pattern}`"),
        reason => format!("error parsing regexp: {reason}: `{pattern}`"),
    })
}

/// The first part of a comma list that is no operator with a version.
fn malformed<'t>(text: &'t str, operators: &[&str], is_strict: bool) -> Option<&'t str> {
    text.split(',').map(str::trim).find(|part| {
        let version = operators.iter().find_map(|operator| part.strip_prefix(operator)).unwrap_or(part).trim();
        !is_version(version, is_strict)
    })
}

/// `1.2.3-rc1+build`; a strict one has all three numbers or fewer, and nothing else.
fn is_version(text: &str, is_strict: bool) -> bool {
    let text = text.strip_prefix('v').unwrap_or(text);
    let core_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (core, tail) = text.split_at(core_end);
    let numbers: Vec<&str> = core.split('.').collect();
    let is_tail = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '+' | '~');
    numbers.iter().all(|number| !number.is_empty())
        && (!is_strict || numbers.len() <= 3)
        && tail.chars().all(is_tail)
        && (!is_strict || tail.is_empty() || tail.starts_with(['-', '+']))
}

fn spread_problems(spread: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if text(spread, "Attribute").is_empty() {
        problems.push("Missing spread attribute".to_owned());
    }
    if !(1..=100).contains(&int(spread, "Weight")) {
        problems.push("Spread block must have a positive weight from 0 to 100".to_owned());
    }
    let mut seen = BTreeSet::new();
    let mut sum = 0;
    for target in items(spread, "SpreadTarget") {
        let (value, percent) = (text(target, "Value"), int(target, "Percent"));
        if !seen.insert(value) {
            problems.push(format!("Spread target value {value:?} already defined"));
        }
        if percent > 100 {
            problems.push(format!("Spread target percentage for value {value:?} must be between 0 and 100"));
        }
        sum += percent;
    }
    if sum > 100 {
        problems.push(format!("Sum of spread target percentages must not be greater than 100%; got {sum}%"));
    }
    problems
}
