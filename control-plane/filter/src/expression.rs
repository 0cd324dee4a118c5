//! What an expression is made of.

use std::sync::Arc;

use regex::Regex;

/// An expression.
#[derive(Clone, Debug)]
pub(crate) enum Expression {
    Or(Vec<Arc<Expression>>),
    And(Vec<Arc<Expression>>),
    Not(Arc<Expression>),
    Match { selector: Selector, test: Test },
    Collection { quantifier: Quantifier, selector: Selector, binding: Binding, inner: Arc<Expression> },
}

impl Expression {
    /// Some selector begins with that field.
    pub fn names(&self, field: &str) -> bool {
        let is = |selector: &Selector| selector.path.first().is_some_and(|first| first == field);
        match self {
            Expression::Or(parts) | Expression::And(parts) => parts.iter().any(|part| part.names(field)),
            Expression::Not(part) => part.names(field),
            Expression::Match { selector, .. } => is(selector),
            Expression::Collection { selector, inner, .. } => is(selector) || inner.names(field),
        }
    }
}

/// The way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub path: Vec<String>,
    /// As it is written back in errors and taken as a value.
    pub text: String,
}

/// What is asked of the value; with `negated` the contrary.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    pub operator: Operator,
    pub negated: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Operator {
    Equal(String),
    In(String),
    Matches(Pattern),
    Empty,
    Nil,
}

impl Operator {
    /// What it says of an entry that a map does not have.
    pub fn of_absent(&self) -> bool {
        matches!(self, Operator::Empty | Operator::Nil)
    }
}

/// A regular expression, or why it is none.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub text: String,
    pub compiled: Result<Regex, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    Any,
    All,
}

/// The names that an entry of a collection gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The item of a list, the key of a map.
    pub default: Option<String>,
    pub index: Option<String>,
    pub value: Option<String>,
}
