//! How a forked child tells the supervisor that a start went well or why it did not: one line through a pipe.
//!
//! ```text
//! plain task:   exec closes the pipe             -> Running
//! contained:    "P<pid>\n" from the helper       -> Running, that pid
//! either:       "E<text>\n"                      -> Failed
//! ```

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
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

    /// As [`Report::poll`] for a helper whose child reports after it: not before all of them are done.
    pub(crate) fn poll_both(&mut self) -> Outcome {
        if !self.read() {
            return Outcome::Pending;
        }
        let text = String::from_utf8_lossy(&self.buffer);
        let mut lines = text.lines();
        match (text.lines().find_map(|line| line.strip_prefix('E')), lines.find_map(|line| line.strip_prefix('P'))) {
            (Some(reason), _) => Outcome::Failed(reason.to_owned()),
            (None, Some(pid)) => {
                pid.parse().map_or_else(|_| Outcome::Failed("unreadable report".to_owned()), Outcome::Contained)
            }
            (None, None) => Outcome::Closed,
        }
    }

    /// Reads what is there; true at the end.
    fn read(&mut self) -> bool {
        let mut chunk = [0; 512];
        loop {
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
        }
    }

    /// Reads what is there.
    pub(crate) fn poll(&mut self) -> Outcome {
        let is_closed = self.read();
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
///
/// The task's end is open for reading too: as long as the task has it the pipe has a reader, so a task whose supervisor is gone
/// waits for the next one where it would be ended by a broken pipe.
pub(crate) fn log_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    let path = format!("/proc/self/fd/{}", write.as_raw_fd());
    // Without /proc the plain end does as well.
    let both = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap_or(write);
    Ok((read, both))
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
