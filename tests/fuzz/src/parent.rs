//! A run in a process of its own, so that a stack that overflows and an input that never ends are told too.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::run::{Inputs, again};
use crate::targets::Target;

/// How long one input may make no progress, by the clock on the wall: far more than a loaded machine needs for the
/// second of processor time that it may take.
const STILL_MAX: Duration = Duration::from_secs(60);
/// How often the run is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Runs a target in a child of this program and waits for it.
///
/// # Errors
/// The run failed, with what is needed to have the failure again.
pub fn run(program: &Path, target: &Target, inputs: Inputs) -> anyhow::Result<()> {
    let name = format!("drover-fuzz-{}-{}", target.word, std::process::id());
    let progress = std::env::temp_dir().join(name);
    let mut child = Command::new(program)
        .arg(target.word)
        .args(["--seed", &inputs.seed.to_string(), "--from", &inputs.from.to_string()])
        .args(["--runs", &inputs.runs.to_string(), "--progress"])
        .arg(&progress)
        .spawn()
        .with_context(|| program.display().to_string())?;
    let at = || std::fs::read_to_string(&progress).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let mut last = (at(), Instant::now());
    let outcome = loop {
        if let Some(status) = child.try_wait().context("waiting for the run")? {
            break match status.success() {
                true => Ok(()),
                false => Err(format!("ended with {status}")),
            };
        }
        let now = at();
        if now != last.0 {
            last = (now, Instant::now());
        } else if last.1.elapsed() > STILL_MAX {
            child.kill().context("ending the run")?;
            child.wait().context("waiting for the run")?;
            break Err(format!("made no progress for {STILL_MAX:?}"));
        }
        std::thread::sleep(LOOK_AGAIN);
    };
    let input = at().unwrap_or(inputs.from);
    // A file that is not there any more is as good as removed.
    let _ = std::fs::remove_file(&progress);
    match outcome {
        Ok(()) => Ok(()),
        Err(reason) => bail!("{} {reason}; again: {}", target.word, again(target, inputs.seed, input)),
    }
}
