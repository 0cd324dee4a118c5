//! Images from a file, for places without a registry: what `docker save` writes, and OCI layouts in a tar.
//!
//! The file may belong to a task that changes it meanwhile. So it is only ever read by offset, each document and layer is checked by the digest
//! of the bytes that are used, and layers are copied into the store before they are unpacked.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tar::{Archive, EntryType};

use crate::digest::{Digest, Hasher};
use crate::error::PullError;
use crate::image::{Image, nullable};
use crate::layer;
use crate::manifest::{self, CONFIG_BYTES_MAX, Descriptor, Document, MANIFEST_BYTES_MAX};
use crate::meter::Meter;
use crate::progress::Phase;
use crate::pull::Flight;
use crate::records::ImageRecord;
use crate::reference::Reference;
use crate::store::{ImageStore, Inner};
use crate::turn::Turn;
use crate::unpack::decompress;
use crate::watch::Watch;

/// The most entries of an archive: a few for each layer of a few images.
const ENTRIES_MAX: usize = 20_000;
/// Bytes copied at a time.
const PIECE: usize = 128 << 10;
/// The annotations under which layouts keep an image's name.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// Loads what an archive holds.
pub(crate) fn run(
    inner: &Arc<Inner>,
    archive: &File,
    wanted: Option<&Reference>,
    timeout: Duration,
    flight: &Flight,
) -> Result<Image, PullError> {
    let meter = Meter::new(flight);
    let turn = Turn::take(inner, flight, &meter)?;
    let watch = Watch::new(flight.cancelled.clone(), timeout, timeout);
    let loaded = load(inner, archive, wanted, &meter, &watch);
    drop(turn);
    ImageStore::from(inner).collect();
    loaded
}

fn wrong(reason: impl Into<String>) -> PullError {
    PullError::Archive(reason.into())
}

fn load(
    inner: &Arc<Inner>,
    archive: &File,
    wanted: Option<&Reference>,
    meter: &Meter<'_>,
    watch: &Watch,
) -> Result<Image, PullError> {
    meter.phase(Phase::Resolving);
    let plain = plain(inner, archive, watch)?;
    let contents = Contents::read(&plain, watch)?;
    let found = if contents.files.contains_key("manifest.json") {
        contents.saved(wanted)?
    } else if contents.files.contains_key("index.json") {
        contents.layout(inner, wanted)?
    } else {
        return Err(wrong("it is neither what `docker save` writes nor an OCI layout"));
    };
    if found.layers.len() > inner.settings.bounds.layers_max {
        return Err(PullError::Layers(found.layers.len(), inner.settings.bounds.layers_max));
    }
    let malformed = |reason| PullError::Malformed { what: "configuration", name: found.name.clone(), reason };
    let config = manifest::parse_config(&found.config, found.layers.len()).map_err(malformed)?;
    let sizes: Vec<u64> = found.layers.iter().map(|layer| layer.place.size).collect();
    if sizes.iter().fold(0_u64, |sum, size| sum.saturating_add(*size)) > inner.settings.bounds.image_bytes_max {
        return Err(PullError::TooLarge { what: "the image".to_owned(), max: inner.settings.bounds.image_bytes_max });
    }
    meter.image(&sizes);
    let mut layers = Vec::new();
    for (at, (source, diff_id)) in found.layers.iter().zip(&config.rootfs.diff_ids).enumerate() {
        layers.push(contents.layer(inner, source, diff_id, meter, watch)?);
        meter.layer_done(at, source.place.size);
    }
    let id = Digest::of(&found.config);
    let record = ImageRecord {
        // A name that no reference can be.
        name: format!("loaded {id}"),
        platform: inner.settings.platform.to_string(),
        digest: found.digest.unwrap_or_else(|| id.clone()),
        id,
        config: config.config,
        layers: layer::without_doubles(layers.iter().map(|(record, _)| record.clone()).collect()),
    };
    inner.keep_record(&record).map_err(PullError::disk("write down the image"))?;
    layer::image(inner, &record, &found.name)
}

