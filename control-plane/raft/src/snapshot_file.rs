//! Snapshots as plain files: written beside, synced, renamed, directory synced. The newest whole one counts.
//!
//! The same form lies in the data directory, travels between servers and is what an operator saves. Layout: 7 bytes
//! magic and one digit for the form, 4 bytes length of the head, the head, 8 bytes length of the body, the body (the
//! state's own encoded form, then what a restore under way has brought so far), SHA-256 of all before. Numbers are big
//! endian. Form 1 ended with the body and had no length and no digest; it is still read.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use drover_state::image;
use ring::digest::{Context, SHA256};

use crate::codec::{self, SnapshotRecord};
use crate::types::Digest;

const MAGIC: &[u8; 7] = b"drvsnap";
/// The form this code writes. It reads all forms up to it.
pub const FORM: u8 = 2;
/// The longest head; a region has a handful of servers.
const HEAD_BYTES_MAX: usize = 1 << 20;
/// The longest snapshot that is taken from anybody. A state lives in memory; this is more than any machine gives it.
pub const SNAPSHOT_BYTES_MAX: u64 = 64 << 30;
/// How much is read at once.
const READ_BYTES: usize = 1 << 20;
const PREFIX_BYTES: usize = 8 + 4;
/// How often a snapshot is looked for anew when it was replaced while it was opened.
const OPEN_ATTEMPTS_MAX: usize = 10;
const DIGEST_BYTES: usize = 32;

/// Why a file is not taken as a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It can't be read or written.
    #[error("snapshot can't be read or written")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("this is not a snapshot of a drover region")]
    Other,
    /// A later drover wrote it.
    #[error("snapshot has form {found}, this drover reads up to form {FORM}")]
    Newer {
        /// The form it says.
        found: u8,
    },
    /// Its end is missing.
    #[error("snapshot is cut short: {found} of {expected} bytes")]
    CutShort {
        /// Its length.
        found: u64,
        /// What its head says.
        expected: u64,
    },
    /// Its bytes are not those that were written.
    #[error("snapshot is damaged: its digest differs")]
    Digest,
    /// Its head can't be read.
    #[error("snapshot is damaged: {reason}")]
    Head {
        /// Why.
        reason: String,
    },
    /// The state in it can't be read.
    #[error("snapshot holds no state that this drover reads")]
    State(#[source] drover_state::image::DecodeError),
}

impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Io(error) => error,
            SnapshotError::State(source) => io::Error::new(
                io::ErrorKind::InvalidData,
                format!("snapshot holds a state of another drover: {source}"),
            ),
            other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
        }
    }
}

/// An open snapshot. Its digest has not been looked at.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    file: Arc<File>,
    form: u8,
    len: u64,
    record: SnapshotRecord,
    body_at: u64,
    body_len: u64,
}

impl SnapshotFile {
    /// Reads what stands before the body, and checks lengths.
    pub fn from_file(file: File) -> Result<Self, SnapshotError> {
        let len = file.metadata()?.len();
        let mut prefix = [0; PREFIX_BYTES];
        if len < PREFIX_BYTES as u64 {
            let mut begin = vec![0; len as usize];
            file.read_exact_at(&mut begin, 0)?;
            let is_begin = !begin.is_empty() && begin.iter().zip(MAGIC).all(|(a, b)| a == b);
            let cut = SnapshotError::CutShort { found: len, expected: PREFIX_BYTES as u64 };
            return Err(if is_begin { cut } else { SnapshotError::Other });
        }
        file.read_exact_at(&mut prefix, 0)?;
        let form = match prefix.strip_prefix(MAGIC) {
            Some([digit @ b'1'..=b'9', ..]) => digit - b'0',
            _ => return Err(SnapshotError::Other),
        };
        if form > FORM {
            return Err(SnapshotError::Newer { found: form });
        }
        let head_len = u32::from_be_bytes([prefix[8], prefix[9], prefix[10], prefix[11]]) as usize;
        if head_len > HEAD_BYTES_MAX {
            return Err(SnapshotError::Head { reason: format!("a head of {head_len} bytes") });
        }
        let numbers = if form == 1 { 0 } else { 8 };
        let body_at = (PREFIX_BYTES + head_len + numbers) as u64;
        if len < body_at {
            return Err(SnapshotError::CutShort { found: len, expected: body_at });
        }
        let mut head = vec![0; head_len];
        file.read_exact_at(&mut head, PREFIX_BYTES as u64)?;
        let body_len = if form == 1 {
            len - body_at
        } else {
            let mut number = [0; 8];
            file.read_exact_at(&mut number, body_at - 8)?;
            let body_len = u64::from_be_bytes(number);
            let expected = body_at.saturating_add(body_len).saturating_add(DIGEST_BYTES as u64);
            if len < expected {
                return Err(SnapshotError::CutShort { found: len, expected });
            }
            if len > expected {
                return Err(SnapshotError::Digest);
            }
            body_len
        };
        let record = codec::decode_snapshot_record(&head).map_err(|e| SnapshotError::Head { reason: e.to_string() })?;
        if record.staged_len() > body_len {
            return Err(SnapshotError::Head { reason: "it says more of a restore than there is".to_owned() });
        }
        Ok(Self { file: Arc::new(file), form, len, record, body_at, body_len })
    }

