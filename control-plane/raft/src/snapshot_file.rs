//! Snapshots as plain files: written beside, synced, renamed, directory synced. The newest whole one counts.
//!
//! Layout: 8 bytes magic, 4 bytes length of the head (big endian), the head, the state's own encoded form.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::codec::{self, SnapshotRecord};

const MAGIC: &[u8; 8] = b"drvsnap1";
/// The longest head; a region has a handful of servers.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// A snapshot as it is on disk: its head and the state's encoded form.
pub type Stored = (SnapshotRecord, Vec<u8>);

/// Writes a snapshot and removes older ones, and what a death in the middle of writing one left.
pub fn save(dir: &Path, record: &SnapshotRecord, state: &[u8], index: u64) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let path = dir.join(format!("{index:020}.snapshot"));
    let beside = path.with_extension("new");
    let head = codec::encode_snapshot_record(record);
    let mut file = File::create(&beside)?;
    file.write_all(MAGIC)?;
    file.write_all(&(head.len() as u32).to_be_bytes())?;
    file.write_all(&head)?;
    file.write_all(state)?;
    file.sync_all()?;
    fs::rename(&beside, &path)?;
    File::open(dir)?.sync_all()?;
    for entry in fs::read_dir(dir)? {
        let other = entry?.path();
        let is_left_over = other.extension().is_some_and(|extension| extension == "new");
        let is_older = other.extension().is_some_and(|extension| extension == "snapshot") && other < path;
        if is_left_over || is_older {
            fs::remove_file(other)?;
        }
    }
    Ok(())
}

/// Reads the newest snapshot, if there is one.
pub fn load(dir: &Path) -> io::Result<Option<Stored>> {
    let Some(path) = list(dir)?.pop() else { return Ok(None) };
    read(&path).map(Some).map_err(|e| io::Error::new(e.kind(), format!("snapshot {}: {e}", path.display())))
}

fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(entries) => {
            for entry in entries {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "snapshot") {
                    paths.push(path);
                }
            }
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> io::Result<Stored> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| invalid("not a snapshot"))?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| invalid("cut off"))?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > HEAD_BYTES_MAX || length > rest.len() {
        return Err(invalid("cut off"));
    }
    let (head, state) = rest.split_at(length);
    let record = codec::decode_snapshot_record(head)?;
    let state_at = bytes.len() - state.len();
    bytes.drain(..state_at);
    Ok((record, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_counts_and_a_late_older_one_does_not_take_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let record = SnapshotRecord::default();
        fs::write(dir.path().join("left.new"), b"half").unwrap();
        save(dir.path(), &record, b"five", 5).unwrap();
        save(dir.path(), &record, b"nine", 9).unwrap();
        save(dir.path(), &record, b"seven", 7).unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some((record, b"nine".to_vec())));
        assert!(!dir.path().join("left.new").exists());
        assert_eq!(list(dir.path()).unwrap().len(), 2);
    }
}
