//! Each row of the table of the job language is shown by a case. A new row needs a new case.

use std::collections::{BTreeMap, BTreeSet};

use super::{beside, folder};

/// Rows that no good job file can show, and rows of job files alone, which leave nothing in a job.
const WITHOUT_JOB: &[(&str, &str)] = &[
    ("job", "consul_token"),
    ("job", "vault_token"),
    ("job", "(limits)"),
    ("job", "(error form)"),
    ("(top-level)", "(files)"),
    ("(top-level)", "variable"),
    ("(top-level)", "variables"),
    ("(top-level)", "locals"),
];

/// Blocks that the reference parses and does not register, because its free edition lacks what they ask for.
const NOT_REGISTERED: &[&str] = &["job.multiregion", "task.schedule"];
const NOT_REGISTERED_FIELDS: &[(&str, &str)] =
    &[("job", "multiregion"), ("task", "schedule"), ("task.vault", "namespace")];

/// The first two cells of a row: the block and the field.
fn key(row: &str) -> Option<(String, String)> {
    let mut cells = row.split('\t');
    Some((cells.next()?.to_owned(), cells.next()?.to_owned()))
}

#[test]
fn every_row_of_the_job_language_has_a_case() {
    let language = beside("LANGUAGE", "tsv").unwrap();
    let coverage = beside("COVERAGE", "tsv").unwrap();
    let shown: BTreeMap<(String, String), Vec<&str>> = coverage
        .lines()
        .skip(1)
        .filter_map(|row| Some((key(row)?, row.split('\t').nth(3)?.split(' ').collect())))
        .collect();
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    let is_case = |name: &str| ["hcl", "json"].iter().any(|ending| files.contains(&format!("{name}.nomad.{ending}")));
    let mut missing = Vec::new();
    for row in language.lines().skip(1) {
        let Some(key) = key(row) else { continue };
        let cases = shown.get(&key).cloned().unwrap_or_default();
        let cases: Vec<&str> = cases.into_iter().filter(|case| *case != "-").collect();
        if cases.is_empty() {
            missing.push(format!("{} {} is shown by nothing", key.0, key.1));
        }
        let row = (key.0.as_str(), key.1.as_str());
        let has = |ending: &str| cases.iter().any(|case| files.contains(&format!("{case}.{ending}")));
        if !WITHOUT_JOB.contains(&row) {
            if !has("json") {
                missing.push(format!("{} {} is in no job file that parses", key.0, key.1));
            }
            let is_refused = NOT_REGISTERED.contains(&row.0) || NOT_REGISTERED_FIELDS.contains(&row);
            if has("registered.json") == is_refused {
                missing.push(format!(
                    "{} {}: a registered job with it is {}",
                    key.0,
                    key.1,
                    if is_refused { "there" } else { "missing" }
                ));
            }
        }
        let absent = cases.iter().filter(|case| !is_case(case));
        missing.extend(absent.map(|case| format!("{} {} names {case}, which is not there", key.0, key.1)));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
