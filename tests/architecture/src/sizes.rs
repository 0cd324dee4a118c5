//! Long files are listed; a new one fails.

use crate::workspace::{root, rust_files};

/// Code lines, tests aside.
const LINES_MAX: usize = 600;
/// Today's long ones, each with its reason. The list may only shrink.
const LONG: &[(&str, &str)] = &[];

#[test]
fn no_new_long_file() {
    let root = root();
    let mut wrong = Vec::new();
    for part in ["control-plane", "edge-client", "federation", "certs", "metrics"] {
        for file in rust_files(&root.join(part)) {
            let name = file.strip_prefix(&root).unwrap().display().to_string();
            if name.contains("/tests/") || name.ends_with("/tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let lines = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count();
            let listed = LONG.iter().any(|(long, _)| *long == name);
            if lines > LINES_MAX && !listed {
                wrong.push(format!("{name} has {lines} lines: which second noun lives there?"));
            }
            if lines <= LINES_MAX && listed {
                wrong.push(format!("{name} is not long any more: take it off the list"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
