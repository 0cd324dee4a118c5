//! Runs every job file of the fixture folder: what the reference parsed, registered, warned of and refused is beside
//! each. The numbers below may only grow; what is not reached is named with its reason.

#![allow(clippy::disallowed_methods, reason = "tests read the fixtures, and play the file system for file functions")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use drover_hcl::{FileError, Files, Inputs, Problem, Source};
use drover_jobspec::canonicalize::implied::Implied;
use drover_jobspec::{Canonical, Refusal, Surroundings, canonicalize, parse_hcl, parse_json, warnings_text};
use serde_json::Value;

mod api_jobs;

mod coverage;

mod expected;

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

fn beside(name: &str, ending: &str) -> Option<String> {
    std::fs::read_to_string(folder().join(format!("{name}.{ending}"))).ok()
}

/// All case names that have a file with that ending.
fn cases(ending: &str) -> Vec<String> {
    let ending = format!(".{ending}");
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str().unwrap().strip_suffix(&ending).map(str::to_owned))
        .filter(|name| !name.ends_with(".registered") && !name.ends_with(".nomad"))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "fixtures are there");
    names
}

/// Registers a job where Vault is not set up.
fn register(job: Value) -> Result<Canonical, Refusal> {
    register_with(job, &[])
}

/// Registers a job where these are all the namespaces, node pools and Vault clusters there are.
fn register_with(job: Value, vault_clusters: &[&str]) -> Result<Canonical, Refusal> {
    let namespaces = BTreeSet::from(["default".to_owned()]);
    let node_pools = BTreeSet::from(["default".to_owned(), "all".to_owned(), "edge".to_owned()]);
    let vault_clusters = vault_clusters.iter().map(|name| (*name).to_owned()).collect();
    let is_time_zone = |name: &str| name != "Mars/X";
    let surroundings = Surroundings {
        namespaces: Some(&namespaces),
        node_pools: Some(&node_pools),
        vault_clusters: Some(&vault_clusters),
        is_time_zone: &is_time_zone,
        implied: Implied::All,
        ..Surroundings::of("global")
    };
    canonicalize(job, &surroundings)
}

/// Parses a case with its arguments and environment.
fn parse(name: &str) -> Result<Value, (Source, Vec<Problem>)> {
    let ending = if folder().join(format!("{name}.nomad.hcl")).exists() { "hcl" } else { "json" };
    let file = format!("{name}.nomad.{ending}");
    let text = std::fs::read_to_string(folder().join(&file)).unwrap();
    let source = Source::new(&file, text);
    let mut inputs = Inputs { files: Some(&FixtureFiles), ..Inputs::default() };
    let arguments = beside(name, "args").unwrap_or_default();
    let mut arguments = arguments.lines();
    while let Some(argument) = arguments.next() {
        if argument == "-var" {
            let (name, value) = arguments.next().unwrap().split_once('=').unwrap();
            inputs.var_flags.push((name.to_owned(), value.to_owned()));
        } else if let Some(path) = argument.strip_prefix("-var-file=") {
            let text = std::fs::read_to_string(folder().join(path)).unwrap();
            inputs.var_files.push(Source::new(path, text));
        } else {
            assert_eq!(argument, "-hcl2-strict=false");
            inputs.is_strict = false;
        }
    }
    for line in beside(name, "env").unwrap_or_default().lines() {
        let (name, value) = line.split_once('=').unwrap();
        inputs.env.insert(name.to_owned(), value.to_owned());
    }
    parse_hcl(&source, &inputs).map_err(|problems| (source, problems))
}

/// Compares numbers by value: 5.0 is 5.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// Where two values differ first, for the message of a failing case.
fn difference(path: &str, a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let keys = x.keys().chain(y.keys().filter(|key| !x.contains_key(*key)));
            keys.into_iter().find_map(|key| match (x.get(key), y.get(key)) {
                (Some(x), Some(y)) => difference(&format!("{path}.{key}"), x, y),
                (x, y) => Some(format!("{path}.{key}: {x:?} instead of {y:?}")),
            })
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            x.iter().zip(y).enumerate().find_map(|(i, (x, y))| difference(&format!("{path}[{i}]"), x, y))
        }
        (a, b) if same(a, b) => None,
        (a, b) => Some(format!("{path}: {a} instead of {b}")),
    }
}

