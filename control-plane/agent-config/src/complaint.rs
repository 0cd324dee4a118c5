//! What is wrong with a configuration, as people read it.

use std::fmt;

use drover_hcl::{Problem, Source};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The whole text: where it is (file, line and column, the line itself), what it is, and a hint if there is one.
    pub text: String,
}

impl Complaint {
    /// About a place in a file.
    pub fn at(source: &Source, problem: &Problem) -> Complaint {
        Complaint { text: problem.human(source).trim_end().to_owned() }
    }

    /// About the whole.
    pub fn plain(text: impl Into<String>) -> Complaint {
        Complaint { text: text.into() }
    }

    /// About the whole, with the remedy.
    pub fn with_hint(text: impl Into<String>, hint: impl fmt::Display) -> Complaint {
        Complaint { text: format!("{}\nhint: {hint}", text.into()) }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Complaint {}
