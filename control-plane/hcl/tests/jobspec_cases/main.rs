//! Runs every job file of the fixture folder: what Nomad understood is beside each, and this crate must agree in
//! the parts that are its own (values, variables, locals, `dynamic`, and the texts of errors in these).

#![allow(clippy::disallowed_methods, reason = "tests read the fixtures, and play the file system for file functions")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use drover_hcl::{Body, FileError, Files, Inputs, Source, Value, parse_job_file};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/jobspec-cases")
}

/// Files below the fixture folder.
struct FixtureFiles;

impl Files for FixtureFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        std::fs::read(folder().join(path)).map_err(|_| FileError::NotFound)
    }

    fn is_file(&self, path: &str) -> Result<bool, FileError> {
        Ok(folder().join(path).is_file())
    }

    fn walk(&self, directory: &str) -> Result<Vec<String>, FileError> {
        fn collect(directory: &Path, prefix: &str, out: &mut Vec<String>) {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                match entry.path().is_dir() {
                    true => collect(&entry.path(), &format!("{name}/"), out),
                    false => out.push(name),
                }
            }
        }
        let mut out = Vec::new();
        collect(&folder().join(directory), "", &mut out);
        Ok(out)
    }

    fn absolute(&self, path: &str) -> String {
        path.replace("/x/..", "")
    }

    fn home(&self) -> Option<String> {
        None
    }
}

/// All case names that start with one of the prefixes.
fn cases(prefixes: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str().unwrap().strip_suffix(".nomad.hcl").map(String::from))
        .filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "fixtures are there");
    names
}

fn beside(name: &str, ending: &str) -> Option<String> {
    std::fs::read_to_string(folder().join(format!("{name}.{ending}"))).ok()
}

/// Parses a case with its arguments and environment; problems as the lines a user sees.
fn run(name: &str) -> Result<Body, String> {
    let file = format!("{name}.nomad.hcl");
    let text = std::fs::read_to_string(folder().join(&file)).unwrap();
    let source = Source::new(&file, text);
    let mut inputs = Inputs { files: Some(&FixtureFiles), ..Inputs::default() };
    let arguments = beside(name, "args").unwrap_or_default();
    let mut arguments = arguments.lines();
    while let Some(argument) = arguments.next() {
        if argument == "-var" {
            let (name, value) = arguments.next().unwrap().split_once('=').unwrap();
            inputs.var_flags.push((name.to_string(), value.to_string()));
        } else if let Some(path) = argument.strip_prefix("-var-file=") {
            let text = std::fs::read_to_string(folder().join(path)).unwrap();
            inputs.var_files.push(Source::new(path, text));
        } else if argument == "-hcl2-strict=false" {
            inputs.is_strict = false;
        }
    }
    let env = beside(name, "env").unwrap_or_default();
    inputs.env = env.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
    parse_job_file(&source, &inputs).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|problem| problem.one_line(&source)).collect();
        format!("{}\n", lines.join("\n"))
    })
}

fn meta_of(body: &Body) -> BTreeMap<String, String> {
    let job = body.blocks_of("job").next().expect("a job block");
    let entries = match job.body.attribute("meta") {
        Some(meta) => meta.value.as_entries().expect("meta is a map").clone(),
        None => BTreeMap::new(),
    };
    entries.into_iter().map(|(name, value)| (name, value.to_text().unwrap_or("null".to_string()))).collect()
}