/// Runs all cases of a kind and compares what fails with the list of what is known to fail.
fn check_all(
    kind: &str,
    names: &[String],
    known: &[(&str, &str)],
    least: usize,
    case: impl Fn(&str) -> Result<(), String>,
) {
    let mut failed = Vec::new();
    for name in names {
        if let Err(reason) = case(name) {
            failed.push((name.as_str(), reason));
        }
    }
    let good = names.len() - failed.len();
    println!("{kind}: {good} of {} cases as recorded", names.len());
    let unexpected: Vec<_> = failed.iter().filter(|(name, _)| !known.iter().any(|(other, _)| other == name)).collect();
    assert!(unexpected.is_empty(), "{kind}: {unexpected:#?}");
    for (name, reason) in known {
        assert!(failed.iter().any(|(other, _)| other == name), "{kind}: {name} passes now, take it out ({reason})");
    }
    assert!(good >= least, "{kind}: {good} cases pass, {least} did before");
}

fn job_json(name: &str) -> Value {
    serde_json::from_str::<Value>(&beside(name, "json").unwrap()).unwrap()["Job"].take()
}

#[test]
fn job_files_parse_to_the_recorded_json() {
    let names = cases("json");
    check_all("parse", &names, expected::NOT_PARSED, expected::PARSED_LEAST, |name| {
        let job = parse(name).map_err(|(source, problems)| problems[0].one_line(&source))?;
        difference("Job", &job, &job_json(name)).map_or(Ok(()), Err)
    });
}

#[test]
fn json_jobs_read_to_what_they_say() {
    for name in cases("json") {
        let job = parse_json(&beside(&name, "json").unwrap()).unwrap();
        assert_eq!(difference("Job", &job, &job_json(&name)), None, "{name}");
    }
}

#[test]
fn jobs_register_as_recorded() {
    let names = cases("registered.json");
    check_all("register", &names, expected::NOT_REGISTERED, expected::REGISTERED_LEAST, |name| {
        let job = parse_json(&beside(name, "json").unwrap()).map_err(|e| e.to_string())?;
        let canonical = register_with(job, &["default"]).map_err(|refusal| refusal.to_string())?;
        let mut registered = serde_json::to_value(&canonical.job).unwrap();
        // The fixtures have these emptied.
        registered["Status"] = "".into();
        let expected: Value = serde_json::from_str(&beside(name, "registered.json").unwrap()).unwrap();
        if let Some(difference) = difference("Job", &registered, &expected) {
            return Err(difference);
        }
        let warnings = warnings_text(&canonical.warnings);
        let expected = beside(name, "warnings.txt").unwrap_or_default();
        if warnings.trim_end() == expected.trim_end() { Ok(()) } else { Err(warnings) }
    });
}

#[test]
fn a_registered_job_registers_again_as_itself() {
    for name in cases("registered.json") {
        let text = beside(&name, "registered.json").unwrap();
        let first = register_with(parse_json(&text).unwrap(), &["default"]).unwrap();
        let again = parse_json(&serde_json::to_string(&first.job).unwrap()).unwrap();
        let again = register_with(again, &["default"]).unwrap();
        assert!(first.job.same_request(&again.job), "{name}");
    }
}

#[test]
fn broken_job_files_are_told_as_recorded() {
    let names: Vec<String> = cases("error.txt").into_iter().filter(|name| name.starts_with("err-")).collect();
    check_all("errors of job files", &names, expected::OTHER_ERRORS, expected::ERRORS_LEAST, |name| {
        let (source, problems) = match parse(name) {
            Ok(_) => return Err("parses".to_owned()),
            Err(found) => found,
        };
        let found: Vec<String> = problems.iter().map(|problem| problem.one_line(&source)).collect();
        let found = found.join("\n");
        let recorded = beside(name, "error.txt").unwrap();
        let expected: Vec<&str> = recorded.lines().skip(2).collect();
        if found.trim_end() == expected.join("\n").trim_end() { Ok(()) } else { Err(found) }
    });
}

#[test]
fn refused_jobs_are_told_as_recorded() {
    let names: Vec<String> = cases("error.txt").into_iter().filter(|name| name.starts_with("invalid-")).collect();
    check_all("refusals", &names, expected::OTHER_REFUSALS, expected::REFUSALS_LEAST, |name| {
        let job = parse(name).map_err(|(source, problems)| problems[0].one_line(&source))?;
        let Err(refusal) = register(job) else { return Err("is accepted".to_owned()) };
        let found = refusal.to_string();
        let recorded = beside(name, "error.txt").unwrap();
        let code = if matches!(refusal, Refusal::Request(_)) { "code: 400 (" } else { "code: 500 (" };
        let (_, expected) = recorded.split_once(code).ok_or("is answered with another code")?;
        let expected = expected.trim_end().trim_end_matches(')').trim_end();
        // A text may itself end in the bracket that closes the recorded line.
        if found.trim_end().trim_end_matches(')').trim_end() == expected { Ok(()) } else { Err(found) }
    });
}