/// The archive itself, or a copy of what is in it when it is compressed: it is read by offset.
fn plain(inner: &Inner, archive: &File, watch: &Watch) -> Result<File, PullError> {
    let disk = || PullError::disk("read the archive");
    let mut begin = [0; 4];
    let count = archive.read_at(&mut begin, 0).map_err(disk())?;
    let is_packed = matches!(begin[..count], [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]);
    // A clone shares its position with the caller's: all reads say where.
    let mut source = archive.try_clone().map_err(disk())?;
    if !is_packed {
        return Ok(source);
    }
    source.seek(SeekFrom::Start(0)).map_err(disk())?;
    let path = inner.temporary_path();
    let mut copy = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(disk())?;
    // It is gone with the last who has it open, however this ends.
    std::fs::remove_file(&path).map_err(disk())?;
    let unpacked = decompress::open(source).map_err(|err| wrong(err.to_string()))?;
    copy_all(unpacked, &mut copy, inner.settings.bounds.image_bytes_max, watch, |_| {})?;
    Ok(copy)
}

/// Copies to the end, and looks up meanwhile.
fn copy_all(
    mut from: impl Read,
    to: &mut impl Write,
    max: u64,
    watch: &Watch,
    mut on_piece: impl FnMut(&[u8]),
) -> Result<(), PullError> {
    let mut piece = vec![0; PIECE];
    let mut copied = 0;
    loop {
        watch.check()?;
        let count = from.read(&mut piece).map_err(|err| wrong(err.to_string()))?;
        if count == 0 {
            return Ok(());
        }
        copied += count as u64;
        if copied > max {
            return Err(PullError::TooLarge { what: "the archive".to_owned(), max });
        }
        on_piece(&piece[..count]);
        to.write_all(&piece[..count]).map_err(PullError::disk("copy from the archive"))?;
    }
}

/// Where a file's bytes are in the archive.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    size: u64,
}

struct Contents<'a> {
    archive: &'a File,
    files: BTreeMap<String, Place>,
}

/// An image of an archive.
struct Found {
    name: String,
    digest: Option<Digest>,
    config: Vec<u8>,
    layers: Vec<LayerSource>,
}

struct LayerSource {
    place: Place,
    /// Where the archive says it.
    digest: Option<Digest>,
}

#[derive(Deserialize)]
struct Saved {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default, deserialize_with = "nullable")]
    tags: Vec<String>,
    #[serde(rename = "Layers", default, deserialize_with = "nullable")]
    layers: Vec<String>,
}

