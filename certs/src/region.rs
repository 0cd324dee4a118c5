//! The name of a region, as it stands in certificates.
//!
//! A region is one lower-case DNS label: a name such as `a.west` would lie inside the names that `west` may sign.

use std::fmt;
use std::str::FromStr;

/// The longest region name, in bytes (the limit of a DNS label).
pub const REGION_NAME_MAX: usize = 63;

/// A valid region name: 1 to 63 of `a-z`, `0-9` and `-`, with no `-` at either end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionName(String);

/// Why a text is no region name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegionNameError {
    /// Empty, or longer than a DNS label may be.
    #[error("a region name has 1 to 63 characters")]
    Length,
    /// A character outside the alphabet, or a `-` at an end.
    #[error("a region name is one lower-case DNS label (a-z, 0-9 and inner dashes), not {0:?}")]
    Characters(String),
}

impl RegionName {
    /// Checks `name` and wraps it.
    pub fn new(name: &str) -> Result<RegionName, RegionNameError> {
        if name.is_empty() || name.len() > REGION_NAME_MAX {
            return Err(RegionNameError::Length);
        }
        let fits = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits || name.starts_with('-') || name.ends_with('-') {
            return Err(RegionNameError::Characters(name.to_owned()));
        }
        Ok(RegionName(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RegionName {
    type Err = RegionNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        RegionName::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_lower_case_label_is_a_region() {
        for good in ["global", "eu-west-1", "a", "9", &"x".repeat(63)] {
            assert_eq!(RegionName::new(good).map(|r| r.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "a.west", "West", "-a", "a-", "*", "a_b", "ü", "a b", "a\0", &"x".repeat(64)] {
            assert!(RegionName::new(bad).is_err(), "{bad:?} was taken");
        }
    }
}
