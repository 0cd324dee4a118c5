//! A task's log as one text over its rotated files: `<dir>/<task>.<stream>.<n>`, n rising.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use drover_runner::drivers::held_dir;

/// One stream of a task's output.
#[derive(Clone, Debug)]
pub struct LogFiles {
    dir: PathBuf,
    prefix: String,
}

/// A place in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPlace {
    /// The number of the file.
    pub file: u64,
    /// Bytes from its start.
    pub offset: u64,
}

/// What was read at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPiece {
    /// The bytes; never empty.
    pub data: Vec<u8>,
    /// The file's name.
    pub file: String,
    /// Where they end.
    pub end: LogPlace,
}

impl LogFiles {
    /// The files of that stream (`stdout` or `stderr`) in a directory of logs.
    pub fn new(dir: &Path, task: &str, stream: &str) -> LogFiles {
        LogFiles { dir: dir.to_owned(), prefix: format!("{task}.{stream}.") }
    }

    /// Numbers and sizes of the files there are, in order.
    pub fn list(&self) -> Vec<(u64, u64)> {
        // A task may have put a link in the place of the directory, or of anything in it.
        let Ok(dir) = held_dir::open(&self.dir) else { return Vec::new() };
        let Ok(entries) = std::fs::read_dir(proc_path(&dir)) else { return Vec::new() };
        let mut found: Vec<(u64, u64)> = entries
            .flatten()
            .filter_map(|entry| {
                let number = entry.file_name().to_str()?.strip_prefix(&self.prefix)?.parse().ok()?;
                let meta = entry.metadata().ok().filter(|meta| meta.is_file())?;
                Some((number, meta.len()))
            })
            .collect();
        found.sort_unstable();
        found
    }

    /// The place so many bytes after the start, or before the end, of what is there. None when nothing is.
    pub fn place(&self, offset: u64, from_end: bool) -> Option<LogPlace> {
        let files = self.list();
        let total: u64 = files.iter().map(|(_, len)| len).sum();
        let mut left = if from_end { total.saturating_sub(offset) } else { offset };
        let last = *files.last()?;
        for (file, len) in files {
            if left < len || file == last.0 {
                return Some(LogPlace { file, offset: left.min(len) });
            }
            left -= len;
        }
        None
    }

    /// What stands at that place, at most `bytes_max` bytes; none at the end of what is there. Goes on to the next file where
    /// one ends, and to the first there is where the place's file is gone.
    pub fn read(&self, place: LogPlace, bytes_max: usize) -> io::Result<Option<LogPiece>> {
        let mut place = place;
        loop {
            if let Some(piece) = self.read_one(place, bytes_max)? {
                return Ok(Some(piece));
            }
            let Some((next, _)) = self.list().into_iter().find(|(number, _)| *number > place.file) else {
                return Ok(None);
            };
            // The file may have got its last bytes between the read above and the birth of the next one.
            if let Some(piece) = self.read_one(place, bytes_max)? {
                return Ok(Some(piece));
            }
            place = LogPlace { file: next, offset: 0 };
        }
    }

    fn read_one(&self, place: LogPlace, bytes_max: usize) -> io::Result<Option<LogPiece>> {
        let name = format!("{}{}", self.prefix, place.file);
        // A task may write to its log directory: nothing but a plain file is read there, and no link is followed.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let opened = held_dir::open(&self.dir).and_then(|dir| {
            File::options().read(true).custom_flags(flags.bits() as i32).open(proc_path(&dir).join(&name))
        });
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let meta = file.metadata()?;
        let left = meta.len().saturating_sub(place.offset).min(bytes_max as u64);
        // One with a second name is not the supervisor's.
        if !meta.is_file() || meta.nlink() > 1 || left == 0 {
            return Ok(None);
        }
        let mut data = vec![0; usize::try_from(left).unwrap_or(bytes_max)];
        let len = file.read_at(&mut data, place.offset)?;
        data.truncate(len);
        if data.is_empty() {
            return Ok(None);
        }
        let end = LogPlace { file: place.file, offset: place.offset + len as u64 };
        Ok(Some(LogPiece { data, file: name, end }))
    }
}

