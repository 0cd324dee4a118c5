//! One rotated log: `<prefix>.<n>` in a directory, n rising; a new file when the size is reached, the oldest deleted.
//!
//! The directory is shared with the task, which may plant links or fifos in it: files are opened below a held
//! directory, without following links, and only a plain file with one name is appended to.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, unlinkat};

use crate::held_dir;
use crate::spec::LogSpec;

/// The writing end of one log.
#[derive(Debug)]
pub(crate) struct LogFile {
    dir: OwnedFd,
    prefix: String,
    files_max: u64,
    bytes_max: u64,
    index: u64,
    file: File,
    size: u64,
    /// Bytes that could not be written and were discarded.
    pub(crate) dropped: u64,
}

impl LogFile {
    /// Opens the log, going on with its highest number.
    pub(crate) fn open(spec: &LogSpec) -> io::Result<LogFile> {
        let dir = held_dir::make(&spec.dir)?;
        let mut indexes = existing(&dir, &spec.prefix)?;
        indexes.sort_unstable();
        let newest = indexes.last().copied().unwrap_or(0);
        let (index, file, size) = match append_to(&dir, &spec.prefix, newest) {
            Some((file, size)) => (newest, file, size),
            None if indexes.is_empty() => (0, create(&dir, &spec.prefix, 0)?, 0),
            None => (newest.saturating_add(1), create(&dir, &spec.prefix, newest.saturating_add(1))?, 0),
        };
        let log = LogFile {
            dir,
            prefix: spec.prefix.clone(),
            files_max: u64::from(spec.max_files.max(1)),
            bytes_max: if spec.max_file_size_bytes == 0 { u64::MAX } else { spec.max_file_size_bytes },
            index,
            file,
            size,
            dropped: 0,
        };
        for old in indexes.into_iter().filter(|old| old.saturating_add(log.files_max) <= index) {
            let _ = unlinkat(&log.dir, name(&log.prefix, old), AtFlags::empty());
        }
        Ok(log)
    }

    /// Appends. What the disk refuses is discarded and counted: a full disk must not stop the task.
    pub(crate) fn write(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.size >= self.bytes_max && self.rotate().is_err() {
                self.dropped = self.dropped.saturating_add(data.len() as u64);
                return;
            }
            let room = usize::try_from(self.bytes_max - self.size).unwrap_or(usize::MAX).min(data.len());
            match self.file.write(data.get(..room).unwrap_or(data)) {
                Ok(0) => {
                    self.dropped = self.dropped.saturating_add(data.len() as u64);
                    return;
                }
                Ok(written) => {
                    self.size += written as u64;
                    data = data.get(written..).unwrap_or(&[]);
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.dropped = self.dropped.saturating_add(data.len() as u64);
                    return;
                }
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let next = self.index.saturating_add(1);
        self.file = create(&self.dir, &self.prefix, next)?;
        (self.index, self.size) = (next, 0);
        if let Some(oldest) = next.checked_sub(self.files_max) {
            let _ = unlinkat(&self.dir, name(&self.prefix, oldest), AtFlags::empty());
        }
        Ok(())
    }
}

fn name(prefix: &str, index: u64) -> String {
    format!("{prefix}.{index}")
}

/// The numbers of a log's files.
fn existing(dir: &OwnedFd, prefix: &str) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let digits = entry.file_name().to_str().ok().and_then(|name| name.strip_prefix(prefix)?.strip_prefix('.'));
        found.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    Ok(found)
}

fn append_to(dir: &OwnedFd, prefix: &str, index: u64) -> Option<(File, u64)> {
    // Without NONBLOCK a fifo without a reader would hold up the supervisor.
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = openat(dir, name(prefix, index), flags, Mode::empty()).ok()?;
    let stat = fstat(&fd).ok()?;
    let is_plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1;
    is_plain.then(|| (File::from(fd), u64::try_from(stat.st_size).unwrap_or(0)))
}

fn create(dir: &OwnedFd, prefix: &str, index: u64) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    match openat(dir, name(prefix, index), flags, mode) {
        Err(rustix::io::Errno::EXIST) => {
            unlinkat(dir, name(prefix, index), AtFlags::empty())?;
            Ok(File::from(openat(dir, name(prefix, index), flags, mode)?))
        }
        opened => Ok(File::from(opened?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(dir: &std::path::Path) -> String {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                format!("{}={}", entry.file_name().to_string_lossy(), std::fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        names.sort();
        names.join(" ")
    }

    fn spec(dir: &std::path::Path) -> LogSpec {
        LogSpec { dir: dir.to_owned(), prefix: "web.stdout".to_owned(), max_files: 2, max_file_size_bytes: 4 }
    }

    #[test]
    fn files_rotate_and_a_later_log_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let check = |data: &str, expected: &str| {
            LogFile::open(&spec(dir.path())).unwrap().write(data.as_bytes());
            assert_eq!(listing(dir.path()), expected);
        };
        check("", "web.stdout.0=");
        check("abc", "web.stdout.0=abc");
        check("de", "web.stdout.0=abcd web.stdout.1=e");
        check("fghijk", "web.stdout.1=efgh web.stdout.2=ijk");
        check("0123456789", "web.stdout.4=5678 web.stdout.5=9");
    }

    #[test]
    fn planted_links_and_fifos_are_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let victim = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::symlink(victim.path(), dir.path().join("web.stdout.0")).unwrap();
        LogFile::open(&spec(dir.path())).unwrap().write(b"x");
        assert_eq!(std::fs::read_to_string(dir.path().join("web.stdout.1")).unwrap(), "x");

        let fifo = dir.path().join("web.stdout.2");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        LogFile::open(&spec(dir.path())).unwrap().write(b"y");
        assert_eq!(std::fs::read_to_string(dir.path().join("web.stdout.3")).unwrap(), "y");
        std::os::unix::fs::symlink(dir.path(), dir.path().join("logs")).unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let below = LogSpec { dir: dir.path().join("logs"), ..spec(dir.path()) };
        assert!(LogFile::open(&below).is_err(), "a planted link in place of the directory");
        std::fs::hard_link(victim.path(), dir.path().join("web.stdout.9")).unwrap();
        LogFile::open(&spec(dir.path())).unwrap().write(b"z");
        assert_eq!(std::fs::read_to_string(victim.path()).unwrap(), "");
    }
}
