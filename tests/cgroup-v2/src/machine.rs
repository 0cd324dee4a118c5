//! Runs a machine and reads its console.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use crate::guest::{END, Guest};
use crate::parts::Parts;

/// What the kernel is told.
/// A machine without devices has no other source of random numbers than its processor.
/// Of the kernel only a panic is heard, and that ends the machine at once: `-no-reboot` makes a stop of the reboot.
/// It has nothing to hide from itself, and waits for no processor to pass a point of rest by itself: every move between cgroups, and
/// every end of a mount, would take many times as long.
const KERNEL_WORDS: &str =
    "console=ttyS0 loglevel=1 panic=-1 random.trust_cpu=on mitigations=off rcupdate.rcu_expedited=1";
/// More of a console is not read, in bytes.
const CONSOLE_MAX: u64 = 4 << 20;
/// What a machine has, in MiB: its files lie in it too.
const MEMORY_MIB: &str = "1024";
/// Lines read and not yet looked at; the machine waits when there are more.
const LINES_MAX: usize = 1024;

/// Boots a machine with that file tree and lets it run until its script has ended: [`Run::end`] is the script's exit code.
///
/// # Errors
/// The emulator can't be started, or the disk takes no initramfs.
pub fn boot(parts: &Parts, guest: &Guest, script: &str, deadline: Duration) -> io::Result<Run> {
    let dir = tempfile::tempdir()?;
    let initramfs = dir.path().join("initramfs");
    guest.write(io::BufWriter::new(std::fs::File::create(&initramfs)?), script, deadline)?;
    run(parts, &initramfs, END, deadline)
}

/// How a run went.
#[derive(Debug)]
pub struct Run {
    /// All lines of the console up to the awaited one.
    pub console: Vec<String>,
    /// What followed the awaited words; None when they did not come in time.
    pub end: Option<String>,
    /// From the start of the emulator.
    pub took: Duration,
}

/// Boots a machine and lets it run until a line of its console begins with `end`, it stops, or the time is over.
/// The emulator has gone when this returns.
///
/// # Errors
/// The emulator can't be started.
pub fn run(parts: &Parts, initramfs: &Path, end: &str, deadline: Duration) -> io::Result<Run> {
    let start = Instant::now();
    let mut emulator = Emulator(
        Command::new(&parts.qemu)
            .args(["-accel", "tcg,thread=multi", "-smp", "2", "-cpu", "qemu64,+rdrand", "-m", MEMORY_MIB])
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none", "-serial", "stdio"])
            .arg("-kernel")
            .arg(&parts.kernel)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", KERNEL_WORDS])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let lines = emulator.0.stdout.take().map(read_lines);
    let mut run = Run { console: Vec::new(), end: None, took: Duration::ZERO };
    while let Some(lines) = &lines {
        match lines.recv_timeout(deadline.saturating_sub(start.elapsed())) {
            Ok(line) => {
                let after = line.strip_prefix(end).map(str::to_owned);
                run.console.push(line);
                if after.is_some() {
                    run.end = after;
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    run.took = start.elapsed();
    Ok(run)
}

fn read_lines(console: impl Read + Send + 'static) -> Receiver<String> {
    let (tx, rx) = sync_channel(LINES_MAX);
    std::thread::spawn(move || {
        let mut console = BufReader::new(console.take(CONSOLE_MAX));
        let mut line = Vec::new();
        while console.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if tx.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    rx
}

/// The emulator's process, which never outlives its run.
struct Emulator(Child);

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
