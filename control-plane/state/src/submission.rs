//! The text a job was made from, kept beside each version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The text a job was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Submission {
    /// The text.
    pub source: String,
    /// `hcl2` or `json`.
    pub format: String,
    /// Variables given one by one.
    pub variable_flags: BTreeMap<String, String>,
    /// Variables given as a file's text.
    pub variables: String,
}
