//! The parsers, each behind one function that takes any bytes.

mod cron;
mod filter;
mod format;
mod hcl;
mod interpolation;
mod json;
mod variables;

/// One parser.
pub struct Target {
    /// Its word on the command line.
    pub word: &'static str,
    /// What is parsed.
    pub what: &'static str,
    /// Texts that it takes, to be damaged.
    pub corpus: fn() -> anyhow::Result<Vec<Vec<u8>>>,
    /// Words that mean something to it.
    pub words: &'static [&'static str],
    /// Parses and does with it what the product does; true when the text was taken.
    pub run: fn(&[u8]) -> bool,
}

/// Every target.
pub const ALL: &[&Target] = &[
    &hcl::TARGET,
    &json::TARGET,
    &format::TARGET,
    &variables::TARGET,
    &filter::TARGET,
    &cron::TARGET,
    &interpolation::TARGET,
];