/// A held directory as a path.
pub fn proc_path(dir: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::atomic::{AtomicBool, AtomicU32};

    use super::*;

    fn all(files: &LogFiles, mut place: LogPlace) -> String {
        let mut text = Vec::new();
        while let Some(piece) = files.read(place, 3).unwrap() {
            text.extend(piece.data);
            place = piece.end;
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_directory_of_logs_that_is_swapped_leads_nowhere() {
        let base = tempfile::tempdir().unwrap();
        let (alloc, outside) = (base.path().join("alloc"), base.path().join("outside"));
        let (logs, kept, link) = (alloc.join("logs"), alloc.join("kept"), alloc.join("link"));
        std::fs::create_dir_all(&logs).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(logs.join("t.stdout.0"), "inside").unwrap();
        std::fs::write(outside.join("t.stdout.0"), "OUTSIDE").unwrap();
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        let (stop, swaps) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Bounded: nobody stops it where an assertion below fails.
                while swaps.load(Relaxed) < 1_000_000 && !stop.load(Relaxed) {
                    std::fs::rename(&logs, &kept).unwrap();
                    std::fs::rename(&link, &logs).unwrap();
                    std::fs::rename(&logs, &link).unwrap();
                    std::fs::rename(&kept, &logs).unwrap();
                    swaps.fetch_add(1, Relaxed);
                }
            });
            let files = LogFiles::new(&logs, "t", "stdout");
            let (mut looks, mut seen) = (0, 0);
            // More where the other thread has not had its turn yet.
            while looks < 10_000 || (looks < 1_000_000 && (seen == 0 || swaps.load(Relaxed) <= 100)) {
                looks += 1;
                assert!(files.list().iter().all(|file| *file == (0, 6)), "a file of another size was listed");
                if let Ok(Some(piece)) = files.read(LogPlace::default(), 100) {
                    assert_eq!(piece.data, b"inside");
                    seen += 1;
                }
            }
            stop.store(true, Relaxed);
            let swaps = swaps.load(Relaxed);
            assert!(swaps > 100 && seen > 0, "{swaps} swaps, seen {seen} times");
        });
    }

    #[test]
    fn rotated_files_read_as_one_text() {
        let dir = tempfile::tempdir().unwrap();
        let files = LogFiles::new(dir.path(), "t", "stdout");
        assert_eq!(files.place(0, false), None);
        for (name, text) in
            [("t.stdout.2", "hello "), ("t.stdout.10", "world"), ("t.stderr.0", "no"), ("t.stdout.x", "no")]
        {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("t.stdout.11")).unwrap();
        let check = |offset: u64, from_end: bool, expected: &str| {
            assert_eq!(all(&files, files.place(offset, from_end).unwrap()), expected, "{offset} {from_end}");
        };
        check(0, false, "hello world");
        check(6, false, "world");
        check(8, false, "rld");
        check(99, false, "");
        check(3, true, "rld");
        check(99, true, "hello world");
        check(0, true, "");
        // Neither a second name for a file of others nor a link in place of the directory.
        std::fs::write(dir.path().join("others"), "secret").unwrap();
        std::fs::hard_link(dir.path().join("others"), dir.path().join("t.stdout.12")).unwrap();
        assert_eq!(all(&files, LogPlace::default()), "hello world");
        let alloc = tempfile::tempdir().unwrap();
        std::fs::set_permissions(alloc.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        std::os::unix::fs::symlink(dir.path(), alloc.path().join("logs")).unwrap();
        let linked = LogFiles::new(&alloc.path().join("logs"), "t", "stdout");
        assert_eq!((linked.list(), linked.place(0, false)), (vec![], None));
        // A file that was rotated away is passed over.
        assert_eq!(all(&files, LogPlace { file: 0, offset: 5 }), "hello world");
    }
}
