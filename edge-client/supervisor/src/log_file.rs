//! One rotated log: `<prefix>.<n>` in a directory, n rising; a new file when the size is reached, the oldest deleted.
//!
//! The directory is shared with the task, which may plant links or fifos in it: files are opened below a held
//! directory, without following links, and only a plain file with one name is written to.
//!
//! Bytes go from the pipe into the file inside the kernel (splice): a supervisor that is killed at any moment has neither lost
//! nor doubled one. What runs on the log thread allocates nothing (see `log_thread`).

use std::ffi::CStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, unlinkat};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use crate::held_dir;
use crate::spec::LogSpec;

/// Most bytes moved at once.
const PIECE_BYTES_MAX: usize = 64 << 10;
/// Most old files removed at once, where fewer are to be kept than before.
const SURPLUS_MAX: u64 = 1000;
/// A file name's longest form: prefix (200 at the most), point, number, NUL.
const NAME_BYTES_MAX: usize = 256;

/// The writing end of one log.
#[derive(Debug)]
pub(crate) struct LogFile {
    dir: OwnedFd,
    prefix: String,
    files_max: u64,
    bytes_max: u64,
    index: u64,
    /// The file of that index; none before it is first needed.
    file: Option<OwnedFd>,
    /// The lowest number that was there before, as long as nothing of it was looked at.
    oldest: Option<u64>,
    /// Bytes that could not be written and were discarded.
    dropped: Arc<AtomicU64>,
    /// How many of them the log itself tells of.
    told: u64,
}

/// What came of moving bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// So many; there may be more.
    Some(usize),
    /// Nothing is there now.
    Nothing,
    /// Nobody can write any more.
    End,
}

impl LogFile {
    /// Opens the log, going on with its highest number. Nothing is written or opened for that yet: a disk that stalls would keep
    /// the caller.
    pub(crate) fn open(spec: &LogSpec, dropped: Arc<AtomicU64>) -> io::Result<LogFile> {
        let dir = held_dir::make(&spec.dir)?;
        let mut indexes = existing(&dir, &spec.prefix)?;
        indexes.sort_unstable();
        let newest = indexes.last().copied().unwrap_or(0);
        let told = dropped.load(Ordering::Relaxed);
        Ok(LogFile {
            dir,
            prefix: spec.prefix.clone(),
            files_max: u64::from(spec.max_files.max(1)),
            bytes_max: if spec.max_file_size_bytes == 0 { u64::MAX } else { spec.max_file_size_bytes },
            index: newest,
            file: None,
            oldest: indexes.first().copied(),
            dropped,
            told,
        })
    }

    /// Makes the file where there is none, so that an empty log can be told from none.
    pub(crate) fn make_file(&mut self) {
        if let Some(oldest) = self.oldest.take() {
            self.file = open_existing(&self.dir, &self.prefix, self.index);
            if self.file.is_none() {
                self.index = self.index.saturating_add(1);
            }
            let surplus = (self.index + 1).saturating_sub(self.files_max);
            for old in oldest.max(surplus.saturating_sub(SURPLUS_MAX))..surplus {
                remove(&self.dir, &self.prefix, old);
            }
        }
        if self.file.is_none() {
            self.file = create(&self.dir, &self.prefix, self.index).ok();
        }
    }

    /// Moves one piece from the pipe to the end of the log. What the disk refuses is discarded and counted: a full disk must not
    /// stop the task.
    pub(crate) fn take(&mut self, pipe: impl AsFd, buffer: &mut [u8]) -> Moved {
        if self.is_full() {
            // No new file for nothing.
            match what_is_there(&pipe) {
                Moved::Some(_) => {}
                nothing => return nothing,
            }
        }
        let Some(size) = self.tell_of_dropped().and_then(|()| self.room()) else {
            return self.discard(pipe, buffer);
        };
        let Some(file) = &self.file else { return self.discard(pipe, buffer) };
        let room = usize::try_from(self.bytes_max - size).unwrap_or(usize::MAX).min(PIECE_BYTES_MAX);
        let mut end = size;
        match splice(&pipe, None, file, Some(&mut end), room, SpliceFlags::NONBLOCK) {
            Ok(0) => Moved::End,
            Ok(moved) => Moved::Some(moved),
            Err(Errno::AGAIN) => Moved::Nothing,
            Err(Errno::INTR) => Moved::Some(0),
            // A file system without splice.
            Err(Errno::INVAL) => self.copy(pipe, size, buffer.get_mut(..room).unwrap_or_default()),
            Err(_) => self.discard(pipe, buffer),
        }
    }

    fn is_full(&self) -> bool {
        let size = self.file.as_ref().and_then(|file| fstat(file).ok()).map_or(0, |stat| stat.st_size);
        u64::try_from(size).is_ok_and(|size| size >= self.bytes_max)
    }

    /// The end of the file that has room for at least one byte. None when there can be no such file.
    fn room(&mut self) -> Option<u64> {
        self.make_file();
        // Its size is looked at each time: somebody may have emptied it.
        let size = u64::try_from(fstat(self.file.as_ref()?).ok()?.st_size).ok()?;
        if size < self.bytes_max {
            return Some(size);
        }
        let next = self.index.saturating_add(1);
        self.file = Some(create(&self.dir, &self.prefix, next).ok()?);
        self.index = next;
        if let Some(oldest) = next.checked_sub(self.files_max) {
            remove(&self.dir, &self.prefix, oldest);
        }
        Some(0)
    }

