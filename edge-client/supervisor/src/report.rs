//! How a forked child tells the supervisor that a start went well or why it did not: one line through a pipe.
//!
//! ```text
//! plain task:   exec closes the pipe             -> Running
//! contained:    "P<pid>\n" from the helper       -> Running, that pid
//! either:       "E<text>\n"                      -> Failed
//! ```

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};

/// Longest report, in bytes.
const REPORT_BYTES_MAX: usize = 4096;

/// The supervisor's end.
#[derive(Debug)]
pub(crate) struct Report {
    pipe: std::fs::File,
    buffer: Vec<u8>,
}

/// The child's end.
#[derive(Debug)]
pub(crate) struct Reporter {
    pipe: std::fs::File,
}

/// What is known of a start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing yet.
    Pending,
    /// The pipe was closed without a word: exec, or the end of the child.
    Closed,
    /// The container's first process.
    Contained(i32),
    /// Why it did not start.
    Failed(String),
}

/// A pipe for one start.
pub(crate) fn report_pipe() -> io::Result<(Report, Reporter)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((Report { pipe: read.into(), buffer: Vec::new() }, Reporter { pipe: write.into() }))
}

impl Reporter {
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Says why the start failed.
    pub(crate) fn failed(&mut self, text: &str) {
        let mut line: String = text.chars().map(|letter| if letter == '\n' { ' ' } else { letter }).collect();
        while line.len() > REPORT_BYTES_MAX - 2 {
            line.pop();
        }
        // Nobody is left to tell when this fails.
        let _ = self.pipe.write_all(format!("E{line}\n").as_bytes());
    }

    /// Names the container's first process.
    pub(crate) fn contained(&mut self, pid: i32) {
        let _ = self.pipe.write_all(format!("P{pid}\n").as_bytes());
    }
}

impl Report {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Reads what is there.
    pub(crate) fn poll(&mut self) -> Outcome {
        let mut chunk = [0; 512];
        let is_closed = loop {
            match self.pipe.read(&mut chunk) {
                Ok(0) => break true,
                Ok(length) => {
                    self.buffer.extend_from_slice(chunk.get(..length).unwrap_or(&[]));
                    if self.buffer.len() > REPORT_BYTES_MAX {
                        break true;
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => break err.kind() != io::ErrorKind::WouldBlock,
            }
        };
        let text = String::from_utf8_lossy(&self.buffer);
        match text.strip_suffix('\n').and_then(|line| line.split_at_checked(1)) {
            Some(("P", pid)) => {
                pid.parse().map_or_else(|_| Outcome::Failed("unreadable report".to_owned()), Outcome::Contained)
            }
            Some((_, reason)) => Outcome::Failed(reason.to_owned()),
            None if is_closed => Outcome::Closed,
            None => Outcome::Pending,
        }
    }
}

/// A pipe for a log: reading never blocks, writing does (a task that is faster than the disk waits).
pub(crate) fn log_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: impl FnOnce(&mut Reporter), expected: Outcome) {
        let (mut report, mut reporter) = report_pipe().unwrap();
        assert_eq!(report.poll(), Outcome::Pending);
        write(&mut reporter);
        drop(reporter);
        assert_eq!(report.poll(), expected);
    }

    #[test]
    fn reports_are_read() {
        check(|_| {}, Outcome::Closed);
        check(|reporter| reporter.contained(17), Outcome::Contained(17));
        check(|reporter| reporter.failed("two\nlines"), Outcome::Failed("two lines".to_owned()));
        check(|reporter| reporter.failed(&"é".repeat(9000)), Outcome::Failed("é".repeat(2047)));
    }
}
