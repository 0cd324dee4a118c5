//! Pure crates are pure.

use crate::workspace::{packages, root, rust_files};

const PURE: &[&str] = &["model", "hcl", "cron", "filter", "jobspec", "state", "scheduler", "leader", "gossip"];
const IMPURE_LIBRARIES: &[&str] = &["tokio", "rustix", "getrandom", "rand", "tracing-subscriber", "ureq", "quinn"];
/// What the pure modules of runner must not name: it does I/O elsewhere, so clippy can't ban it for the whole crate.
const IMPURE_NAMES: &[&str] = &[
    "SystemTime::now",
    "Instant::now",
    "std::fs",
    "std::env",
    "std::thread",
    "tokio::",
    "async fn",
    "HashMap",
    "HashSet",
];

#[test]
fn pure_crates_have_no_impure_library() {
    let packages = packages();
    for name in PURE {
        let package = &packages[*name];
        for library in IMPURE_LIBRARIES {
            assert!(!package.normal.contains(*library), "{name} is pure and depends on {library}");
        }
        let bans = std::fs::read_to_string(package.dir.join("clippy.toml")).unwrap_or_default();
        for ban in ["SystemTime::now", "std::thread::spawn", "HashMap"] {
            assert!(bans.contains(ban), "{name}/clippy.toml does not ban {ban}");
        }
    }
}

#[test]
fn decide_modules_are_pure() {
    let decide = root().join("edge-client/runner/src/decide");
    let files = rust_files(&decide);
    assert!(!files.is_empty(), "no decide modules in {}", decide.display());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for name in IMPURE_NAMES {
            let used = code.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(name));
            assert!(!used, "{} names {name}", file.display());
        }
    }
}
