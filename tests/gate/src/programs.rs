//! The test programs of the workspace: cargo builds them, and they run here, a few at once, since most of them wait more
//! than they work. None may run for ever: one that passes its limit is ended, and what it had said is shown.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How many run at once: one for each core of the machine that the budgets are for.
const AT_ONCE: usize = 2;
/// The most time of one program. The longest takes a fifth of it.
const PROGRAM_TIME_MAX: Duration = Duration::from_secs(900);

/// A test program that cargo has built.
#[derive(Clone)]
pub struct Program {
    /// The package, by the name of its manifest's folder and the target's name: `control-plane/raft region`.
    name: String,
    /// Where cargo would run it: its package's folder.
    directory: PathBuf,
    executable: PathBuf,
}

/// What came of a program.
struct Ended {
    program: Program,
    took: Duration,
    /// Nothing when it had to be ended.
    status: Option<ExitStatus>,
    /// All that it printed.
    output: String,
}

impl Program {
    /// The test program that a line of cargo's messages tells of.
    fn of_message(line: &str, root: &Path) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_test = message["profile"]["test"].as_bool()?;
        let executable = PathBuf::from(message["executable"].as_str()?);
        let directory = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
        let package = directory.strip_prefix(root).unwrap_or(&directory).display().to_string();
        let target = message["target"]["name"].as_str()?;
        is_test.then(|| Self { name: format!("{package} {target}"), directory, executable })
    }

    /// Those that start whole regions and machines take longest: they come first, so that none of them runs last alone.
    fn order(&self) -> (bool, String) {
        (!self.name.starts_with("tests/"), self.name.clone())
    }

    fn start(&self, output: &Path) -> std::io::Result<Child> {
        let file = File::create(output)?;
        Command::new(&self.executable)
            .current_dir(&self.directory)
            .env("CARGO_MANIFEST_DIR", &self.directory)
            // What a test says is in the file at once: also of one that never ends, or is skipped.
            .env("RUST_TEST_NOCAPTURE", "1")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
    }

    /// Runs it to its end or to the end of its time.
    fn run(self, output: &Path) -> Result<Ended, String> {
        let start = Instant::now();
        let mut child = self.start(output).map_err(|e| format!("{}: {e}", self.name))?;
        let pid = child.id().to_string();
        let (ended, end) = channel();
        thread::spawn(move || ended.send(child.wait()));
        let status = match end.recv_timeout(PROGRAM_TIME_MAX) {
            Ok(status) => Some(status.map_err(|e| format!("{}: {e}", self.name))?),
            Err(RecvTimeoutError::Timeout) => {
                let killed = Command::new("kill").args(["-9", &pid]).status();
                killed.map_err(|e| format!("{} can't be ended: {e}", self.name))?;
                None
            }
            Err(RecvTimeoutError::Disconnected) => return Err(format!("{}: nobody waits for it", self.name)),
        };
        let took = start.elapsed();
        let output = fs::read(output).map_err(|e| format!("{}: {e}", output.display()))?;
        Ok(Ended { program: self, took, status, output: String::from_utf8_lossy(&output).into_owned() })
    }
}

impl Ended {
    fn has_passed(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// One line, and below it what was skipped; all of its output when it failed.
    fn tell(&self) {
        let verdict = match self.status {
            Some(status) if status.success() => "ok".to_owned(),
            Some(status) => format!("failed ({status})"),
            None => format!("not ended after {} s: killed", PROGRAM_TIME_MAX.as_secs()),
        };
        println!("{:>6.1} s  {:<40} {verdict}", self.took.as_secs_f64(), self.program.name);
        let is_shown = |line: &&str| !self.has_passed() || line.contains("skipped:");
        self.output.lines().filter(is_shown).for_each(|line| println!("          {line}"));
    }
}

/// Builds all test programs of the workspace.
///
/// # Errors
/// They do not build.
pub fn build(mut cargo: Command, root: &Path) -> Result<Vec<Program>, String> {
    cargo.args(["test", "--workspace", "--no-run", "--quiet", "--message-format=json-render-diagnostics"]);
    let output = cargo.stderr(Stdio::inherit()).output().map_err(|e| format!("{:?}: {e}", cargo.get_program()))?;
    if !output.status.success() {
        return Err(format!("{cargo:?} ended with {}", output.status));
    }
    let root = root.canonicalize().map_err(|e| format!("{}: {e}", root.display()))?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut programs: Vec<Program> = messages.lines().filter_map(|line| Program::of_message(line, &root)).collect();
    programs.sort_by_key(Program::order);
    if programs.is_empty() { Err("cargo has built no test program".to_owned()) } else { Ok(programs) }
}

/// Runs them all, whatever fails; what each printed is kept in `outputs`.
///
/// # Errors
/// Some failed: their names.
pub fn run(programs: Vec<Program>, outputs: &Path) -> Result<(), String> {
    fs::create_dir_all(outputs).map_err(|e| format!("{}: {e}", outputs.display()))?;
    let (all, start) = (programs.len(), Instant::now());
    let waiting = Arc::new(Mutex::new(VecDeque::from(programs)));
    let (ended, ends) = channel();
    for _ in 0..AT_ONCE {
        let (waiting, ended, outputs) = (waiting.clone(), ended.clone(), outputs.to_owned());
        thread::spawn(move || work(&waiting, &ended, &outputs));
    }
    drop(ended);
    let (mut failed, mut worked) = (Vec::new(), Duration::ZERO);
    for end in ends {
        match end {
            Ok(end) => {
                end.tell();
                worked += end.took;
                if !end.has_passed() {
                    failed.push(end.program.name);
                }
            }
            Err(error) => failed.push(error),
        }
    }
    println!("{all} programs in {:.0} s, {:.0} s one by one", start.elapsed().as_secs_f64(), worked.as_secs_f64());
    if failed.is_empty() { Ok(()) } else { Err(format!("{} of {all} failed: {}", failed.len(), failed.join(", "))) }
}

/// Takes programs until none is left.
fn work(waiting: &Mutex<VecDeque<Program>>, ended: &Sender<Result<Ended, String>>, outputs: &Path) {
    loop {
        let Some(program) = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else { return };
        let output = outputs.join(program.name.replace(['/', ' '], "-")).with_extension("txt");
        if ended.send(program.run(&output)).is_err() {
            return;
        }
    }
}
