//! What a program says until it ends, where it may never end: a test that waits for it would not either.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::{Duration, Instant};

use crate::wait::wait_for;

/// The longest time of a program that is run to its end, or of one line of another.
const SAID_MAX: Duration = Duration::from_secs(240);
/// Lines read and not yet asked for; the program waits when there are more.
const LINES_MAX: usize = 1024;

/// Runs a program that is told nothing.
///
/// # Panics
/// It can't be run, or does not end.
pub fn output(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    finish(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

/// What is left to be said on those of its pipes that nobody took, and how it ended.
///
/// # Panics
/// It does not end.
pub fn finish(mut child: Child) -> Output {
    drop(child.stdin.take());
    let [stdout, stderr] = [child.stdout.take().map(read_all), child.stderr.take().map(read_all)];
    let end = Instant::now() + SAID_MAX;
    let [stdout, stderr] = [stdout, stderr].map(|text| {
        let text = text.map(|text| text.recv_timeout(end.saturating_duration_since(Instant::now())));
        text.transpose().map(Option::unwrap_or_default)
    });
    let (Ok(stdout), Ok(stderr)) = (stdout, stderr) else {
        // It may have ended just now.
        let _ = child.kill();
        let _ = child.wait();
        panic!("a program did not end in {SAID_MAX:?}");
    };
    let status = wait_for("the end of a program", SAID_MAX, || match child.try_wait() {
        Ok(Some(status)) => Ok(status),
        Ok(None) => Err("it runs".to_owned()),
        Err(error) => Err(error.to_string()),
    });
    Output { status, stdout, stderr }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (said, text) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error counts.
        let _ = pipe.read_to_end(&mut bytes);
        // Nobody may wait any more.
        let _ = said.send(bytes);
    });
    text
}

/// Lines of a program that runs.
pub struct Lines(Receiver<String>);

impl Lines {
    /// Of that pipe.
    pub fn of(pipe: impl Read + Send + 'static) -> Self {
        let (said, lines) = sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            let mut lines = BufReader::new(pipe).lines().map_while(Result::ok);
            while lines.next().is_some_and(|line| said.send(line).is_ok()) {}
        });
        Self(lines)
    }

    /// The next one; none after the last.
    ///
    /// # Panics
    /// It does not come in time.
    pub fn next_line(&self) -> Option<String> {
        match self.0.recv_timeout(SAID_MAX) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line came in {SAID_MAX:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_heard_and_the_end_is_told() {
        let said = output(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]));
        assert_eq!((said.status.code(), &*said.stdout, &*said.stderr), (Some(3), &b"out\n"[..], &b"err\n"[..]));
        let mut child = Command::new("sh").args(["-c", "echo one; echo two"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = Lines::of(child.stdout.take().unwrap());
        assert_eq!(
            [lines.next_line(), lines.next_line(), lines.next_line()],
            [Some("one".into()), Some("two".into()), None]
        );
        assert!(finish(child).status.success());
    }
}
