//! One target over many inputs, watched.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::time::{ClockId, clock_gettime};

use crate::memory;
use crate::mutate;
use crate::random::Random;
use crate::targets::Target;

/// The most processor time of one input. Time on the processor, so that a loaded machine fails nobody; a build without
/// optimisation gets more.
const CPU_MAX: Duration = Duration::from_secs(if cfg!(debug_assertions) { 4 } else { 1 });
/// The most memory of one input.
const MEMORY_BYTES_MAX: usize = 512 << 20;
/// The stack of the thread that parses: what a server's threads have.
const STACK_BYTES: usize = 2 << 20;

/// Which inputs to try.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// What they follow from.
    pub seed: u64,
    /// The first one.
    pub from: u64,
    /// How many.
    pub runs: u64,
}

/// What a run found out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Inputs tried.
    pub tried: u64,
    /// Of these, those that the parser took.
    pub taken: u64,
    /// The longest time of one, and which one it was.
    pub slowest: (Duration, u64),
    /// The most memory of one, in bytes, and which one it was.
    pub largest: (usize, u64),
}

/// The text of one input.
pub fn text_of(target: &Target, corpus: &[Vec<u8>], seed: u64, input: u64) -> Vec<u8> {
    mutate::text(corpus, target.words, &mut Random::of(seed, input))
}

/// Tries inputs on a thread of its own. `progress` gets the number of each one before it is tried.
///
/// # Errors
/// An input made the target panic, or took too long or too much memory; or the corpus can't be read.
pub fn run(target: &'static Target, inputs: Inputs, progress: Option<&Path>) -> anyhow::Result<Report> {
    let corpus = (target.corpus)()?;
    let progress = progress.map(File::create).transpose().context("the progress file")?;
    on_thread(move || {
        let mut report = Report::default();
        for input in inputs.from..inputs.from.saturating_add(inputs.runs) {
            let text = text_of(target, &corpus, inputs.seed, input);
            if let Some(progress) = &progress {
                progress.write_all_at(input.to_string().as_bytes(), 0).context("the progress file")?;
            }
            let tried = one(target, &text).with_context(|| again(target, inputs.seed, input))?;
            report.tried += 1;
            report.taken += u64::from(tried.is_taken);
            report.slowest = report.slowest.max((tried.cpu, input));
            report.largest = report.largest.max((tried.bytes, input));
        }
        Ok(report)
    })
}

/// Tries one text that is given.
///
/// # Errors
/// As `run`.
pub fn run_text(target: &'static Target, text: Vec<u8>) -> anyhow::Result<Report> {
    on_thread(move || {
        let tried = one(target, &text)?;
        Ok(Report { tried: 1, taken: u64::from(tried.is_taken), slowest: (tried.cpu, 0), largest: (tried.bytes, 0) })
    })
}

/// How to have a failure again.
pub fn again(target: &Target, seed: u64, input: u64) -> String {
    format!("drover-fuzz {} --seed {seed} --from {input} --runs 1", target.word)
}

fn on_thread<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).context("a thread")?;
    thread.join().unwrap_or_else(|_| bail!("the run itself panicked"))
}

struct Tried {
    is_taken: bool,
    cpu: Duration,
    bytes: usize,
}

fn one(target: &Target, text: &[u8]) -> anyhow::Result<Tried> {
    let start = cpu();
    let (outcome, bytes) = memory::peak_of(|| catch_unwind(AssertUnwindSafe(|| (target.run)(text))));
    let cpu = cpu().saturating_sub(start);
    let Ok(is_taken) = outcome else { bail!("it panicked, see above") };
    if cpu > CPU_MAX {
        bail!("it took {cpu:?}, more than {CPU_MAX:?}");
    }
    if bytes > MEMORY_BYTES_MAX {
        bail!("it took {bytes} bytes of memory, more than {MEMORY_BYTES_MAX}");
    }
    Ok(Tried { is_taken, cpu, bytes })
}

/// What this thread has had of a processor.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
