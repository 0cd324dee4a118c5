//! One layer, from its bytes to a directory that overlays can stand on: made once, whoever wants it.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::sync::{Arc, PoisonError};

use crate::digest::Digest;
use crate::error::PullError;
use crate::image::Image;
use crate::leases::{Held, layer_key};
use crate::meter::Meter;
use crate::records::{self, ImageRecord, LayerRecord};
use crate::remove_tree::remove_tree;
use crate::store::Inner;
use crate::unpack;
use crate::watch::{LOOK, Watch};

/// A layer that this thread alone is making.
struct Busy<'a> {
    inner: &'a Inner,
    digest: &'a Digest,
}

impl<'a> Busy<'a> {
    fn take(inner: &'a Inner, digest: &'a Digest, watch: &Watch) -> Result<Self, PullError> {
        let mut state = inner.state();
        while state.busy.contains(digest) {
            watch.check()?;
            state = inner.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.busy.insert(digest.clone());
        Ok(Self { inner, digest })
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.inner.state().busy.remove(self.digest);
        self.inner.changed.notify_all();
    }
}

/// The layer of that digest: as it is there, or of the bytes that `source` gives (checked against the digest already).
pub(crate) fn get(
    inner: &Arc<Inner>,
    digest: &Digest,
    diff_id: &Digest,
    meter: &Meter<'_>,
    watch: &Watch,
    source: impl FnOnce() -> Result<File, PullError>,
) -> Result<(LayerRecord, Held), PullError> {
    // Held first, so that it is not removed between being found and being used.
    let held = Held::new(inner, vec![layer_key(&records::folder(digest))], None);
    let busy = Busy::take(inner, digest, watch)?;
    let record = match inner.layer(digest) {
        Some(record) => record,
        None => {
            let blob = source()?;
            meter.unpacking();
            let made = make(inner, digest, diff_id, blob, watch);
            meter.unpacked();
            made?
        }
    };
    drop(busy);
    if record.diff_id == *diff_id {
        return Ok((record, held));
    }
    let reason = format!("it holds {}, and the image's configuration wants {diff_id}", record.diff_id);
    Err(PullError::Layer { digest: digest.clone(), reason })
}

fn make(inner: &Inner, digest: &Digest, diff_id: &Digest, blob: File, watch: &Watch) -> Result<LayerRecord, PullError> {
    let place = inner.temporary_path();
    let made = make_in(inner, &place, digest, diff_id, blob, watch);
    // Nothing is there after a success: it was renamed.
    let _ = remove_tree(&place);
    made
}

fn make_in(
    inner: &Inner,
    place: &std::path::Path,
    digest: &Digest,
    diff_id: &Digest,
    blob: File,
    watch: &Watch,
) -> Result<LayerRecord, PullError> {
    let disk = || PullError::disk(format!("unpack layer {digest}"));
    for name in ["", "root", "trash"] {
        DirBuilder::new().mode(if name == "root" { 0o755 } else { 0o700 }).create(place.join(name)).map_err(disk())?;
    }
    let unpacked = unpack::unpack(place, blob, &inner.settings.bounds, watch).map_err(|failure| match failure {
        unpack::Failure::Ended(end) => end,
        unpack::Failure::Disk(source) => disk()(source),
        unpack::Failure::Layer(reason) => PullError::Layer { digest: digest.clone(), reason },
    })?;
    if unpacked.diff_id != *diff_id {
        let reason = format!("it holds {}, and the image's configuration wants {diff_id}", unpacked.diff_id);
        return Err(PullError::Layer { digest: digest.clone(), reason });
    }
    remove_tree(&place.join("trash")).map_err(disk())?;
    let record = LayerRecord { digest: digest.clone(), diff_id: unpacked.diff_id, bytes: unpacked.bytes };
    let text = serde_json::to_vec(&record).map_err(|err| disk()(err.into()))?;
    std::fs::write(place.join("layer.json"), text).map_err(disk())?;
    // All of it, before it gets the name under which it counts.
    let opened = File::open(place).map_err(disk())?;
    rustix::fs::syncfs(&opened).map_err(|err| disk()(err.into()))?;
    let target = inner.layers_dir().join(record.folder());
    if target.symlink_metadata().is_ok() {
        // It has no record that is right: what is there is of no use to anybody.
        let gone = inner.temporary_path();
        std::fs::rename(&target, &gone).map_err(disk())?;
        let _ = remove_tree(&gone);
    }
    std::fs::rename(place, &target).map_err(disk())?;
    records::sync_dir(&inner.layers_dir()).map_err(disk())?;
    Ok(record)
}

/// Drops all but the highest of equal layers: an overlay refuses one directory twice, and what is higher covers all of what is lower.
pub(crate) fn without_doubles(layers: Vec<LayerRecord>) -> Vec<LayerRecord> {
    let is_last = |at: usize| !layers[at + 1..].iter().any(|higher| higher.digest == layers[at].digest);
    (0..layers.len()).filter(|at| is_last(*at)).map(|at| layers[at].clone()).collect()
}

/// The image of a record whose layers are held.
pub(crate) fn image(inner: &Arc<Inner>, record: &ImageRecord, name: &str) -> Result<Image, PullError> {
    inner.image_of(record, name).ok_or_else(|| {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        PullError::Disk { what: format!("find the layers of {name} again"), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_of_equal_layers_stays() {
        let layer =
            |text: &str| LayerRecord { digest: Digest::of(text.as_bytes()), diff_id: Digest::of(b""), bytes: 0 };
        let kept = without_doubles(vec![layer("a"), layer("b"), layer("a"), layer("c")]);
        assert_eq!(kept, [layer("b"), layer("a"), layer("c")]);
    }
}
