//! Every function of the language is there and gives what was recorded.

#![allow(clippy::disallowed_methods, reason = "tests read the fixtures")]

use drover_hcl::{FileError, Files, Scope, Source, parse};

/// No files at all.
struct Nothing;

impl Files for Nothing {
    fn read(&self, _: &str) -> Result<Vec<u8>, FileError> {
        Err(FileError::NotFound)
    }

    fn is_file(&self, _: &str) -> Result<bool, FileError> {
        Err(FileError::NotFound)
    }

    fn walk(&self, _: &str) -> Result<Vec<String>, FileError> {
        Err(FileError::NotFound)
    }

    fn absolute(&self, path: &str) -> String {
        path.replace("/a/..", "")
    }

    fn home(&self) -> Option<String> {
        None
    }
}

fn value(expression: &str, seed: Option<[u8; 32]>) -> Result<String, String> {
    let source = Source::new("t.hcl", format!("v = jsonencode({expression})\n"));
    let scope = Scope { files: Some(&Nothing), seed, ..Scope::job() };
    match parse(&source, &scope) {
        Ok(body) => Ok(body.attributes[0].value.as_str().unwrap_or_default().to_string()),
        Err(problems) => Err(problems[0].one_line(&source)),
    }
}

#[test]
fn every_function_gives_what_was_recorded() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/hcl-functions.tsv");
    let table = std::fs::read_to_string(path).unwrap();
    let mut wrong = String::new();
    let mut count = 0;
    for line in table.lines().skip(2) {
        let [name, _, example, expected] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let found = value(example, Some([1; 32]));
        if found.as_deref() != Ok(expected) {
            wrong.push_str(&format!("{name}: {example}\n  want {expected}\n  have {found:?}\n"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count > 80, "only {count} functions");
}

#[test]
fn randomness_follows_from_the_seed() {
    let id = |seed| value("uuidv4()", Some(seed)).unwrap();
    assert_eq!(id([1; 32]), id([1; 32]));
    assert_ne!(id([1; 32]), id([2; 32]));
    assert_eq!(&id([1; 32])[15..16], "4");
    let problem = value("uuidv4()", None).unwrap_err();
    assert!(problem.contains("Call to function \"uuidv4\" failed: there is no randomness here."), "{problem}");
    let hash = value("bcrypt(\"a\", 4)", Some([1; 32])).unwrap();
    assert!(hash.starts_with("\"$2a$04$") && hash.len() == 62, "{hash}");
    let refused = |expression: &str| value(expression, Some([1; 32])).unwrap_err();
    assert!(refused("bcrypt(\"a\", 32)").contains("cost 32 is outside allowed inclusive range 4..31"));
    assert!(refused("bcrypt(\"a\", 4, 5)").contains("bcrypt() takes no more than two arguments"));
    assert!(refused("bcrypt(\"a\", 31)").contains("Expansion too large"));
}
