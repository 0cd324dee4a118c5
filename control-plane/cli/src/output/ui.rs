//! Where text goes: results to stdout, everything else to stderr, colour only where somebody sees it.

use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::FileTypeExt;

use crate::output::time::Clock;

const RESET: &str = "\u{1b}[0m";
const BOLD: &str = "\u{1b}[1m";
const BRIGHT_RED: &str = "\u{1b}[91m";

/// When colour is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Color {
    /// Marks inside the text: titles, diff signs.
    pub marks: bool,
    /// Whole lines: errors red and so on.
    pub lines: bool,
}

/// The reader and the writer.
pub struct Ui {
    /// Results.
    pub stdout: Box<dyn Write>,
    /// Errors and remarks.
    pub stderr: Box<dyn Write>,
    /// Answers to questions, and job files named `-`.
    pub stdin: Box<dyn Read>,
    /// stdout is a terminal.
    pub is_terminal: bool,
    /// stdin is a file or a pipe, something that was put there to be read.
    pub is_stdin_given: bool,
    /// When colour is used.
    pub color: Color,
    /// Now.
    pub clock: Clock,
}

impl Ui {
    /// The process's own streams.
    pub fn system() -> Self {
        Self {
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
            stdin: Box::new(io::stdin()),
            is_terminal: io::stdout().is_terminal(),
            is_stdin_given: std::fs::metadata("/dev/stdin").is_ok_and(|about| !about.file_type().is_char_device()),
            color: Color::default(),
            clock: Clock::system(),
        }
    }

    /// A result, with a newline.
    pub fn out(&mut self, text: &str) {
        let text = if self.color.lines { format!("{RESET}{text}{RESET}\n") } else { format!("{text}\n") };
        self.write(text.as_bytes());
    }

    /// A result as it is, never coloured.
    pub fn plain(&mut self, text: &str) {
        self.write(format!("{text}\n").as_bytes());
    }

    /// Bytes of a result, passed on as they are. False when nobody reads any more.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.stdout.write_all(bytes).and_then(|()| self.stdout.flush()).is_ok()
    }

    /// An empty line, a title, and what stands beneath it.
    pub fn section(&mut self, title: &str, body: &str) {
        let title = self.bold(title);
        self.out(&format!("\n{title}"));
        self.out(body);
    }

    /// An error.
    pub fn error(&mut self, text: &str) {
        self.remark(text, BRIGHT_RED);
    }

    /// A remark that is no error.
    pub fn note(&mut self, text: &str) {
        self.remark(text, RESET);
    }

    fn remark(&mut self, text: &str, color: &str) {
        let text = if self.color.lines { format!("{color}{text}{RESET}\n") } else { format!("{text}\n") };
        // Nowhere is left to say that stderr is gone.
        let _ = self.stderr.write_all(text.as_bytes()).and_then(|()| self.stderr.flush());
    }

    /// A title.
    pub fn bold(&self, text: &str) -> String {
        if self.color.marks { format!("{BOLD}{text}{RESET}{RESET}") } else { text.to_owned() }
    }

    /// Asks for y or n.
    pub fn confirm(&mut self, question: &str) -> Result<bool, String> {
        self.write(format!("{question} [y/N] ").as_bytes());
        let mut answer = Vec::new();
        let mut byte = [0];
        // By the byte: what follows the line is not ours. A line longer than this is no answer.
        while answer.len() < 64 {
            match self.stdin.read(&mut byte) {
                Ok(0) => break,
                Ok(_) if byte[0] == b'\n' => {
                    return Ok(matches!(String::from_utf8_lossy(&answer).trim(), "y" | "Y" | "yes"));
                }
                Ok(_) => answer.push(byte[0]),
                Err(error) => return Err(error.to_string()),
            }
        }
        self.write(b"\n");
        Err("EOF".to_owned())
    }
}
