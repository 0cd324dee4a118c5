//! `drover-fuzz`: damaged texts through the parsers.
//!
//! ```text
//! drover-fuzz list
//! drover-fuzz gate [--runs 200000] [--seed 1]
//! drover-fuzz hostile
//! drover-fuzz hcl-job --runs 1000 --seed 7 [--from 0]
//! drover-fuzz hcl-job --input FILE
//! drover-fuzz hcl-job --seed 7 --show 1234
//! ```
//!
//! `gate` runs the hostile texts, then every target, each in a process of its own and two at a time. Hostile texts need an
//! optimised build to end in time. `--show` prints an input and runs nothing.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::{Context, bail};
use drover_fuzz::run::{self, Inputs};
use drover_fuzz::targets::{self, Target};
use drover_fuzz::{hostile, parent};

/// Inputs of each target in the gate.
const GATE_RUNS: u64 = 200_000;
/// Targets that the gate runs at a time.
const GATE_WIDTH: usize = 2;

#[derive(Default)]
struct Arguments {
    word: String,
    seed: Option<u64>,
    from: u64,
    runs: Option<u64>,
    input: Option<PathBuf>,
    show: Option<u64>,
    progress: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drover-fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<()> {
    let arguments = parse(arguments)?;
    let seed = arguments.seed.unwrap_or(1);
    match arguments.word.as_str() {
        "list" => {
            for target in targets::ALL {
                println!("{:<16} {}", target.word, target.what);
            }
            return Ok(());
        }
        "hostile" => return hostile::run(),
        "gate" => return gate(seed, arguments.runs.unwrap_or(GATE_RUNS)),
        _ => {}
    }
    let Some(target) = targets::ALL.iter().find(|target| target.word == arguments.word) else {
        bail!("no target {:?}; `drover-fuzz list` names them", arguments.word);
    };
    if let Some(input) = arguments.show {
        let text = run::text_of(target, &(target.corpus)()?, seed, input);
        return std::io::stdout().write_all(&text).context("standard output");
    }
    let report = match &arguments.input {
        Some(path) => run::run_text(target, std::fs::read(path).with_context(|| path.display().to_string())?)?,
        None => {
            let inputs = Inputs { seed, from: arguments.from, runs: arguments.runs.unwrap_or(10_000) };
            run::run(target, inputs, arguments.progress.as_deref())?
        }
    };
    println!(
        "{:<16} {} inputs, {} taken; slowest {:.1} ms (input {}), most memory {:.1} MiB (input {})",
        target.word,
        report.tried,
        report.taken,
        report.slowest.0.as_secs_f64() * 1e3,
        report.slowest.1,
        report.largest.0 as f64 / f64::from(1 << 20),
        report.largest.1,
    );
    Ok(())
}

/// Every target, some at a time.
fn gate(seed: u64, runs: u64) -> anyhow::Result<()> {
    hostile::run()?;
    let program = std::env::current_exe().context("this program")?;
    let waiting: Mutex<Vec<&Target>> = Mutex::new(targets::ALL.iter().rev().copied().collect());
    let failures: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..GATE_WIDTH {
            scope.spawn(|| {
                while let Some(target) = waiting.lock().map_or(None, |mut waiting| waiting.pop()) {
                    if let Err(error) = parent::run(&program, target, Inputs { seed, from: 0, runs })
                        && let Ok(mut failures) = failures.lock()
                    {
                        failures.push(format!("{error:#}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_default();
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n")) }
}

fn parse(arguments: &[String]) -> anyhow::Result<Arguments> {
    let mut parsed = Arguments::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().with_context(|| format!("{argument} takes a value"));
        match argument.as_str() {
            "--seed" => parsed.seed = Some(value()?.parse().context("--seed")?),
            "--from" => parsed.from = value()?.parse().context("--from")?,
            "--runs" => parsed.runs = Some(value()?.parse().context("--runs")?),
            "--show" => parsed.show = Some(value()?.parse().context("--show")?),
            "--input" => parsed.input = Some(PathBuf::from(value()?)),
            "--progress" => parsed.progress = Some(PathBuf::from(value()?)),
            word if parsed.word.is_empty() && !word.starts_with('-') => word.clone_into(&mut parsed.word),
            other => bail!("what is {other}?"),
        }
    }
    if parsed.word.is_empty() {
        bail!("which target? `drover-fuzz list` names them");
    }
    Ok(parsed)
}
