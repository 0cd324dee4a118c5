//! What the store writes down: which layers an image has, and that a layer is whole.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::image::ImageConfig;

/// The largest record, in bytes: a configuration and 125 layers fit by far.
const RECORD_BYTES_MAX: u64 = 16 << 20;

/// An image, under the name it was asked for by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    pub(crate) name: String,
    pub(crate) platform: String,
    pub(crate) digest: Digest,
    pub(crate) id: Digest,
    pub(crate) config: ImageConfig,
    pub(crate) layers: Vec<LayerRecord>,
}

/// A layer that is unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// Of the bytes that were unpacked: they decide what is in it, so nothing else can be put in its place.
    pub(crate) digest: Digest,
    /// Of the archive inside.
    pub(crate) diff_id: Digest,
    /// Bytes of its files.
    pub(crate) bytes: u64,
}

impl LayerRecord {
    /// The name of its directory.
    pub(crate) fn folder(&self) -> String {
        folder(&self.digest)
    }
}

/// The name of a layer's directory: short, for a mount of many must fit into a page. Its record holds the whole digest.
pub(crate) fn folder(digest: &Digest) -> String {
    digest.hex()[..24].to_owned()
}

/// The name of the file for a record of that name.
pub(crate) fn file_name(name: &str) -> String {
    format!("{}.json", &Digest::of(name.as_bytes()).hex()[..32])
}

/// Reads a record. One that is missing or cannot be understood is none: it is made again.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(RECORD_BYTES_MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Writes a record so that after any crash it is whole or not there. `temporary` is a path on the same file system.
pub(crate) fn write<T: Serialize>(path: &Path, temporary: &Path, record: &T) -> io::Result<()> {
    let mut file = File::create(temporary)?;
    let written = serde_json::to_vec(record).map_err(io::Error::other).and_then(|text| file.write_all(&text));
    let done = written.and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(temporary, path));
    if done.is_err() {
        let _ = std::fs::remove_file(temporary);
    }
    done?;
    sync_dir(path.parent().unwrap_or(Path::new("/")))
}

/// Makes renames in a directory last.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
