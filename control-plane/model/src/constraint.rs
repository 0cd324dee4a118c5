//! Constraints, affinities and spreads: what a job asks of the node it runs on.

use serde::{Deserialize, Serialize};

/// A condition that a node must meet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Constraint {
    /// Left side, mostly an interpolation such as `${attr.kernel.name}`.
    #[serde(rename = "LTarget")]
    pub left: String,
    /// Right side, mostly a literal.
    #[serde(rename = "RTarget")]
    pub right: String,
    /// `=`, `!=`, `<`, `regexp`, `version`, `distinct_hosts` …
    #[serde(rename = "Operand")]
    pub operand: String,
}

/// A wish: matching nodes score higher (weight above zero) or lower.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Affinity {
    /// Left side.
    #[serde(rename = "LTarget")]
    pub left: String,
    /// Right side.
    #[serde(rename = "RTarget")]
    pub right: String,
    /// The operator, as in a constraint.
    #[serde(rename = "Operand")]
    pub operand: String,
    /// -100 to 100.
    #[serde(rename = "Weight")]
    pub weight: i8,
}

/// Asks for allocs spread over the values of an attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Spread {
    /// The attribute, as an interpolation.
    pub attribute: String,
    /// 0 to 100.
    pub weight: i8,
    /// Wanted shares; none means even.
    #[serde(with = "crate::wire::nullable")]
    pub spread_target: Vec<SpreadTarget>,
}

/// The share one value of the attribute shall have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SpreadTarget {
    /// The value.
    pub value: String,
    /// Percent of the group's count.
    pub percent: u8,
}
