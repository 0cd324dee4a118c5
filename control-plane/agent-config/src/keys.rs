//! The table of all settings: which exist, what kind each is, and which drover acts on.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What kind of thing a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text; numbers and truth values turn into text.
    Text,
    /// A whole number.
    Int,
    /// Any number.
    Float,
    /// A truth value.
    Bool,
    /// A list of texts.
    List,
    /// Names to texts.
    Map,
    /// A block with settings of its own.
    Block,
    /// A block that is handed on without a look at what is inside.
    Free,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What kind of thing it is.
    pub kind: Kind,
    /// It has an effect.
    pub acts: bool,
}

/// Rows by block (empty at the top) and key.
static TABLE: LazyLock<BTreeMap<(&'static str, &'static str), Row>> = LazyLock::new(|| {
    let lines = include_str!("keys.tsv").lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut columns = line.split('\t');
            let block = columns.next()?;
            let key = columns.next()?;
            let kind = match columns.next()? {
                "int" => Kind::Int,
                "float" => Kind::Float,
                "bool" => Kind::Bool,
                "list" => Kind::List,
                "map" => Kind::Map,
                "block" => Kind::Block,
                "free" => Kind::Free,
                _ => Kind::Text,
            };
            let acts = columns.next()? == "acts";
            Some(((if block == "-" { "" } else { block }, key), Row { kind, acts }))
        })
        .collect()
});

/// The row of a key in a block; both in lower case, the block with dots (`client.reserved`), empty at the top.
pub fn row(block: &str, key: &str) -> Option<Row> {
    TABLE.iter().find(|((b, k), _)| *b == block && *k == key).map(|(_, row)| *row)
}

/// All keys of a block.
pub fn keys(block: &str) -> impl Iterator<Item = &'static str> {
    TABLE.keys().filter(move |(b, _)| *b == block).map(|(_, key)| *key)
}

/// The key of that block that a misspelt one was most likely meant to be.
pub fn near(block: &str, wrong: &str) -> Option<&'static str> {
    if wrong.len() > 64 {
        return None;
    }
    let close = keys(block).map(|key| (distance(wrong.as_bytes(), key.as_bytes()), key)).min()?;
    (close.0 < 3 && close.0 < wrong.len()).then_some(close.1)
}

/// How many letters must be added, dropped or changed.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
