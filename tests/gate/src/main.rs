//! `cargo gate`: everything that must hold before a change lands. It installs what the tests need, runs all stages of
//! `tests/gate/stages.tsv` and prints the seconds each took. It never rewrites a file of the project.
//!
//! `cargo gate STAGE…` runs only those.

mod edge_size;
mod guest_kernel;
mod guest_systemd;
mod packages;
mod programs;
mod stages;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A row of the table of stages.
struct Row {
    name: String,
    budget: Duration,
    what: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The table, without its comments and its head.
fn rows() -> Result<Vec<Row>, String> {
    let path = root().join("tests/gate/stages.tsv");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let lines = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    lines
        .map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
            [name, seconds, what] => {
                let seconds = seconds.parse().map_err(|_| format!("no number of seconds: {line}"))?;
                Ok(Row { name: name.to_owned(), budget: Duration::from_secs(seconds), what: what.to_owned() })
            }
            _ => Err(format!("not three columns: {line}")),
        })
        .collect()
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let rows = match rows() {
        Ok(rows) => rows,
        Err(error) => {
            eprintln!("gate: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(unknown) = wanted.iter().find(|name| rows.iter().all(|row| row.name != **name)) {
        let known: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        eprintln!("gate: no stage {unknown}; there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    let mut report = Vec::new();
    let mut failed = false;
    for row in rows.iter().filter(|row| wanted.is_empty() || wanted.contains(&row.name)) {
        println!("\n==> {}: {}", row.name, row.what);
        let start = Instant::now();
        let result = stages::run(&row.name);
        let took = start.elapsed();
        let verdict = match result {
            Err(error) => {
                eprintln!("gate: {}: {error}", row.name);
                failed = true;
                "failed"
            }
            Ok(()) if took > row.budget => {
                failed = true;
                "over its budget"
            }
            Ok(()) => "ok",
        };
        report.push(format!(
            "{:<12} {:>5.0} s of {:>4} s  {verdict}",
            row.name,
            took.as_secs_f64(),
            row.budget.as_secs()
        ));
        if verdict == "failed" {
            break;
        }
    }
    println!("\n{}", report.join("\n"));
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
