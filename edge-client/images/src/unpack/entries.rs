//! The entries of a layer's archive, one by one, in the form that overlayfs wants.
//!
//! A layer says what it removes by names (`.wh.x`, `.wh..wh..opq`); overlayfs by character devices 0:0 and an attribute. Devices are never made:
//! a container gets its own few in `/dev`, and one in an image would be a way to the host's disks.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown, fsetxattr, futimens,
    utimensat,
};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use super::decompress;
use super::tree::{Former, Tree};
use super::{OPAQUE_BYTES_MAX, OPAQUE_MAX, Options, Unpacked};
use crate::digest::Hasher;
use crate::progress::Bytes;

/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 4095;
/// The most attributes of one entry, and the longest value in bytes.
const ATTRIBUTES_MAX: usize = 64;
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;
/// Bytes copied at a time.
const PIECE: usize = 128 << 10;
/// What the smallest file takes on disk, in bytes.
const BLOCK: u64 = 4096;
/// What a name begins with that stands for a removal.
const WHITEOUT: &[u8] = b".wh.";
/// A removal of all that lower layers have in a directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names that an older union file system used for itself.
const AUFS: &[u8] = b".wh..wh.";

/// What ended it.
#[derive(Debug)]
pub(super) enum Wrong {
    /// The layer's fault, in a sentence.
    Layer(String),
    /// The disk's.
    Disk(Errno),
}

impl Wrong {
    /// By what the system or the decompressor said.
    pub(super) fn of(err: &io::Error) -> Self {
        match Errno::from_io_error(err) {
            Some(errno) => Self::at("", errno),
            None if err.kind() == io::ErrorKind::UnexpectedEof => Self::Layer("it is cut short".to_owned()),
            None => Self::Layer(err.to_string()),
        }
    }

    fn at(path: &str, errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS | Errno::NFILE => Self::Disk(errno),
            Errno::NOSYS => Self::Layer("Linux 5.6 or newer is needed to unpack safely".to_owned()),
            _ if path.is_empty() => Self::Layer(io::Error::from(errno).to_string()),
            _ => Self::Layer(format!("{path}: {}", io::Error::from(errno))),
        }
    }
}

/// Unpacks into the current directory's `root`. Gives the directories to be marked as opaque besides.
pub(super) fn unpack(blob: File, options: &Options) -> Result<(Unpacked, Vec<Vec<u8>>), Wrong> {
    let source = decompress::open(blob).map_err(|err| Wrong::of(&err))?;
    let counted = Counted { source, hasher: Hasher::sha256(), count: 0, max: options.unpacked_bytes_max };
    let mut archive = Archive::new(counted);
    let mut layer =
        Layer { tree: Tree::open().map_err(|err| Wrong::at("", err))?, bytes: 0, entries: 0, opaque: BTreeSet::new() };
    for entry in archive.entries().map_err(|err| Wrong::of(&err))? {
        let mut entry = entry.map_err(|err| Wrong::of(&err))?;
        layer.entries += 1;
        if layer.entries > options.entries_max {
            return Err(Wrong::Layer(format!("it has more than {} entries", options.entries_max)));
        }
        layer.add(&mut entry, options.unpacked_bytes_max)?;
    }
    // What stands behind the archive's end belongs to its digest.
    let mut counted = archive.into_inner();
    io::copy(&mut counted, &mut io::sink()).map_err(|err| Wrong::of(&err))?;
    let unpacked = Unpacked { diff_id: counted.hasher.finish(), bytes: layer.bytes, entries: layer.entries };
    layer.opaque.append(&mut layer.tree.opaque.drain(..).collect());
    Ok((unpacked, layer.opaque.into_iter().collect()))
}

/// Reads no more than there may be, and makes the digest of what it reads.
struct Counted<R> {
    source: R,
    hasher: Hasher,
    count: u64,
    max: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.count += count as u64;
        if self.count > self.max {
            return Err(too_large(self.max));
        }
        Ok(count)
    }
}

fn too_large(max: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it unpacks to more than {}", Bytes(max)))
}

struct Layer {
    tree: Tree,
    bytes: u64,
    entries: u64,
    opaque: BTreeSet<Vec<u8>>,
}

/// What an entry says of its owner, mode and time.
struct Meta {
    uid: Uid,
    gid: Gid,
    mode: Mode,
    times: Timestamps,
}

