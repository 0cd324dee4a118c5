//! What an evaluation may see and how far it may go.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::Files;
use crate::functions::Functions;
use crate::value::Value;

/// Bounds on what one text may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a source.
    pub source_bytes: usize,
    /// Most values produced by evaluation, each 64 bytes of text counting as one more.
    pub expansion_units: usize,
}

/// Most bytes of a source unless told otherwise.
pub const SOURCE_BYTES_DEFAULT: usize = 1024 * 1024;
/// Most values produced unless told otherwise.
pub const EXPANSION_UNITS_DEFAULT: usize = 1_000_000;
/// Deepest nesting of one value; deeper ones come only from locals stacked on each other.
pub(crate) const VALUE_DEPTH_MAX: usize = 128;
/// Longest text that one function call may produce.
pub(crate) const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most problems that one parse reports.
pub(crate) const PROBLEMS_MAX: usize = 50;

impl Default for Limits {
    fn default() -> Limits {
        Limits { source_bytes: SOURCE_BYTES_DEFAULT, expansion_units: EXPANSION_UNITS_DEFAULT }
    }
}

/// Names, files and rules for one evaluation.
#[derive(Clone, Default)]
pub struct Scope<'a> {
    /// Root names, for example `var` with an object of all variables.
    pub variables: BTreeMap<String, Value>,
    /// Whether a reference to an unknown root stays as the text `${...}` for run time, instead of being an error.
    pub keep_unknown: bool,
    /// What may be called; nothing unless told otherwise.
    pub functions: Functions,
    /// Files for the file functions; none means that these functions fail.
    pub files: Option<&'a dyn Files>,
    /// Attributes that hold maps: when one fails, a second problem points at its opening brace.
    pub map_attributes: BTreeSet<String>,
    /// Block kinds in which a `dynamic` block is nothing special.
    pub opaque_blocks: BTreeSet<String>,
    /// Block kinds that always have a label: a `dynamic` block for one needs `labels`.
    pub labelled_blocks: BTreeSet<String>,
    /// Random bytes that `uuidv4` and the salt of `bcrypt` follow from; none means that these functions fail.
    pub seed: Option<[u8; 32]>,
    /// How far evaluation may go.
    pub limits: Limits,
}

impl Scope<'_> {
    /// For job files: unknown names stay for run time.
    pub fn job() -> Scope<'static> {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        Scope {
            keep_unknown: true,
            functions: Functions::all(),
            map_attributes: names(&["meta", "env"]),
            opaque_blocks: names(&["config", "policy"]),
            labelled_blocks: names(&["group", "task", "port", "volume", "device", "action", "secret"]),
            ..Scope::default()
        }
    }

    /// For configuration files: every name must be known, and there are neither files nor functions.
    pub fn settings() -> Scope<'static> {
        Scope::default()
    }
}