#[test]
fn values_are_what_nomad_makes_of_them() {
    let mut wrong = String::new();
    let mut compared = 0;
    for name in cases(&["str-", "expr-", "fn-", "var-", "variables-", "local"]) {
        let expected: serde_json::Value = serde_json::from_str(&beside(&name, "json").unwrap()).unwrap();
        let expected = expected.get("Job").unwrap_or(&expected);
        let body = match run(&name) {
            Ok(body) => body,
            Err(problems) => {
                wrong.push_str(&format!("{name}: {problems}"));
                continue;
            }
        };
        let meta = meta_of(&body);
        for (key, value) in expected["Meta"].as_object().unwrap() {
            compared += 1;
            let (value, ours) = (value.as_str().unwrap(), meta.get(key).map_or("(nothing)", String::as_str));
            if value != ours {
                wrong.push_str(&format!("{name} {key}:\n  want {value:?}\n  have {ours:?}\n"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(compared > 300, "only {compared} values compared");
}

#[test]
fn errors_read_as_nomads_do() {
    let mut wrong = String::new();
    for name in OWN_ERRORS {
        let expected = beside(name, "error.txt").unwrap();
        let expected: String = expected.lines().skip(2).map(|line| format!("{line}\n")).collect();
        let ours = run(name).expect_err(name);
        if expected != ours {
            wrong.push_str(&format!("{name}:\nwant {expected}have {ours}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Cases that fail in this crate; the other `err-` cases need the job's schema.
const OWN_ERRORS: [&str; 36] = [
    "err-duplicate-attribute",
    "err-dynamic-labels-missing",
    "err-dynamic-no-content",
    "err-dynamic-null",
    "err-file-missing",
    "err-function-argument-type",
    "err-function-arity",
    "err-json-leading-newline",
    "err-local-duplicate-same-block",
    "err-object-length",
    "err-single-line-two-arguments",
    "err-template-list-in-string",
    "err-try-nothing-works",
    "err-unclosed-block",
    "err-unknown-attribute-of-runtime-value",
    "err-unknown-function",
    "err-var-bad-name",
    "err-var-bool",
    "err-var-default-function",
    "err-var-duplicate",
    "err-var-file-block",
    "err-var-file-function",
    "err-var-missing",
    "err-var-optional-attr",
    "err-var-reference-missing",
    "err-var-type",
    "err-var-type-any",
    "err-var-type-list",
    "err-var-type-object",
    "err-var-undeclared-file",
    "err-var-undeclared-flag",
    "err-var-unknown-field",
    "err-var-unset-unused",
    "err-var-validation-fails",
    "err-var-validation-no-self-ref",
    "err-var-validation-other-ref",
];

#[test]
fn every_case_evaluates_or_fails_in_words() {
    for name in cases(&[""]) {
        match run(&name) {
            Ok(_) => assert!(!OWN_ERRORS.contains(&name.as_str()), "{name} should fail"),
            Err(problems) => {
                assert!(name.starts_with("err-"), "{name}: {problems}");
                assert!(problems.len() > 10);
            }
        }
    }
}

#[test]
fn dynamic_blocks_become_blocks() {
    let labels = |name: &str, path: &[&str], kind: &str| -> Vec<String> {
        let body = run(name).unwrap();
        let mut at = &body;
        for kind in path {
            at = &at.blocks_of(kind).next().unwrap().body;
        }
        at.blocks_of(kind).map(|block| block.label(0).unwrap_or("-").to_string()).collect()
    };
    assert_eq!(labels("dynamic-list", &["job", "group", "network"], "port"), ["http", "grpc"]);
    assert_eq!(labels("dynamic-map-iterator", &["job"], "group"), ["g-alpha", "g-beta"]);
    assert_eq!(labels("dynamic-set-nested", &["job", "group"], "task"), ["one", "two"]);
    assert_eq!(labels("dynamic-set-nested", &["job", "group", "task"], "template"), ["-", "-"]);
    assert_eq!(labels("dynamic-empty-and-driver-config", &["job", "group"], "constraint"), [""; 0]);
    // A driver's own configuration keeps the block as it is.
    let kept = labels("dynamic-empty-and-driver-config", &["job", "group", "task", "config"], "dynamic");
    assert_eq!(kept, ["mount"]);
    let body = run("dynamic-list").unwrap();
    let network = &body.blocks[0].body.blocks[0].body.blocks[0];
    let ports: Vec<&Value> = network.body.blocks.iter().map(|port| &port.body.attributes[0].value).collect();
    assert_eq!(ports, [&Value::from(8000i64), &Value::from(8001i64)]);
}
