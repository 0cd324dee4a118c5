//! Ids in paths and prefixes, with the texts that clients know when one is wrong.

use std::fmt::Display;
use std::str::FromStr;

use drover_model::id::ParseIdError;

use crate::problem::Problem;

/// How the text of an index begins that was asked for what is no id.
pub const INDEX: &str = "index error";

/// Reads an id. `looked_up` begins the text when it is none: `alloc lookup failed`.
///
/// # Errors
/// It is no UUID.
pub fn parse<T: FromStr<Err = ParseIdError>>(text: &str, looked_up: &str) -> Result<T, Problem> {
    text.parse().map_err(|error| {
        let why = match error {
            ParseIdError::Length => "UUID must be 36 characters",
            ParseIdError::Shape => "Invalid UUID",
        };
        Problem::Failed(format!("{looked_up}: {INDEX}: {why}"))
    })
}

/// A prefix of ids.
#[derive(Clone, Debug, Default)]
pub struct Prefix(String);

impl Prefix {
    /// Reads the prefix of a list. `looked_up` begins the text when it is none.
    ///
    /// # Errors
    /// It has an odd number of digits, or what is no digit.
    pub fn parse(text: &str, looked_up: &str) -> Result<Self, Problem> {
        // Of some lists the index itself tells.
        let begin = if looked_up == INDEX { format!("{INDEX}: ") } else { format!("{looked_up}: {INDEX}: ") };
        let digits: Vec<char> = text.chars().filter(|c| *c != '-').collect();
        if !digits.len().is_multiple_of(2) {
            return Err(Problem::Failed(format!("{begin}Input (without hyphens) must be even length")));
        }
        if let Some(bad) = digits.iter().find(|c| !c.is_ascii_hexdigit()) {
            let code = u32::from(*bad);
            let text = format!("{begin}Invalid UUID: encoding/hex: invalid byte: U+{code:04X} '{bad}'");
            return Err(Problem::Failed(text));
        }
        Ok(Self::loose(text))
    }

    /// A prefix that may be anything; what is no part of an id matches none.
    pub fn loose(text: &str) -> Self {
        Self(text.to_ascii_lowercase())
    }

    /// The id begins so.
    pub fn admits(&self, id: &impl Display) -> bool {
        self.0.is_empty() || id.to_string().starts_with(&self.0)
    }

    /// Everything begins so.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use drover_model::AllocId;

    use super::*;

    #[test]
    fn ids_that_are_none() {
        let check = |text: &str, expected: &str| {
            let found = parse::<AllocId>(text, "alloc lookup failed").unwrap_err();
            assert_eq!(found, Problem::Failed(expected.to_owned()));
        };
        check("zz", "alloc lookup failed: index error: UUID must be 36 characters");
        check("zbababab-abab-4bab-abab-abababababab", "alloc lookup failed: index error: Invalid UUID");
    }

    #[test]
    fn prefixes() {
        let check = |text: &str, expected: &str| {
            let found = Prefix::parse(text, "alloc lookup failed").unwrap_err();
            assert_eq!(found, Problem::Failed(format!("alloc lookup failed: index error: {expected}")), "{text}");
        };
        check("abc", "Input (without hyphens) must be even length");
        check("zz", "Invalid UUID: encoding/hex: invalid byte: U+007A 'z'");
        let bare = Prefix::parse("abc", INDEX).unwrap_err();
        assert_eq!(bare.text(), "index error: Input (without hyphens) must be even length");
        let id = AllocId::from_random([0xab; 16]);
        let admits = |text: &str| Prefix::parse(text, INDEX).unwrap().admits(&id);
        assert!(admits("") && admits("ABab") && admits("abababab-ab") && !admits("ac"));
        assert!(Prefix::loose("aba").admits(&id) && !Prefix::loose("web").admits(&id));
    }
}
