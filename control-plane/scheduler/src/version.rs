//! Version constraints: `>= 1.2, < 2.0`, `~> 1.2`, in the plain and the semver reading.

use std::cmp::Ordering;

/// How pre-releases are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A pre-release meets a constraint only when the constraint names a pre-release of the same version.
    Plain,
    /// Pre-releases are ordered before their release, as semver has it.
    Semver,
}

/// A version: numbers, a pre-release, and metadata that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    numbers: Vec<u64>,
    /// How many numbers were written; `~>` needs it.
    written: usize,
    pre: String,
}

/// Conditions that must all hold.
#[derive(Clone, Debug)]
pub struct VersionConstraint {
    parts: Vec<(Operator, Version)>,
    reading: Reading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Pessimistic,
}

impl Version {
    /// Reads `1.2.3-beta+build`; a leading `v` is allowed.
    pub fn parse(text: &str, reading: Reading) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (numbers, rest) = text.split_at(end);
        let numbers: Vec<u64> = numbers.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let pre = match (rest.strip_prefix('-'), reading) {
            (Some(pre), _) => pre,
            (None, Reading::Plain) => rest,
            (None, Reading::Semver) if rest.is_empty() => "",
            (None, Reading::Semver) => return None,
        };
        let is_wrong = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '~' | '.'));
        if pre.chars().any(is_wrong) || (!rest.is_empty() && pre.is_empty()) {
            return None;
        }
        let written = numbers.len();
        let mut numbers = numbers;
        if numbers.len() < 3 {
            numbers.resize(3, 0);
        }
        Some(Self { numbers, written, pre: pre.to_owned() })
    }

    fn compare(&self, other: &Self) -> Ordering {
        let len = self.numbers.len().max(other.numbers.len());
        let number = |version: &Self, place: usize| version.numbers.get(place).copied().unwrap_or(0);
        (0..len)
            .map(|place| number(self, place).cmp(&number(other, place)))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| compare_pre(&self.pre, &other.pre))
    }

    fn same_numbers(&self, other: &Self) -> bool {
        Version { pre: String::new(), ..self.clone() }.compare(&Version { pre: String::new(), ..other.clone() }).is_eq()
    }
}

fn compare_pre(left: &str, right: &str) -> Ordering {
    match (left.is_empty(), right.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let mut left = left.split('.');
    let mut right = right.split('.');
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

impl VersionConstraint {
    /// Reads conditions separated by commas; none when one of them is malformed.
    pub fn parse(text: &str, reading: Reading) -> Option<Self> {
        let parts = text.split(',').map(|part| parse_part(part.trim(), reading)).collect::<Option<Vec<_>>>()?;
        Some(Self { parts, reading })
    }

    /// True when the version meets all conditions; a text that is no version meets none.
    pub fn matches(&self, text: &str) -> bool {
        Version::parse(text, self.reading)
            .is_some_and(|version| self.parts.iter().all(|(operator, bound)| self.holds(*operator, &version, bound)))
    }

    fn holds(&self, operator: Operator, version: &Version, bound: &Version) -> bool {
        let order = version.compare(bound);
        let holds = match operator {
            Operator::Equal => return order.is_eq(),
            Operator::NotEqual => return order.is_ne(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterEqual => order.is_ge(),
            Operator::Less => order.is_lt(),
            Operator::LessEqual => order.is_le(),
            Operator::Pessimistic => {
                let kept = bound.written.saturating_sub(1);
                order.is_ge() && version.numbers.get(..kept) == bound.numbers.get(..kept)
            }
        };
        let admits_pre = match (self.reading, version.pre.is_empty(), bound.pre.is_empty()) {
            (Reading::Semver, ..) | (Reading::Plain, true, _) => true,
            (Reading::Plain, false, true) => false,
            (Reading::Plain, false, false) => version.same_numbers(bound),
        };
        holds && admits_pre
    }
}

fn parse_part(part: &str, reading: Reading) -> Option<(Operator, Version)> {
    let end = part.find(|c: char| !matches!(c, '=' | '!' | '>' | '<' | '~')).unwrap_or(part.len());
    let (operator, version) = part.split_at(end);
    let operator = match operator {
        "" | "=" => Operator::Equal,
        "!=" => Operator::NotEqual,
        ">" => Operator::Greater,
        ">=" => Operator::GreaterEqual,
        "<" => Operator::Less,
        "<=" => Operator::LessEqual,
        "~>" => Operator::Pessimistic,
        _ => return None,
    };
    Some((operator, Version::parse(version, reading)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_match_versions() {
        let check = |constraint: &str, version: &str, plain: bool, semver: bool| {
            let matches = |reading| VersionConstraint::parse(constraint, reading).unwrap().matches(version);
            assert_eq!(matches(Reading::Plain), plain, "{version} {constraint}");
            assert_eq!(matches(Reading::Semver), semver, "{version} {constraint} (semver)");
        };
        check(">= 1.3", "1.10.0", true, true);
        check(">= 1.3", "1.2.3", false, false);
        check(">= 1.3", "2.0.0-beta", false, true);
        check(">= 2.0.0-alpha", "2.0.0-beta", true, true);
        check(">= 2.0.0-alpha", "2.1.0-beta", false, true);
        check("< 2.0.0", "2.0.0-beta", false, true);
        check(">= 1.2, < 2.0", "1.2.3", true, true);
        check("~> 1.2", "1.10.0", true, true);
        check("~> 1.2", "2.0.0", false, false);
        check("~> 1.2.3", "1.3.0", false, false);
        check("1.2.3", "1.2.3", true, true);
        check("!= 1.2.3", "1.2.4", true, true);
        check("> 1.0.0", "bad", false, false);
        check("= 1.2", "v1.2.0+meta", true, true);
    }

    #[test]
    fn malformed_constraints_are_refused() {
        let check = |text: &str| assert!(VersionConstraint::parse(text, Reading::Plain).is_none(), "{text}");
        check("abc");
        check("");
        check("=> 1");
        check(">= 99999999999999999999999");
    }
}