impl<'a> Contents<'a> {
    /// Finds out where everything is. Extensions are passed over: the names in such archives fit into plain headers.
    fn read(archive: &'a File, watch: &Watch) -> Result<Self, PullError> {
        let length = archive.metadata().map_err(PullError::disk("read the archive"))?.len();
        let mut files = BTreeMap::new();
        let mut links = Vec::new();
        let unreadable = |err: io::Error| wrong(format!("it is no tar: {err}"));
        let mut tar = Archive::new(BufReader::new(Positioned { file: archive, at: 0 }));
        for (count, entry) in tar.entries_with_seek().map_err(unreadable)?.raw(true).enumerate() {
            watch.check()?;
            let entry = entry.map_err(unreadable)?;
            if count == ENTRIES_MAX {
                return Err(wrong(format!("it has more than {ENTRIES_MAX} entries")));
            }
            let name = normal(&String::from_utf8_lossy(&entry.path_bytes()));
            let size = entry.header().entry_size().map_err(unreadable)?;
            if entry.raw_file_position().checked_add(size).is_none_or(|end| end > length) {
                return Err(wrong("it is cut short"));
            }
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {
                    files.insert(name, Place { offset: entry.raw_file_position(), size });
                }
                EntryType::Symlink | EntryType::Link => {
                    let target = String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned();
                    links.push((name, target));
                }
                _ => {}
            }
        }
        // Equal layers are saved once, and linked.
        for (name, target) in links {
            let beside = name.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/{target}"));
            if let Some(place) = files.get(&normal(&beside)).or_else(|| files.get(&normal(&target))).copied() {
                files.insert(name, place);
            }
        }
        Ok(Self { archive, files })
    }

    fn place(&self, name: &str) -> Result<Place, PullError> {
        self.files
            .get(&normal(name))
            .copied()
            .ok_or_else(|| wrong(format!("`{}` is missing in it", name.escape_debug())))
    }

    fn document(&self, name: &str, max: usize) -> Result<Vec<u8>, PullError> {
        let place = self.place(name)?;
        if place.size > max as u64 {
            return Err(PullError::TooLarge {
                what: format!("`{}` in the archive", name.escape_debug()),
                max: max as u64,
            });
        }
        let mut bytes = vec![0; usize::try_from(place.size).unwrap_or(max)];
        self.archive.read_exact_at(&mut bytes, place.offset).map_err(|_| wrong("it is cut short"))?;
        Ok(bytes)
    }

    /// A blob of a layout, checked.
    fn blob(&self, digest: &Digest, max: usize) -> Result<Vec<u8>, PullError> {
        let bytes = self.document(&blob_name(digest), max)?;
        if digest.fits(&bytes) { Ok(bytes) } else { Err(wrong(format!("{digest} in it is not what its digest says"))) }
    }

    /// The image of `docker save`.
    fn saved(&self, wanted: Option<&Reference>) -> Result<Found, PullError> {
        let list = self.document("manifest.json", MANIFEST_BYTES_MAX)?;
        let list: Vec<Saved> =
            serde_json::from_slice(&list).map_err(|err| wrong(format!("its manifest.json: {err}")))?;
        let tags = |saved: &Saved| saved.tags.iter().filter_map(|tag| tag.parse().ok()).collect();
        let saved = pick(&list, wanted, tags)?;
        let layers = saved.layers.iter().map(|name| Ok(LayerSource { place: self.place(name)?, digest: None }));
        Ok(Found {
            name: wanted.map(Reference::to_string).or_else(|| saved.tags.first().cloned()).unwrap_or_default(),
            digest: None,
            config: self.document(&saved.config, CONFIG_BYTES_MAX)?,
            layers: layers.collect::<Result<_, PullError>>()?,
        })
    }

    /// The image of an OCI layout.
    fn layout(&self, inner: &Inner, wanted: Option<&Reference>) -> Result<Found, PullError> {
        let understood =
            |bytes: &[u8]| manifest::parse(bytes).map_err(|reason| wrong(format!("its manifest: {reason}")));
        let Document::Index(index) = understood(&self.document("index.json", MANIFEST_BYTES_MAX)?)? else {
            return Err(wrong("its index.json is no index"));
        };
        let named = |descriptor: &Descriptor| -> Vec<Reference> {
            let names = NAMES.iter().filter_map(|key| descriptor.annotations.get(*key));
            names.flat_map(|name| [name.parse().ok(), with_tag(wanted, name)]).flatten().collect()
        };
        // Several without names are one image for several platforms.
        let is_named = index.iter().any(|it| NAMES.iter().any(|key| it.annotations.contains_key(*key)));
        let chosen = if is_named { pick(&index, wanted, named)? } else { self.choose(inner, &index)? };
        let mut digest = chosen.digest.clone();
        let mut document = understood(&self.blob(&digest, MANIFEST_BYTES_MAX)?)?;
        if let Document::Index(index) = &document {
            let chosen = self.choose(inner, index)?;
            // The digest stays that of the whole image, whatever the platform.
            document = understood(&self.blob(&chosen.digest, MANIFEST_BYTES_MAX)?)?;
        }
        let Document::Manifest(manifest) = document else { return Err(wrong("its index leads to another index")) };
        let layers = manifest.layers.iter().map(|layer| {
            let place = self.place(&blob_name(&layer.digest))?;
            Ok(LayerSource { place, digest: Some(layer.digest.clone()) })
        });
        let annotated = NAMES.iter().find_map(|key| chosen.annotations.get(*key)).cloned();
        let name = wanted.map(Reference::to_string).or(annotated).unwrap_or_else(|| digest.to_string());
        digest = chosen.digest.clone();
        Ok(Found {
            name,
            digest: Some(digest),
            config: self.blob(&manifest.config.digest, CONFIG_BYTES_MAX)?,
            layers: layers.collect::<Result<_, PullError>>()?,
        })
    }

    fn choose<'b>(&self, inner: &Inner, index: &'b [Descriptor]) -> Result<&'b Descriptor, PullError> {
        let wanted = &inner.settings.platform;
        manifest::choose(index, wanted).map_err(|offered| PullError::Platform {
            name: "the archive's image".to_owned(),
            wanted: wanted.to_string(),
            offered,
        })
    }

    /// A layer, copied into the store if it is not there.
    fn layer(
        &self,
        inner: &Arc<Inner>,
        source: &LayerSource,
        diff_id: &Digest,
        meter: &Meter<'_>,
        watch: &Watch,
    ) -> Result<(crate::records::LayerRecord, crate::leases::Held), PullError> {
        let max = inner.settings.bounds.layer_bytes_max;
        if source.place.size > max {
            return Err(PullError::TooLarge { what: "a layer".to_owned(), max });
        }
        let digest = match &source.digest {
            Some(digest) => digest.clone(),
            None => self.hash(source.place, &mut io::sink(), Hasher::sha256(), watch)?,
        };
        layer::get(inner, &digest, diff_id, meter, watch, || {
            let disk = || PullError::disk("copy from the archive");
            let path = inner.temporary_path();
            let mut copy =
                OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(disk())?;
            std::fs::remove_file(&path).map_err(disk())?;
            let got = self.hash(source.place, &mut copy, digest.hasher(), watch)?;
            if got != digest {
                return Err(wrong(format!("layer {digest} in it is not what its digest says")));
            }
            copy.seek(SeekFrom::Start(0)).map_err(disk())?;
            Ok(copy)
        })
    }

    fn hash(&self, place: Place, to: &mut impl Write, mut hasher: Hasher, watch: &Watch) -> Result<Digest, PullError> {
        let bytes = Positioned { file: self.archive, at: place.offset }.take(place.size);
        copy_all(bytes, to, place.size, watch, |piece| hasher.update(piece))?;
        Ok(hasher.finish())
    }
}