    /// Opens the file at a path.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        Self::from_file(File::open(path)?)
    }

    /// What the head says.
    pub fn record(&self) -> &SnapshotRecord {
        &self.record
    }

    /// The version of the form that the state in it has; none when it is no state at all.
    pub fn image_version(&self) -> io::Result<Option<u8>> {
        let mut begin = [0; image::BEGIN_BYTES];
        if self.body_len - self.record.staged_len() < begin.len() as u64 {
            return Ok(None);
        }
        self.file.read_exact_at(&mut begin, self.body_at)?;
        Ok(image::version(&begin))
    }

    /// The whole length, in bytes.
    pub fn file_len(&self) -> u64 {
        self.len
    }

    /// True when it ends with a digest: only then can another server check it.
    pub fn has_digest(&self) -> bool {
        self.form > 1
    }

    /// The digest at its end, as it is written there.
    pub fn digest(&self) -> Result<Digest, SnapshotError> {
        let mut digest = [0; DIGEST_BYTES];
        if self.has_digest() {
            self.file.read_exact_at(&mut digest, self.len - DIGEST_BYTES as u64)?;
        }
        Ok(digest)
    }

    /// The bytes from `offset` on, at most one piece of them; empty at the end.
    pub fn piece(&self, offset: u64) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; (self.len.saturating_sub(offset)).min(READ_BYTES as u64) as usize];
        self.file.read_exact_at(&mut piece, offset)?;
        Ok(piece)
    }

    /// Reads it all and compares the digest.
    pub fn verify(&self) -> Result<(), SnapshotError> {
        if !self.has_digest() {
            return Ok(());
        }
        let end = self.len - DIGEST_BYTES as u64;
        let mut context = Context::new(&SHA256);
        let mut at = 0;
        while at < end {
            let mut piece = vec![0; (end - at).min(READ_BYTES as u64) as usize];
            self.file.read_exact_at(&mut piece, at)?;
            context.update(&piece);
            at += piece.len() as u64;
        }
        if context.finish().as_ref() == self.digest()? { Ok(()) } else { Err(SnapshotError::Digest) }
    }

    /// The encoded state, and what a restore under way had brought.
    pub fn body(&self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let mut state = vec![0; (self.body_len - self.record.staged_len()) as usize];
        self.file.read_exact_at(&mut state, self.body_at)?;
        let mut staged = vec![0; self.record.staged_len() as usize];
        self.file.read_exact_at(&mut staged, self.body_at + state.len() as u64)?;
        Ok((state, staged))
    }
}

/// Writes a snapshot to an open file, synced. The encoded state comes in parts that follow each other.
pub fn write<'a>(
    file: &mut File,
    record: &SnapshotRecord,
    state: &[Vec<u8>],
    staged: impl Iterator<Item = &'a [u8]>,
) -> io::Result<()> {
    let head = codec::encode_snapshot_record(record);
    let body_len = state.iter().map(|part| part.len() as u64).sum::<u64>() + record.staged_len();
    let mut context = Context::new(&SHA256);
    let mut put = |bytes: &[u8]| {
        context.update(bytes);
        file.write_all(bytes)
    };
    put(MAGIC)?;
    put(&[b'0' + FORM])?;
    put(&(head.len() as u32).to_be_bytes())?;
    put(&head)?;
    put(&body_len.to_be_bytes())?;
    for part in state {
        put(part)?;
    }
    for part in staged {
        put(part)?;
    }
    file.write_all(context.finish().as_ref())?;
    file.sync_all()
}

/// Where the snapshot of an index lies.
fn path_of(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("{index:020}.snapshot"))
}

/// Writes a snapshot and makes it the newest. Removes older ones, and what a death in the middle of writing one left.
pub fn save<'a>(
    dir: &Path,
    record: &SnapshotRecord,
    state: &[Vec<u8>],
    staged: impl Iterator<Item = &'a [u8]>,
) -> Result<SnapshotFile, SnapshotError> {
    fs::create_dir_all(dir)?;
    let path = path_of(dir, record.index());
    let beside = path.with_extension("new");
    write(&mut File::create(&beside)?, record, state, staged)?;
    adopt(dir, &beside, record.index())
}

