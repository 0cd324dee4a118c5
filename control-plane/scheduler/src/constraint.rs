//! Constraints and their operators, compiled once per schedule and asked for each node class.

use std::borrow::Cow;
use std::cmp::Ordering;

use drover_model::constraint::Constraint;
use drover_model::interpolation::{is_unique, node_value, single_name};
use drover_model::node::Node;
use regex::{Regex, RegexBuilder};

use crate::version::{Reading, VersionConstraint};

/// The most memory one compiled regular expression may take, in bytes: the pattern comes from outside.
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// A constraint ready to be asked for a node.
#[derive(Clone, Debug)]
pub struct Condition {
    left: String,
    right: String,
    operator: Operator,
    text: String,
}

#[derive(Clone, Debug)]
enum Operator {
    Equal,
    NotEqual,
    Order(fn(Ordering) -> bool),
    /// None: the pattern is on the node or is no pattern.
    Regexp(Option<Regex>),
    Version(Reading, Option<VersionConstraint>),
    SetContainsAll,
    SetContainsAny,
    IsSet,
    IsNotSet,
    /// No such operator: never met.
    Unknown,
}

impl Condition {
    /// Compiles a constraint. `distinct_hosts` and `distinct_property` are not conditions of a node alone and give
    /// none.
    pub fn new(constraint: &Constraint) -> Option<Self> {
        Self::from_parts(&constraint.left, &constraint.operand, &constraint.right)
    }

    /// The same for the three parts of a constraint or affinity.
    pub fn from_parts(left: &str, operand: &str, right: &str) -> Option<Self> {
        let is_fixed = single_name(right).is_none();
        let operator = match operand {
            "distinct_hosts" | "distinct_property" => return None,
            "=" | "==" | "is" => Operator::Equal,
            "!=" | "not" => Operator::NotEqual,
            "<" => Operator::Order(Ordering::is_lt),
            "<=" => Operator::Order(Ordering::is_le),
            ">" => Operator::Order(Ordering::is_gt),
            ">=" => Operator::Order(Ordering::is_ge),
            "regexp" => Operator::Regexp(is_fixed.then(|| compile(right)).flatten()),
            "version" => version(Reading::Plain, right),
            "semver" => version(Reading::Semver, right),
            "set_contains" | "set_contains_all" => Operator::SetContainsAll,
            "set_contains_any" => Operator::SetContainsAny,
            "is_set" => Operator::IsSet,
            "is_not_set" => Operator::IsNotSet,
            _ => Operator::Unknown,
        };
        let text = format!("{left} {operand} {right}");
        Some(Self { left: left.to_owned(), right: right.to_owned(), operator, text })
    }

    /// `<left> <operand> <right>`, the key under which filtered nodes are counted.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True when the answer can differ between nodes of one class.
    pub fn is_unique(&self) -> bool {
        is_unique(&self.left) || is_unique(&self.right)
    }

    /// True when the node meets it.
    pub fn holds(&self, node: &Node) -> bool {
        self.compares(side(node, &self.left), side(node, &self.right))
    }

    /// True when these two meet the operator; none is what is not there.
    pub(crate) fn compares(&self, left: Option<Cow<'_, str>>, right: Option<Cow<'_, str>>) -> bool {
        match &self.operator {
            Operator::IsSet => return left.is_some(),
            Operator::IsNotSet => return left.is_none(),
            Operator::NotEqual => return left != right,
            _ => {}
        }
        let (Some(left), Some(right)) = (left, right) else {
            return false;
        };
        match &self.operator {
            Operator::Equal => left == right,
            Operator::Order(holds) => holds(compare(&left, &right)),
            Operator::Regexp(Some(regex)) => regex.is_match(&left),
            Operator::Regexp(None) => compile(&right).is_some_and(|regex| regex.is_match(&left)),
            Operator::Version(_, Some(constraint)) => constraint.matches(&left),
            Operator::Version(reading, None) => {
                VersionConstraint::parse(&right, *reading).is_some_and(|constraint| constraint.matches(&left))
            }
            Operator::SetContainsAll => members(&right).all(|wanted| members(&left).any(|member| member == wanted)),
            Operator::SetContainsAny => members(&right).any(|wanted| members(&left).any(|member| member == wanted)),
            Operator::IsSet | Operator::IsNotSet | Operator::NotEqual | Operator::Unknown => false,
        }
    }
}

/// One side of a constraint on a node: what `${…}` stands for, or the text itself.
pub fn side<'a>(node: &'a Node, text: &'a str) -> Option<Cow<'a, str>> {
    match single_name(text) {
        Some(name) => node_value(node, name),
        None => Some(Cow::Borrowed(text)),
    }
}

fn compile(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build().ok()
}

fn version(reading: Reading, right: &str) -> Operator {
    Operator::Version(reading, VersionConstraint::parse(right, reading))
}

fn members(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

/// As numbers when both are, else as texts.
fn compare(left: &str, right: &str) -> Ordering {
    if let (Ok(left), Ok(right)) = (left.parse::<i64>(), right.parse::<i64>()) {
        return left.cmp(&right);
    }
    if let (Ok(left), Ok(right)) = (left.parse::<f64>(), right.parse::<f64>())
        && let Some(order) = left.partial_cmp(&right)
    {
        return order;
    }
    left.cmp(right)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn holds(left: &str, operand: &str, right: &str) -> bool {
        let node = Node {
            name: "n1".to_owned(),
            meta: [("slots", "x"), ("size", "10"), ("tags", "ssd, fast"), ("ver", "1.2.3"), ("pattern", "^n")]
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect::<BTreeMap<_, _>>(),
            ..Node::default()
        };
        Condition::from_parts(left, operand, right).unwrap().holds(&node)
    }

    #[test]
    fn operators_answer_as_recorded() {
        let check = |left: &str, operand: &str, right: &str, expected: bool| {
            assert_eq!(holds(left, operand, right), expected, "{left} {operand} {right}");
        };
        check("${meta.size}", ">", "9", true);
        check("${meta.size}", ">", "9.5", true);
        check("${meta.slots}", ">", "3", true);
        check("${meta.size}", ">", "abc", false);
        check("${meta.none}", "=", "x", false);
        check("${meta.none}", "!=", "x", true);
        check("${meta.none}", "not", "x", true);
        check("${meta.none}", "is_not_set", "", true);
        check("${meta.none}", "regexp", ".*", false);
        check("n1", "=", "${node.unique.name}", true);
        check("plain", "is_set", "", true);
        check("${meta.tags}", "set_contains", "fast,ssd", true);
        check("${meta.tags}", "set_contains_any", "hdd,ssd", true);
        check("${meta.tags}", "set_contains", "hdd,ssd", false);
        check("${node.unique.name}", "regexp", "${meta.pattern}", true);
        check("${node.unique.name}", "regexp", "([", false);
        check("${meta.ver}", "version", "${meta.ver}", true);
        check("${meta.ver}", "version", "abc", false);
        check("${meta.ver}", "~=", "1.2.3", false);
    }

    #[test]
    fn a_greedy_pattern_is_refused_instead_of_compiled() {
        assert!(compile("((a{0,200}){0,200}){0,200}").is_none());
    }
}