impl Layer {
    fn add<R: Read>(&mut self, entry: &mut Entry<'_, R>, bytes_max: u64) -> Result<(), Wrong> {
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        let raw = entry.path_bytes().into_owned();
        let shown = shown(&raw);
        let wrong = |errno: Errno| Wrong::at(&shown, errno);
        let path = clean(&raw).map_err(|reason| Wrong::Layer(format!("{shown} {reason}")))?;
        let meta = Meta::of(entry).map_err(|err| Wrong::Layer(format!("{shown}: {err}")))?;
        self.bytes = self.bytes.saturating_add(BLOCK);
        let Some((folder, name)) = split(&path) else {
            // The root itself.
            let root = self.tree.existing(b"").and_then(|root| self.tree.enter(&root, b".")).map_err(wrong)?;
            return if kind.is_dir() { meta.apply(&root, &attributes(entry)?).map_err(wrong) } else { Ok(()) };
        };
        let dir = self.tree.parent(folder).map_err(wrong)?;
        if name.starts_with(WHITEOUT) {
            return self.remove(&dir, folder, name, &path).map_err(wrong);
        }
        match kind {
            EntryType::Regular if raw.ends_with(b"/") => {
                self.directory(&dir, name, &path, &meta, &attributes(entry)?).map_err(wrong)
            }
            EntryType::Directory => self.directory(&dir, name, &path, &meta, &attributes(entry)?).map_err(wrong),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let attributes = attributes(entry)?;
                self.tree.clear(&dir, name).map_err(wrong)?;
                let file = self.tree.create(&dir, name).map_err(wrong)?;
                let file = self.copy(entry, file, bytes_max, &shown)?;
                meta.apply(&file, &attributes).map_err(wrong)
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let target = clean(&target).map_err(|reason| Wrong::Layer(format!("{shown}: its target {reason}")))?;
                let target = split(&target).ok_or_else(|| wrong(Errno::PERM))?;
                if target == (folder, name) {
                    return Ok(());
                }
                self.tree.clear(&dir, name).map_err(wrong)?;
                self.tree.hard_link(target, &dir, name).map_err(wrong)
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                self.tree.clear(&dir, name).map_err(wrong)?;
                self.tree.symlink(&target, &dir, name).map_err(wrong)?;
                meta.apply_to_link(&dir, name).map_err(wrong)
            }
            EntryType::Fifo => {
                self.tree.clear(&dir, name).map_err(wrong)?;
                self.tree.fifo(&dir, name).map_err(wrong)?;
                meta.apply_to_link(&dir, name).map_err(wrong)?;
                chmodat(&dir, name, meta.mode, AtFlags::empty()).map_err(wrong)
            }
            EntryType::Char | EntryType::Block => Ok(()),
            _ => Err(Wrong::Layer(format!("{shown} is of a kind that is not known"))),
        }
    }

    /// `.wh.name`, or an opaque directory.
    fn remove(&mut self, dir: &impl AsFd, folder: &[u8], name: &[u8], path: &[u8]) -> Result<(), Errno> {
        if name == OPAQUE {
            return self.hide_below(folder);
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        let removed = &name[WHITEOUT.len()..];
        if matches!(removed, b"" | b"." | b"..") {
            return Err(Errno::INVAL);
        }
        match self.tree.former(dir, removed)? {
            Former::Nothing => self.tree.white_out(dir, removed),
            // It removes what lower layers have there, and this layer brings its own: that hides theirs.
            Former::Directory => {
                let mut there = path[..path.len() - name.len()].to_vec();
                there.extend_from_slice(removed);
                self.hide_below(&there)
            }
            Former::Whiteout | Former::Other => Ok(()),
        }
    }

    fn hide_below(&mut self, folder: &[u8]) -> Result<(), Errno> {
        self.opaque.insert(folder.to_vec());
        let bytes: usize = self.opaque.iter().map(Vec::len).sum();
        if self.opaque.len() > OPAQUE_MAX || bytes > OPAQUE_BYTES_MAX {
            return Err(Errno::TOOBIG);
        }
        Ok(())
    }

    fn directory(
        &mut self,
        dir: &impl AsFd,
        name: &[u8],
        path: &[u8],
        meta: &Meta,
        attributes: &[Attribute],
    ) -> Result<(), Errno> {
        if self.tree.former(dir, name)? != Former::Directory {
            if self.tree.clear(dir, name)? == Former::Whiteout {
                self.hide_below(path)?;
            }
            rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))?;
        }
        meta.apply(&self.tree.enter(dir, name)?, attributes)
    }

    fn copy<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        file: OwnedFd,
        bytes_max: u64,
        shown: &str,
    ) -> Result<OwnedFd, Wrong> {
        let size = entry.size();
        // Before any of it is written: holes are cheap to send.
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > bytes_max {
            return Err(Wrong::of(&too_large(bytes_max)));
        }
        let mut file = File::from(file);
        let mut piece = vec![0; PIECE];
        let mut copied = 0;
        loop {
            match entry.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => {
                    file.write_all(&piece[..count]).map_err(|err| Wrong::of(&err))?;
                    copied += count as u64;
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(Wrong::of(&err)),
            }
        }
        if copied == size { Ok(file.into()) } else { Err(Wrong::Layer(format!("it is cut short in {shown}"))) }
    }
}

