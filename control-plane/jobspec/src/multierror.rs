//! How many errors become one text, in the layout that people and tools know.

use std::fmt::Display;

/// `2 errors occurred:` and a starred line per text; it ends in an empty line, as nesting needs.
pub fn multierror(texts: &[String]) -> String {
    let heading = match texts.len() {
        1 => "1 error occurred:".to_owned(),
        n => format!("{n} errors occurred:"),
    };
    let lines: Vec<String> = texts.iter().map(|text| format!("* {text}")).collect();
    format!("{heading}\n\t{}\n\n", lines.join("\n\t"))
}

/// The texts of a part under the name of that part; nothing when the part is good.
pub(crate) fn nested(problems: &mut Vec<String>, heading: impl Display, inner: Vec<String>) {
    if !inner.is_empty() {
        problems.push(format!("{heading}{}", multierror(&inner)));
    }
}

/// `1 warning:` and a starred paragraph per text, as the answers of register and plan carry it; empty without any.
pub fn warnings_text(texts: &[String]) -> String {
    let heading = match texts.len() {
        0 => return String::new(),
        1 => "1 warning:".to_owned(),
        n => format!("{n} warnings:"),
    };
    let lines: Vec<String> = texts.iter().map(|text| format!("* {text}")).collect();
    format!("{heading}\n\n{}", lines.join("\n"))
}
