//! Removing what nothing uses: by age, and by bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::leases::{image_key, layer_key};
use crate::records::{self, ImageRecord, LayerRecord};
use crate::remove_tree::remove_tree;
use crate::store::{ImageStore, Inner};

/// How long the beginning of a layer waits to be gone on with.
const PARTIAL_AGE_MAX: Duration = Duration::from_secs(3600);

/// What a clean-up has removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Names of images.
    pub images: usize,
    /// Layers.
    pub layers: usize,
    /// Bytes of those layers.
    pub bytes: u64,
}

struct Known {
    record: ImageRecord,
    path: PathBuf,
    used: SystemTime,
}

impl ImageStore {
    /// Removes images that nothing has used for longer than `unused_max`, the longest unused ones beyond `unused_bytes_max`, layers that belong
    /// to no image any more, and old beginnings of layers. Never anything that is held or leased. Blocks while files are removed.
    pub fn collect(&self) -> Collected {
        let inner = &self.inner;
        let mut collected = Collected::default();
        // The decision and the renames are one: nobody can take hold of a layer in between. Removing comes after.
        let state = inner.state();
        let mut in_use: BTreeSet<String> = state.held.keys().cloned().collect();
        for lease in inner.leases() {
            in_use.insert(image_key(&lease.image.name));
            in_use.extend(lease.image.layers.iter().map(|layer| layer_key(&layer.folder())));
        }
        let mut gone = Vec::new();
        let layers = layers(inner);
        for record in images_to_remove(inner, &layers, &in_use) {
            collected.images += usize::from(std::fs::remove_file(record).is_ok());
        }
        let named: BTreeSet<String> =
            images(inner).iter().flat_map(|known| known.record.layers.iter().map(LayerRecord::folder)).collect();
        let mut unused: u64 = unused_bytes(&layers, &in_use);
        for (folder, layer) in &layers {
            let is_free = !in_use.contains(&layer_key(folder)) && !named.contains(folder);
            let is_due =
                layer.age > inner.settings.bounds.unused_max || unused > inner.settings.bounds.unused_bytes_max;
            if is_free && (is_due || layer.bytes.is_none()) {
                let place = inner.temporary_path();
                if std::fs::rename(inner.layers_dir().join(folder), &place).is_ok() {
                    collected.layers += 1;
                    collected.bytes += layer.bytes.unwrap_or_default();
                    unused = unused.saturating_sub(layer.bytes.unwrap_or_default());
                    gone.push(place);
                }
            }
        }
        let busy = state.busy.iter().map(|it| it.hex().to_owned()).collect();
        remove_old_partials(&inner.dir.join("partial"), &busy, inner.settings.bounds.partial_bytes_max);
        drop(state);
        for place in gone {
            let _ = remove_tree(&place);
        }
        collected
    }
}

struct Layer {
    /// None where the record is missing or wrong.
    bytes: Option<u64>,
    age: Duration,
}

fn age(path: &Path) -> Duration {
    let changed = path.symlink_metadata().and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    // A clock that went back makes nothing old.
    changed.elapsed().unwrap_or_default()
}

fn layers(inner: &Inner) -> BTreeMap<String, Layer> {
    let listed = inner.layers_dir().read_dir().into_iter().flatten().flatten();
    let layer = |path: &Path, folder: &str| {
        let path = path.join("layer.json");
        let record = records::read::<LayerRecord>(&path).filter(|record| record.folder() == folder);
        Layer { bytes: record.map(|record| record.bytes), age: age(&path) }
    };
    listed
        .filter_map(|entry| entry.file_name().into_string().ok().map(|folder| (entry.path(), folder)))
        .map(|(path, folder)| (folder.clone(), layer(&path, &folder)))
        .collect()
}

fn images(inner: &Inner) -> Vec<Known> {
    let listed = inner.dir.join("images").read_dir().into_iter().flatten().flatten();
    let mut images: Vec<Known> = listed
        .filter_map(|entry| {
            let used = entry.metadata().and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            Some(Known { record: records::read(&entry.path())?, path: entry.path(), used })
        })
        .collect();
    images.sort_by_key(|known| known.used);
    images
}

fn unused_bytes(layers: &BTreeMap<String, Layer>, in_use: &BTreeSet<String>) -> u64 {
    let free = layers.iter().filter(|(folder, _)| !in_use.contains(&layer_key(folder)));
    free.map(|(_, layer)| layer.bytes.unwrap_or_default()).sum()
}

/// The files of images whose time is over, and of the longest unused ones until the rest fits.
fn images_to_remove(inner: &Inner, layers: &BTreeMap<String, Layer>, in_use: &BTreeSet<String>) -> Vec<PathBuf> {
    let bounds = &inner.settings.bounds;
    let images = images(inner);
    let mut users: BTreeMap<String, usize> = BTreeMap::new();
    for folder in images.iter().flat_map(|known| known.record.layers.iter().map(LayerRecord::folder)) {
        *users.entry(folder).or_default() += 1;
    }
    let mut unused = unused_bytes(layers, in_use);
    let mut removed = Vec::new();
    for known in images {
        if in_use.contains(&image_key(&known.record.name)) {
            continue;
        }
        let is_old = known.used.elapsed().unwrap_or_default() > bounds.unused_max;
        if !is_old && unused <= bounds.unused_bytes_max {
            continue;
        }
        for layer in &known.record.layers {
            let folder = layer.folder();
            let left = users.get_mut(&folder).map_or(0, |count| {
                *count -= 1;
                *count
            });
            if left == 0 && !in_use.contains(&layer_key(&folder)) {
                unused = unused.saturating_sub(layers.get(&folder).and_then(|it| it.bytes).unwrap_or_default());
            }
        }
        removed.push(known.path);
    }
    removed
}

/// Removes beginnings of layers that wait for too long, and the oldest ones until the others are few enough bytes.
fn remove_old_partials(dir: &Path, busy: &BTreeSet<String>, bytes_max: u64) {
    let mut partials: Vec<(Duration, u64, PathBuf)> = Vec::new();
    for entry in dir.read_dir().into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(|name| busy.contains(name)) {
            let bytes = entry.metadata().map_or(0, |meta| meta.len());
            partials.push((age(&entry.path()), bytes, entry.path()));
        }
    }
    partials.sort();
    let mut kept: u64 = 0;
    for (age, bytes, path) in partials {
        kept = kept.saturating_add(bytes);
        if age > PARTIAL_AGE_MAX || kept > bytes_max {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The same store for those inside.
impl From<&Arc<Inner>> for ImageStore {
    fn from(inner: &Arc<Inner>) -> Self {
        Self { inner: Arc::clone(inner) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_of_layers_have_an_age_and_a_size() {
        let dir = tempfile::tempdir().unwrap();
        let old = |name: &str, bytes: usize, secs: u64| {
            let file = std::fs::File::create(dir.path().join(name)).unwrap();
            std::io::Write::write_all(&mut &file, &vec![0; bytes]).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(secs)).unwrap();
        };
        old("busy", 1000, 9999);
        old("new", 60, 1);
        old("later", 40, 10);
        old("too-much", 1, 20);
        old("too-old", 0, 9999);
        remove_old_partials(dir.path(), &BTreeSet::from(["busy".to_owned()]), 100);
        let mut left: Vec<_> = dir.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["busy", "later", "new"]);
    }
}