impl Meta {
    fn of<R: Read>(entry: &Entry<'_, R>) -> io::Result<Self> {
        let header = entry.header();
        let id = |number: u64| {
            // The highest means "leave it".
            let number = u32::try_from(number).ok().filter(|number| *number != u32::MAX);
            number.ok_or_else(|| io::Error::other("its owner is no number of a user"))
        };
        let seconds = i64::try_from(header.mtime()?).unwrap_or(0);
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        Ok(Self {
            uid: Uid::from_raw(id(header.uid()?)?),
            gid: Gid::from_raw(id(header.gid()?)?),
            mode: Mode::from_raw_mode(header.mode()? & 0o7777),
            times: Timestamps { last_access: time, last_modification: time },
        })
    }

    /// The owner first: a change of it takes set-id bits and file capabilities away.
    fn apply(&self, file: &OwnedFd, attributes: &[Attribute]) -> Result<(), Errno> {
        fchown(file, Some(self.uid), Some(self.gid))?;
        fchmod(file, self.mode)?;
        for (name, value) in attributes {
            match fsetxattr(file, name.as_slice(), value, XattrFlags::empty()) {
                // Not every file system has them; a program without its capability says so itself.
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(err) => return Err(err),
            }
        }
        futimens(file, &self.times)
    }

    fn apply_to_link(&self, dir: &impl AsFd, name: &[u8]) -> Result<(), Errno> {
        chownat(dir, name, Some(self.uid), Some(self.gid), AtFlags::SYMLINK_NOFOLLOW)?;
        utimensat(dir, name, &self.times, AtFlags::SYMLINK_NOFOLLOW)
    }
}

type Attribute = (Vec<u8>, Vec<u8>);

/// The attributes that may be set: file capabilities, and the user's own. What overlayfs or the host's security modules read is not the image's.
fn attributes<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<Attribute>, Wrong> {
    let mut attributes = Vec::new();
    let Some(extensions) = entry.pax_extensions().map_err(|err| Wrong::of(&err))? else { return Ok(attributes) };
    for extension in extensions {
        let extension = extension.map_err(|err| Wrong::of(&err))?;
        let Some(name) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.") else { continue };
        let is_safe =
            name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."));
        if !is_safe {
            continue;
        }
        if attributes.len() == ATTRIBUTES_MAX || extension.value_bytes().len() > ATTRIBUTE_BYTES_MAX {
            return Err(Wrong::Layer("a file has too many attributes".to_owned()));
        }
        attributes.push((name.to_vec(), extension.value_bytes().to_vec()));
    }
    Ok(attributes)
}

/// A path from the layer's root on, without `.` and doubled slashes.
fn clean(raw: &[u8]) -> Result<Vec<u8>, &'static str> {
    if raw.len() > PATH_BYTES_MAX {
        return Err("is longer than a path can be");
    }
    let mut path: Vec<u8> = Vec::with_capacity(raw.len());
    for part in raw.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("leads out of the layer"),
            _ if part.contains(&0) => return Err("holds a zero byte"),
            _ => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
    }
    Ok(path)
}

/// The directory and the last name; none for the root.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    let at = path.iter().rposition(|byte| *byte == b'/');
    Some(at.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..])))
}

/// A path for a message.
fn shown(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let text: String = text.chars().take(200).collect();
    format!("`{}`", text.escape_debug())
}
