//! Why a job is not taken.

use std::fmt;

use crate::multierror::multierror;

/// Why a job is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is at fault and tells nothing but this.
    Request(String),
    /// What a block implies can't be worked out; checks did not run.
    Preparation(String),
    /// Everything that checks found wrong.
    Problems(Vec<String>),
}

impl Refusal {
    /// One text per fault.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Refusal::Request(text) | Refusal::Preparation(text) => vec![text.clone()],
            Refusal::Problems(texts) => texts.clone(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Request(text) | Refusal::Preparation(text) => f.write_str(text),
            Refusal::Problems(texts) => f.write_str(&multierror(texts)),
        }
    }
}

impl std::error::Error for Refusal {}