    /// Says in the log how much is missing. None when that can't be written either.
    fn tell_of_dropped(&mut self) -> Option<()> {
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped == self.told {
            return Some(());
        }
        let size = self.room()?;
        let mut line = [0; 128];
        let mut rest = line.as_mut_slice();
        let missing = dropped - self.told;
        writeln!(rest, "\ndrover: {missing} bytes of output are missing here: they could not be written").ok()?;
        let length = 128 - rest.len();
        let written = rustix::io::pwrite(self.file.as_ref()?, line.get(..length)?, size).ok()?;
        if written == length {
            self.told = dropped;
        }
        (written == length).then_some(())
    }

    fn copy(&mut self, pipe: impl AsFd, size: u64, buffer: &mut [u8]) -> Moved {
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) => Moved::End,
            Ok(length) => {
                let mut done = 0;
                while let Some(file) = &self.file
                    && let Ok(written @ 1..) =
                        rustix::io::pwrite(file, buffer.get(done..length).unwrap_or_default(), size + done as u64)
                {
                    done += written;
                }
                self.dropped.fetch_add((length - done) as u64, Ordering::Relaxed);
                Moved::Some(length)
            }
            Err(Errno::AGAIN) => Moved::Nothing,
            Err(Errno::INTR) => Moved::Some(0),
            Err(_) => Moved::End,
        }
    }

    fn discard(&self, pipe: impl AsFd, buffer: &mut [u8]) -> Moved {
        match rustix::io::read(pipe, buffer) {
            Ok(0) => Moved::End,
            Ok(length) => {
                self.dropped.fetch_add(length as u64, Ordering::Relaxed);
                Moved::Some(length)
            }
            Err(Errno::AGAIN) => Moved::Nothing,
            Err(Errno::INTR) => Moved::Some(0),
            Err(_) => Moved::End,
        }
    }
}

/// Whether the pipe has bytes, without taking any.
fn what_is_there(pipe: impl AsFd) -> Moved {
    let mut poll = [PollFd::new(&pipe, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut poll, Some(&at_once)) {
        Ok(0) | Err(_) => Moved::Nothing,
        Ok(_) if poll.iter().any(|poll| poll.revents().contains(PollFlags::IN)) => Moved::Some(0),
        Ok(_) => Moved::End,
    }
}

/// Calls `with` with the name of a log's file, without allocating.
fn with_name<T>(prefix: &str, index: u64, with: impl FnOnce(&CStr) -> T) -> io::Result<T> {
    let mut name = [0; NAME_BYTES_MAX];
    write!(name.as_mut_slice(), "{prefix}.{index}\0")?;
    let name = CStr::from_bytes_until_nul(&name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(with(name))
}

fn remove(dir: &OwnedFd, prefix: &str, index: u64) {
    let _ = with_name(prefix, index, |name| unlinkat(dir, name, AtFlags::empty()));
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

fn open_existing(dir: &OwnedFd, prefix: &str, index: u64) -> Option<OwnedFd> {
    // Without NONBLOCK a fifo without a reader would hold up the supervisor.
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = with_name(prefix, index, |name| openat(dir, name, flags, Mode::empty())).ok()?.ok()?;
    let stat = fstat(&fd).ok()?;
    let is_plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1;
    is_plain.then_some(fd)
}

fn create(dir: &OwnedFd, prefix: &str, index: u64) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    with_name(prefix, index, |name| match openat(dir, name, flags, mode) {
        Err(Errno::EXIST) => {
            unlinkat(dir, name, AtFlags::empty())?;
            Ok(openat(dir, name, flags, mode)?)
        }
        opened => Ok(opened?),
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(spec: &LogSpec) -> io::Result<LogFile> {
        LogFile::open(spec, Arc::default())
    }

    /// As the log thread does it with what a task has written.
    fn write(log: &mut LogFile, data: &[u8]) {
        let (read, write) = crate::report::log_pipe().unwrap();
        rustix::io::write(&write, data).unwrap();
        drop(write);
        log.make_file();
        while log.take(&read, &mut [0; 4096]) != Moved::End {}
    }

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
            write(&mut open(&spec(dir.path())).unwrap(), data.as_bytes());
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
        write(&mut open(&spec(dir.path())).unwrap(), b"x");
        assert_eq!(std::fs::read_to_string(dir.path().join("web.stdout.1")).unwrap(), "x");

        let fifo = dir.path().join("web.stdout.2");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        write(&mut open(&spec(dir.path())).unwrap(), b"y");
        assert_eq!(std::fs::read_to_string(dir.path().join("web.stdout.3")).unwrap(), "y");
        std::os::unix::fs::symlink(dir.path(), dir.path().join("logs")).unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let below = LogSpec { dir: dir.path().join("logs"), ..spec(dir.path()) };
        assert!(open(&below).is_err(), "a planted link in place of the directory");
        std::fs::hard_link(victim.path(), dir.path().join("web.stdout.9")).unwrap();
        write(&mut open(&spec(dir.path())).unwrap(), b"z");
        assert_eq!(std::fs::read_to_string(victim.path()).unwrap(), "");
    }
}
