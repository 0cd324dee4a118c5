//! What is known of a task besides its descriptors: enough for another supervisor to take it over.
//!
//! A copy is kept by the agent, beside copies of the descriptors, and one as a file per task beside the socket, for the case
//! that agent and supervisor go at once. A record of another boot is void.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, openat, renameat, renameat_with, unlinkat};
use serde::{Deserialize, Serialize};

use crate::protocol::{Exit, Started};
use crate::spec::LogSpec;
use crate::sys::RawExit;

/// Version of the form of records and of what one supervisor hands to the next.
pub(crate) const VERSION: u16 = 1;
/// Longest record, in bytes.
pub(crate) const RECORD_BYTES_MAX: usize = 64 << 10;

/// A record that is being written; no task's escaped name begins with a dot.
const NEW: &CStr = c".new";

/// One task as another supervisor would need it. Fields that are added have defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub(crate) version: u16,
    pub(crate) boot_id: String,
    pub(crate) task_id: String,
    pub(crate) started: Option<Started>,
    pub(crate) has_cgroup: bool,
    pub(crate) is_contained: bool,
    /// Standard output and standard error.
    pub(crate) logs: [Option<RecordedLog>; 2],
    /// How its main process ended, where that is known and the rest is not over yet.
    pub(crate) ended: Option<(RawExit, SystemTime)>,
    /// How it ended.
    pub(crate) exit: Option<Exit>,
    pub(crate) log_bytes_dropped: u64,
}

/// One log of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedLog {
    pub(crate) spec: LogSpec,
    /// The pipe's inode, by which it is found among the descriptors of the task's processes.
    pub(crate) pipe_inode: u64,
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).unwrap_or_default()
    }

    /// None for what is no record, or one of a version that is not read.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Record> {
        let record: Record = rmp_serde::from_slice(bytes).ok()?;
        (record.version == VERSION && !record.task_id.is_empty()).then_some(record)
    }
}

/// The boot that this process runs in.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The records of this boot in a directory. Those of earlier ones go: nobody would ever take them away.
pub(crate) fn read_all(dir: &Path) -> Vec<Record> {
    read_of(dir, &boot_id())
}

fn read_of(dir: &Path, boot_id: &str) -> Vec<Record> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let is_of_now = |path: &Path, record: &Record| {
        let is_of_now = record.boot_id == boot_id;
        // A boot that could not be told, now or then, is not an earlier one for that.
        if !is_of_now && !boot_id.is_empty() && !record.boot_id.is_empty() {
            let _ = std::fs::remove_file(path);
        }
        is_of_now
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes() != NEW.to_bytes())
        .filter(|entry| entry.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= RECORD_BYTES_MAX as u64))
        .map(|entry| entry.path())
        .filter_map(|path| Record::decode(&std::fs::read(&path).ok()?).filter(|record| is_of_now(&path, record)))
        .collect()
}

/// A record on its way to the disk, done by the thread that may wait for one.
#[derive(Debug)]
pub(crate) struct RecordFile {
    /// The task's number, by which it is told that this is stored.
    pub(crate) number: u64,
    pub(crate) name: CString,
    /// None removes it.
    pub(crate) data: Option<Vec<u8>>,
}

impl RecordFile {
    /// Writes or removes it. Allocates nothing; what the disk refuses is of use only after a double death.
    pub(crate) fn store(&self, dir: &OwnedFd) {
        let Some(data) = &self.data else {
            let _ = unlinkat(dir, self.name.as_c_str(), AtFlags::empty());
            return;
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Under another name first: whoever is killed in between leaves the old one whole.
        if let Ok(file) = openat(dir, NEW, flags, Mode::from_raw_mode(0o600))
            && rustix::io::write(&file, data) == Ok(data.len())
        {
            // A file that takes the place of another one is sent to the disk at once; of two that change places neither is.
            match renameat_with(dir, NEW, dir, self.name.as_c_str(), RenameFlags::EXCHANGE) {
                Ok(()) => drop(unlinkat(dir, NEW, AtFlags::empty())),
                // There is none yet, or the file system can't do it.
                Err(_) => drop(renameat(dir, NEW, dir, self.name.as_c_str())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_others_do_not() {
        let record = Record { version: VERSION, boot_id: boot_id(), task_id: "a.t".into(), ..Record::default() };
        assert_eq!(Record::decode(&record.encode()), Some(record.clone()));
        let later = Record { version: VERSION + 1, ..record.clone() };
        assert_eq!(Record::decode(&later.encode()), None);
        assert_eq!(Record::decode(b"\x81\xa7version\x01"), None, "a record without a task");
        // Written before a field was there.
        let old = b"\x83\xa7version\x01\xa7task_id\xa1x\xa7boot_id\xa1b";
        assert_eq!(Record::decode(old).map(|record| record.task_id), Some("x".to_owned()));
        let dir = tempfile::tempdir().unwrap();
        let held = crate::held_dir::open(dir.path()).unwrap();
        let other_boot = Record { boot_id: "other".into(), task_id: "b.t".into(), ..record.clone() };
        for (name, of) in [(c"a", &record), (c"b", &other_boot)] {
            RecordFile { number: 1, name: name.into(), data: Some(of.encode()) }.store(&held);
        }
        let unknown_boot = Record { boot_id: String::new(), task_id: "d.t".into(), ..record.clone() };
        RecordFile { number: 1, name: c"d".into(), data: Some(unknown_boot.encode()) }.store(&held);
        std::fs::write(dir.path().join("c"), "torn").unwrap();
        assert_eq!(read_of(dir.path(), ""), vec![unknown_boot], "which boot this is can't be told");
        assert_eq!(["a", "b", "d"].map(|name| dir.path().join(name).exists()), [true; 3]);
        assert_eq!(read_all(dir.path()), vec![record]);
        assert_eq!(["a", "b", "c", "d"].map(|name| dir.path().join(name).exists()), [true, false, true, true]);
        RecordFile { number: 1, name: c"a".into(), data: None }.store(&held);
        assert_eq!(read_all(dir.path()), vec![]);
    }
}
