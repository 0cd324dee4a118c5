//! What this program does when it is a task of a job under measurement: `drover-bench task …`.

use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

/// The word that makes this program a task.
pub const WORD: &str = "task";
/// Bytes of a block that [`run`] pours. Each begins with its number, so that one that is missing is missed.
pub const BLOCK_BYTES: usize = 64 << 10;

/// The time in nanoseconds since 1970.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// `stamp <lines> <pause ms>`: says what time it is, line by line, and stays. `pour <blocks>`: writes so many blocks as fast as
/// they are taken, and how many nanoseconds that took on standard error.
///
/// # Errors
/// The words mean nothing, or the output is not taken.
pub fn run(words: &[String]) -> anyhow::Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["stamp", lines, pause_ms] => {
            let pause = Duration::from_millis(pause_ms.parse().context("pause")?);
            stamp(lines.parse().context("lines")?, pause)
        }
        ["pour", blocks] => pour(blocks.parse().context("blocks")?),
        _ => bail!("no such deed: {words:?}"),
    }
}

fn stamp(lines: usize, pause: Duration) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    for _ in 0..lines {
        writeln!(output, "{}", now_ns())?;
        output.flush()?;
        std::thread::sleep(pause);
    }
    loop {
        std::thread::park();
    }
}

fn pour(blocks: u64) -> anyhow::Result<()> {
    let mut block = vec![b'.'; BLOCK_BYTES];
    let output = rustix::stdio::stdout();
    let start = Instant::now();
    for number in 0..blocks {
        block[..8].copy_from_slice(&number.to_le_bytes());
        let mut rest = block.as_slice();
        while !rest.is_empty() {
            let written = rustix::io::write(output, rest)?;
            rest = &rest[written..];
        }
    }
    eprintln!("{}", start.elapsed().as_nanos());
    Ok(())
}

/// Looks at what was poured, piece by piece.
#[derive(Default)]
pub struct PouredCheck {
    bytes: u64,
    number: Vec<u8>,
}

impl PouredCheck {
    /// The next bytes of it.
    ///
    /// # Errors
    /// A block is not the one that is due.
    pub fn take(&mut self, mut piece: &[u8]) -> anyhow::Result<()> {
        while !piece.is_empty() {
            let at = (self.bytes % BLOCK_BYTES as u64) as usize;
            let length = if at < 8 { (8 - at).min(piece.len()) } else { (BLOCK_BYTES - at).min(piece.len()) };
            let (head, rest) = piece.split_at(length);
            if at < 8 {
                self.number.extend_from_slice(head);
                if self.number.len() == 8 {
                    let due = self.bytes / BLOCK_BYTES as u64;
                    if self.number != due.to_le_bytes() {
                        bail!("block {due} is not there: {:?}", self.number);
                    }
                    self.number.clear();
                }
            }
            self.bytes += length as u64;
            piece = rest;
        }
        Ok(())
    }

    /// How many bytes there were.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_piece_is_missed() {
        let mut poured = Vec::new();
        for number in 0_u64..3 {
            let start = poured.len();
            poured.resize(start + BLOCK_BYTES, b'.');
            poured[start..start + 8].copy_from_slice(&number.to_le_bytes());
        }
        let check = |bytes: &[u8], pieces: usize| {
            let mut check = PouredCheck::default();
            bytes.chunks(pieces).try_for_each(|piece| check.take(piece)).map(|()| check.bytes())
        };
        for pieces in [3, 1000, BLOCK_BYTES, usize::MAX] {
            assert_eq!(check(&poured, pieces).ok(), Some(poured.len() as u64));
            let short = [&poured[..100], &poured[101..]].concat();
            assert!(check(&short, pieces).is_err());
        }
    }
}
