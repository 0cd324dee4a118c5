//! Examples in documentation comments would need a pass of rustdoc over every crate, a minute of each run of the tests; tests
//! stand in test files instead. An example that nobody runs would be one that may be wrong.

use crate::workspace::{root, rust_files};

/// What may follow the fence of a block that is no program.
const PLAIN: &[&str] = &["text", "json", "toml", "hcl", "sh"];

#[test]
fn documentation_has_no_examples_that_nobody_runs() {
    let root = root();
    let mut wrong = Vec::new();
    for part in ["control-plane", "edge-client", "federation", "certs", "metrics", "tests"] {
        for file in rust_files(&root.join(part)) {
            let text = std::fs::read_to_string(&file).unwrap();
            let mut is_open = false;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim_start();
                let Some(comment) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else { continue };
                let Some(language) = comment.trim_start().strip_prefix("```") else { continue };
                if !is_open && !PLAIN.contains(&language.trim()) {
                    wrong.push(format!("{}:{}", file.strip_prefix(&root).unwrap().display(), number + 1));
                }
                is_open = !is_open;
            }
        }
    }
    assert!(wrong.is_empty(), "these would be examples, which nothing runs: {}", wrong.join(", "));
}
