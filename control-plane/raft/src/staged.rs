//! A restore under way: the parts of another state's image, as they come through the log.
//!
//! Each server holds the same parts at the same entry, so they are part of what a snapshot carries. A restore that
//! stopped halfway (its server died) is forgotten after a number of entries, which is the same for all servers too.

use std::sync::Arc;

use ring::digest::{Context, SHA256};

use crate::codec::StagedRecord;
use crate::snapshot_file::SNAPSHOT_BYTES_MAX;
use crate::types::{Digest, RestoreStep};

/// Entries after which a restore that goes no further is forgotten.
const FORGOTTEN_AFTER_ENTRIES: u64 = 50_000;

/// The parts so far.
#[derive(Clone)]
pub struct Staged {
    /// What is known about the whole.
    pub record: StagedRecord,
    parts: Vec<Arc<[u8]>>,
}

/// All that was said has come: if it is what was said, it takes the state's place.
pub struct Complete {
    parts: Vec<Arc<[u8]>>,
    /// The digest of the image, as it was said.
    pub digest: Digest,
    /// The greatest index in it.
    pub index: u64,
}

impl Complete {
    /// The image, or why it is refused. Takes a while.
    pub fn image(&self) -> Result<Vec<u8>, String> {
        let image = self.parts.concat();
        if digest(&image) == self.digest { Ok(image) } else { Err(NOT_WHAT_WAS_SAID.to_owned()) }
    }
}

const NOT_WHAT_WAS_SAID: &str = "what came is not what the restore had said";

/// Takes a step of a restore. Gives what has come at the end, or why the step is refused.
pub fn step(staged: &mut Option<Staged>, at: u64, step: RestoreStep) -> Result<Option<Complete>, String> {
    match step {
        RestoreStep::Begin { len, .. } if len > SNAPSHOT_BYTES_MAX => {
            Err(format!("a state of {len} bytes is over the limit of {SNAPSHOT_BYTES_MAX}"))
        }
        RestoreStep::Begin { len, digest, index } => {
            let record = StagedRecord { begun: at, touched: at, len, digest, index, have: 0 };
            *staged = Some(Staged { record, parts: Vec::new() });
            Ok(None)
        }
        RestoreStep::Part { begun, bytes } => {
            let staged = current(staged, begun)?;
            if staged.record.have + bytes.len() as u64 > staged.record.len {
                return Err("more came than the restore had said".to_owned());
            }
            staged.record.have += bytes.len() as u64;
            staged.record.touched = at;
            staged.parts.push(bytes);
            Ok(None)
        }
        RestoreStep::Finish { begun } => {
            current(staged, begun)?;
            let Some(Staged { record, parts }) = staged.take() else { return Ok(None) };
            if record.have != record.len {
                return Err(NOT_WHAT_WAS_SAID.to_owned());
            }
            Ok(Some(Complete { parts, digest: record.digest, index: record.index }))
        }
    }
}

/// Forgets a restore that goes no further.
pub fn forget_stale(staged: &mut Option<Staged>, at: u64) {
    if staged.as_ref().is_some_and(|staged| at.saturating_sub(staged.record.touched) > FORGOTTEN_AFTER_ENTRIES) {
        *staged = None;
    }
}

fn current(staged: &mut Option<Staged>, begun: u64) -> Result<&mut Staged, String> {
    match staged {
        Some(staged) if staged.record.begun == begun => Ok(staged),
        _ => Err("another restore has taken the place of this one".to_owned()),
    }
}

/// SHA-256 of these bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

impl Staged {
    /// As a snapshot had it.
    pub fn read(record: StagedRecord, bytes: Vec<u8>) -> Self {
        Self { record, parts: vec![bytes.into()] }
    }

    /// The bytes so far.
    pub fn bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(AsRef::as_ref)
    }
}
