//! Snapshots as plain files: written beside, synced, renamed, directory synced. The newest whole one counts.
//!
//! Layout: 8 bytes magic, 4 bytes length of the head (big endian), the head, the state's own encoded form.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use drover_state::State;

use crate::codec::{self, SnapshotRecord};

const MAGIC: &[u8; 8] = b"drvsnap1";
/// The longest head; a region has a handful of servers.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// Writes a snapshot and removes older ones.
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
    for old in list(dir)? {
        if old != path {
            fs::remove_file(old)?;
        }
    }
    Ok(())
}

/// Reads the newest snapshot, if there is one.
pub fn load(dir: &Path) -> io::Result<Option<(SnapshotRecord, State)>> {
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

fn read(path: &Path) -> io::Result<(SnapshotRecord, State)> {
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
    let state = State::decode(state).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
    Ok((record, state))
}