/// Makes a synced file in `dir` the snapshot of its index.
pub fn adopt(dir: &Path, beside: &Path, index: u64) -> Result<SnapshotFile, SnapshotError> {
    let path = path_of(dir, index);
    // Opened first: one that is newer still may come to take its place at any moment.
    let file = SnapshotFile::open(beside)?;
    fs::rename(beside, &path)?;
    File::open(dir)?.sync_all()?;
    for older in list(dir)?.into_iter().filter(|other| *other < path) {
        match fs::remove_file(older) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(file)
}

/// Opens the newest snapshot, if there is one.
pub fn newest(dir: &Path) -> io::Result<Option<SnapshotFile>> {
    let mut attempts = 0;
    loop {
        let Some(path) = list(dir)?.pop() else { return Ok(None) };
        attempts += 1;
        match SnapshotFile::open(&path) {
            // A newer one took its place since the directory was read.
            Err(SnapshotError::Io(error))
                if error.kind() == io::ErrorKind::NotFound && attempts < OPEN_ATTEMPTS_MAX => {}
            opened => return opened.map(Some).map_err(|e| at(&path, e)),
        }
    }
}

/// Opens the newest snapshot at a start: what a death left half written goes, and the digest must hold.
pub fn load(dir: &Path) -> io::Result<Option<SnapshotFile>> {
    for entry in read_dir(dir)? {
        if entry.extension().is_some_and(|extension| extension == "new") {
            fs::remove_file(entry)?;
        }
    }
    let Some(path) = list(dir)?.pop() else { return Ok(None) };
    let opened = SnapshotFile::open(&path).and_then(|file| file.verify().map(|()| file));
    opened.map(Some).map_err(|e| at(&path, e))
}

/// Says where it happened.
pub fn at(path: &Path, error: SnapshotError) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn read_dir(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
    }
}

fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = read_dir(dir)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "snapshot"));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LogId;

    fn record(index: u64) -> SnapshotRecord {
        codec::snapshot_record(Some(&LogId::new_term_index(1, index)), &Default::default())
    }

    fn save_one(dir: &Path, index: u64, state: &[u8]) -> SnapshotFile {
        save(dir, &record(index), &[state.to_vec()], std::iter::empty()).unwrap()
    }

    #[test]
    fn the_newest_counts_and_a_late_older_one_does_not_take_its_place() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("left.new"), b"half").unwrap();
        save_one(dir.path(), 5, b"five");
        save_one(dir.path(), 9, b"nine");
        save_one(dir.path(), 7, b"seven");
        let newest = load(dir.path()).unwrap().unwrap();
        assert_eq!((newest.record(), newest.body().unwrap().0), (&record(9), b"nine".to_vec()));
        assert!(!dir.path().join("left.new").exists());
        assert_eq!(list(dir.path()).unwrap().len(), 2);
    }

    #[test]
    fn what_is_not_whole_is_refused_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        save_one(dir.path(), 5, b"the state");
        let whole = fs::read(list(dir.path()).unwrap().pop().unwrap()).unwrap();
        let check = |bytes: &[u8], expected: &str| {
            let path = dir.path().join("given");
            fs::write(&path, bytes).unwrap();
            let error = SnapshotFile::open(&path).and_then(|file| file.verify()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        for cut in 1..whole.len() {
            check(&whole[..cut], "snapshot is cut short");
        }
        check(b"", "this is not a snapshot");
        check(b"PK", "this is not a snapshot");
        check(&[whole.as_slice(), b"x"].concat(), "snapshot is damaged");
        let mut newer = whole.clone();
        newer[7] = b'3';
        check(&newer, "snapshot has form 3, this drover reads up to form 2");
        for flipped in 12..whole.len() {
            let mut bytes = whole.clone();
            bytes[flipped] ^= 0x20;
            check(&bytes, "snapshot");
        }
    }

    #[test]
    fn the_first_form_is_still_read() {
        let dir = tempfile::tempdir().unwrap();
        let head = codec::encode_snapshot_record(&record(3));
        let mut bytes = b"drvsnap1".to_vec();
        bytes.extend((head.len() as u32).to_be_bytes());
        bytes.extend(&head);
        bytes.extend(b"old");
        fs::write(dir.path().join("3.snapshot"), bytes).unwrap();
        let read = load(dir.path()).unwrap().unwrap();
        assert_eq!((read.record().index(), read.body().unwrap().0), (3, b"old".to_vec()));
        assert!(!read.has_digest());
    }
}
