//! Snapshots for operators: one saved to a file, and a file's state brought into a running region.
//!
//! A restore goes through the log in parts, so every server takes it, at the same entry, and one that is away takes it
//! when it comes back. Members, terms and the log itself stay the region's own; indexes go on above both.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use drover_state::{Answer, State};
use openraft::async_runtime::WatchReceiver;

use crate::codec;
use crate::node::RaftNode;
use crate::propose::ProposeError;
use crate::snapshot_file;
use crate::snapshot_file::{SnapshotError, SnapshotFile};
use crate::staged;
use crate::threads::{aside, on_all};
use crate::types::{Digest, LogId, Proposal, RestoreStep};

/// How much of an image one entry carries.
const PART_BYTES: usize = 1 << 20;

/// What a snapshot file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The greatest index in its state.
    pub index: u64,
    /// The term of its last entry.
    pub term: u64,
    /// Its length, in bytes.
    pub len: u64,
    /// SHA-256 over all that stands before it, as it is at the end of the file.
    pub digest: Digest,
    /// When it was made, in milliseconds since 1970; 0 when it does not say.
    pub at_ms: u64,
}

impl SnapshotInfo {
    fn of(file: &SnapshotFile) -> Result<Self, SnapshotError> {
        let record = file.record();
        Ok(Self {
            index: record.index() + record.index_offset,
            term: record.term(),
            len: file.file_len(),
            digest: file.digest()?,
            at_ms: record.at_ms,
        })
    }
}

/// Why a state was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file is not taken. Nothing was changed.
    #[error(transparent)]
    File(#[from] SnapshotError),
    /// The log did not take it.
    #[error(transparent)]
    Log(#[from] ProposeError),
    /// The region did not take it.
    #[error("restore was refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}

/// Reads a snapshot file whole, checks it, and gives what it says and the state in it. Blocks.
///
/// # Errors
/// It is no snapshot, is cut short, damaged or of a newer drover.
pub fn read_snapshot(file: File) -> Result<(SnapshotInfo, State), SnapshotError> {
    let (info, image) = read_image(file)?;
    Ok((info, State::decode_with(&image, &on_all).map_err(SnapshotError::State)?))
}

/// Writes a state to an empty file as a snapshot that a region can restore, synced. `at_ms` is when, in milliseconds since
/// 1970. Blocks.
///
/// # Errors
/// The disk does not take it.
pub fn write_snapshot(file: &mut File, state: &State, at_ms: u64) -> Result<SnapshotInfo, SnapshotError> {
    let last = LogId::new_term_index(1, state.index());
    let mut record = codec::snapshot_record(Some(&last), &Default::default());
    record.at_ms = at_ms;
    snapshot_file::write(file, &record, &state.encode_with(&on_all), std::iter::empty())?;
    SnapshotInfo::of(&SnapshotFile::from_file(file.try_clone()?)?)
}

/// Reads a snapshot file whole and checks it, as [`read_snapshot`] does, but keeps nothing of its state. Blocks.
///
/// # Errors
/// As [`read_snapshot`].
pub fn check_snapshot(file: File) -> Result<SnapshotInfo, SnapshotError> {
    let (info, image) = read_image(file)?;
    State::check(&image, &on_all).map_err(SnapshotError::State)?;
    Ok(info)
}

fn read_image(file: File) -> Result<(SnapshotInfo, Vec<u8>), SnapshotError> {
    let file = SnapshotFile::from_file(file)?;
    file.verify()?;
    let image = file.body()?.0;
    Ok((SnapshotInfo::of(&file)?, image))
}

impl RaftNode {
    /// Writes the state as it is on this server now to a file without a name; it is gone when it is closed. For a state
    /// that is surely the newest call [`Self::read_barrier`] first.
    ///
    /// # Errors
    /// The disk does not take it.
    pub async fn snapshot_now(&self) -> Result<(SnapshotInfo, File), SnapshotError> {
        let (captured, dir) = (self.capture(), self.snapshot_dir());
        let written = aside(move || {
            let path = dir.join(format!("save-{:016x}.new", unique()));
            let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
            let written = captured.write(&mut file);
            std::fs::remove_file(&path)?;
            written?;
            Ok((file.try_clone()?, SnapshotFile::from_file(file)?))
        });
        let (file, snapshot) = written.await?;
        Ok((SnapshotInfo::of(&snapshot)?, file))
    }

    /// Brings the state of a snapshot file into the region, in the place of the one it has. The file is read and checked
    /// whole before anything is changed. Returns when this server has applied it.
    ///
    /// # Errors
    /// The file is not taken, this server does not lead, another restore began meanwhile, or raft has stopped.
    pub async fn restore(&self, file: File) -> Result<SnapshotInfo, RestoreError> {
        let checked = tokio::task::spawn_blocking(move || {
            let (info, image) = read_image(file)?;
            let state = State::decode_with(&image, &on_all).map_err(SnapshotError::State)?;
            let digest = staged::digest(&image);
            Ok::<_, SnapshotError>((info, image, digest, state))
        });
        let (info, image, digest, state) = checked.await.map_err(|e| SnapshotError::Io(io::Error::other(e)))??;
        self.machine().keep_read(Some((digest, state)));
        let restored = self.restore_image(&image, digest, info.index).await;
        self.machine().keep_read(None);
        restored?;
        // The parts need not stay in the log for long.
        if let Err(error) = self.raft().trigger().snapshot().await {
            tracing::warn!(%error, "no snapshot after a restore");
        }
        Ok(info)
    }

    async fn restore_image(&self, image: &[u8], digest: Digest, index: u64) -> Result<(), RestoreError> {
        let begin = RestoreStep::Begin { len: image.len() as u64, digest, index };
        let begun = self.step(begin).await?;
        for part in image.chunks(PART_BYTES) {
            self.step(RestoreStep::Part { begun, bytes: part.into() }).await?;
        }
        self.step(RestoreStep::Finish { begun }).await.map(drop)
    }

    async fn step(&self, step: RestoreStep) -> Result<u64, RestoreError> {
        let (index, outcome) = self.commit(Proposal::Restore(step)).await?;
        match outcome.answer {
            Answer::Refused(refusal) => Err(RestoreError::Refused { reason: refusal.to_string() }),
            _ => Ok(index),
        }
    }

    /// The log index up to which the newest snapshot on disk goes; 0 when there is none.
    pub fn snapshot_index(&self) -> u64 {
        self.raft().metrics().borrow_watched().snapshot.map_or(0, |id| id.index)
    }
}

/// Another number at each call in this process.
fn unique() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// SHA-256 over a whole file, its own digest at the end included. Blocks.
///
/// # Errors
/// It can't be read.
pub fn file_digest(file: &File) -> io::Result<Digest> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    copy_snapshot(file, &mut Hashing(&mut context))?;
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}

struct Hashing<'a>(&'a mut ring::digest::Context);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies a snapshot file to a writer from its beginning. Blocks.
///
/// # Errors
/// Either does not take it.
pub fn copy_snapshot(file: &File, to: &mut impl io::Write) -> io::Result<u64> {
    let mut at = 0;
    let mut piece = vec![0; PART_BYTES];
    loop {
        match file.read_at(&mut piece, at)? {
            0 => return Ok(at),
            len => {
                to.write_all(&piece[..len])?;
                at += len as u64;
            }
        }
    }
}
