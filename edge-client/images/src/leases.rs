//! What keeps layers: copies of an [`Image`] while the agent lives, and leases on disk beyond that.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::PullError;
use crate::image::Image;
use crate::records::{self, ImageRecord};
use crate::store::{ImageStore, Inner};

/// Things in use by this process: names as of [`layer_key`] and [`image_key`].
pub(crate) struct Held {
    inner: Arc<Inner>,
    keys: Vec<String>,
    record: Option<PathBuf>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// The key of a layer's directory.
pub(crate) fn layer_key(folder: &str) -> String {
    format!("layer {folder}")
}

/// The key of an image's record.
pub(crate) fn image_key(name: &str) -> String {
    format!("image {name}")
}

impl Held {
    pub(crate) fn new(inner: &Arc<Inner>, keys: Vec<String>, record: Option<PathBuf>) -> Self {
        let mut state = inner.state();
        for key in &keys {
            *state.held.entry(key.clone()).or_default() += 1;
        }
        drop(state);
        Self { inner: Arc::clone(inner), keys, record }
    }

    /// Holds all that an image needs.
    pub(crate) fn image(inner: &Arc<Inner>, record: &ImageRecord) -> Self {
        let mut keys = vec![image_key(&record.name)];
        keys.extend(record.layers.iter().map(|layer| layer_key(&layer.folder())));
        Self::new(inner, keys, Some(inner.record_path(&record.name)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // From now on counts how long it has not been used.
        if let Some(record) = &self.record {
            touch(record);
        }
        let mut state = self.inner.state();
        for key in &self.keys {
            if let Some(count) = state.held.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    state.held.remove(key);
                }
            }
        }
    }
}

/// Says that a record was used now. It may be gone.
pub(crate) fn touch(path: &std::path::Path) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW};
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let _ =
        rustix::fs::utimensat(CWD, path, &Timestamps { last_access: now, last_modification: now }, AtFlags::empty());
}

/// A use that outlives the agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) holder: String,
    pub(crate) image: ImageRecord,
    /// What the image was asked for by.
    pub(crate) shown_name: String,
}

impl ImageStore {
    /// Keeps the image's layers for `holder` until [`ImageStore::release`], also when the agent dies. A holder has one image: the newest.
    ///
    /// # Errors
    /// [`PullError::Disk`] when it cannot be written down; then nothing is kept.
    pub fn lease(&self, image: &Image, holder: &str) -> Result<(), PullError> {
        let record = ImageRecord::clone(&image.record);
        let lease = Lease { holder: holder.to_owned(), image: record, shown_name: image.name.clone() };
        let path = self.inner.lease_path(holder);
        records::write(&path, &self.inner.temporary_path(), &lease)
            .map_err(PullError::disk(format!("keep the image for {holder}")))
    }

    /// The image that is kept for `holder`: after a restart of the agent, for tasks that went on.
    pub fn leased(&self, holder: &str) -> Option<Image> {
        let lease: Lease =
            records::read(&self.inner.lease_path(holder)).filter(|lease: &Lease| lease.holder == holder)?;
        self.inner.image_of(&lease.image, &lease.shown_name)
    }

    /// Gives back what `holder` had. Its layers must not be mounted for it any more.
    pub fn release(&self, holder: &str) {
        let path = self.inner.lease_path(holder);
        if let Some(lease) = records::read::<Lease>(&path) {
            touch(&self.inner.record_path(&lease.image.name));
        }
        // A lease that cannot be removed keeps its layers: disk is lost, nothing else.
        let _ = std::fs::remove_file(path);
    }

    /// Gives back all leases but those of `holders`: once it is known which tasks there are.
    pub fn keep_only<'a>(&self, holders: impl IntoIterator<Item = &'a str>) {
        let holders: BTreeSet<&str> = holders.into_iter().collect();
        for lease in self.inner.leases() {
            if !holders.contains(lease.holder.as_str()) {
                touch(&self.inner.record_path(&lease.image.name));
                let _ = std::fs::remove_file(self.inner.lease_path(&lease.holder));
            }
        }
    }
}