/// The one that is wanted, or the only one.
fn pick<'a, T>(
    list: &'a [T],
    wanted: Option<&Reference>,
    names: impl Fn(&T) -> Vec<Reference>,
) -> Result<&'a T, PullError> {
    if let Some(found) = list.iter().find(|it| wanted.is_some_and(|wanted| names(it).contains(wanted))) {
        return Ok(found);
    }
    match (list, wanted) {
        ([only], None) => Ok(only),
        ([], _) => Err(wrong("it holds no image")),
        // One without any name can only be meant.
        ([only], Some(_)) if names(only).is_empty() => Ok(only),
        (_, Some(wanted)) => Err(wrong(format!("{wanted} is not in it"))),
        (_, None) => Err(wrong("it holds several images, and none was named")),
    }
}

/// Layouts often name only the tag.
fn with_tag(wanted: Option<&Reference>, tag: &str) -> Option<Reference> {
    wanted.filter(|wanted| wanted.tag() == Some(tag)).cloned()
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}", digest.as_str().replacen(':', "/", 1))
}

/// A path without `.` and `..`: these are names in a list, not on a disk.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in Path::new(path).components() {
        match part {
            std::path::Component::Normal(name) => parts.extend(name.to_str()),
            std::path::Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    parts.join("/")
}

/// Reads a file from a place on, whatever others do with its position.
struct Positioned<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Positioned<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_an_archive_are_names_only() {
        assert_eq!(normal("./a//b/../c"), "a/c");
        assert_eq!(normal("/../../etc"), "etc");
        assert_eq!(blob_name(&Digest::of(b"")), format!("blobs/sha256/{}", Digest::of(b"").hex()));
    }
}
