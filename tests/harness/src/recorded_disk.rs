//! A file system in memory that notes all that is done to it, for power cuts (`journal.rs`) and for a disk that fails.
//!
//! Programs see it through FUSE, so it notes what the real ones ask the kernel for. Needs root and `/dev/fuse`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::journal::{Inode, Journal, ROOT, Step};

/// How long the kernel may believe an answer: nothing changes but through it.
const TTL: Duration = Duration::from_secs(3600);
const BLOCK_BYTES: u32 = 4096;
/// Blocks that it says are free.
const BLOCKS: u64 = 1 << 20;

/// What the disk does from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// What it is asked.
    #[default]
    Well,
    /// It takes nothing more.
    Full,
    /// No sync succeeds.
    Unsynced,
}

enum Node {
    Dir(BTreeMap<OsString, Inode>),
    File(Vec<u8>),
}

struct Thing {
    node: Node,
    mode: u32,
    changed: SystemTime,
}

#[derive(Default)]
struct Disk {
    things: BTreeMap<Inode, Thing>,
    next: Inode,
    journal: Journal,
    mood: Mood,
}

/// The disk, mounted. It is unmounted when this is dropped.
pub struct RecordedDisk {
    disk: Arc<Mutex<Disk>>,
    session: Option<BackgroundSession>,
}

struct Served(Arc<Mutex<Disk>>);

impl RecordedDisk {
    /// Mounts an empty one on a directory, or says why it can't.
    ///
    /// # Errors
    /// Not root, or the kernel has no FUSE.
    pub fn mount(on: &Path) -> Result<Self, String> {
        let mut disk = Disk { next: ROOT + 1, ..Disk::default() };
        disk.things.insert(ROOT, Thing { node: Node::Dir(BTreeMap::new()), mode: 0o755, changed: SystemTime::now() });
        let disk = Arc::new(Mutex::new(disk));
        let session = fuser::spawn_mount(Served(disk.clone()), on, &Config::default());
        let session = session.map_err(|e| format!("a file system of the test's own can't be mounted: {e}"))?;
        Ok(Self { disk, session: Some(session) })
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many steps are noted so far: what is acknowledged now is in those before.
    pub fn steps(&self) -> usize {
        self.disk().journal.len()
    }

    /// What was done so far.
    pub fn journal(&self) -> Journal {
        self.disk().journal.clone()
    }

    /// From now on it does that.
    pub fn set_mood(&self, mood: Mood) {
        self.disk().mood = mood;
    }
}

impl Drop for RecordedDisk {
    fn drop(&mut self) {
        let ended = self.session.take().map(BackgroundSession::umount_and_join);
        // Its directory may have gone before, and the mount with it.
        if let Some(Err(error)) = ended.filter(|ended| !is_gone(ended)) {
            eprintln!("the test's file system is still mounted: {error}");
        }
    }
}

fn is_gone(ended: &std::io::Result<()>) -> bool {
    ended.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

impl Disk {
    fn dir(&self, inode: INodeNo) -> Result<&BTreeMap<OsString, Inode>, Errno> {
        match self.things.get(&inode.0).map(|thing| &thing.node) {
            Some(Node::Dir(names)) => Ok(names),
            Some(Node::File(_)) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn attr(&self, inode: Inode) -> Result<FileAttr, Errno> {
        let thing = self.things.get(&inode).ok_or(Errno::ENOENT)?;
        let (kind, size) = match &thing.node {
            Node::Dir(_) => (FileType::Directory, 0),
            Node::File(bytes) => (FileType::RegularFile, bytes.len() as u64),
        };
        let time = thing.changed;
        Ok(FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: (thing.mode & 0o7777) as u16,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        })
    }

    fn takes_more(&self) -> Result<(), Errno> {
        if self.mood == Mood::Full { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    /// Changes names of a directory and notes it.
    fn name(&mut self, dir: Inode, changes: Vec<(OsString, Option<Inode>)>) {
        if let Some(Thing { node: Node::Dir(names), changed, .. }) = self.things.get_mut(&dir) {
            *changed = SystemTime::now();
            for (name, inode) in &changes {
                match inode {
                    Some(inode) => names.insert(name.clone(), *inode),
                    None => names.remove(name),
                };
            }
        }
        self.journal.push(Step::Names { dir, changes });
    }

    fn make(&mut self, dir: INodeNo, name: &OsStr, mode: u32, is_dir: bool) -> Result<FileAttr, Errno> {
        self.takes_more()?;
        if self.dir(dir)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let inode = self.next;
        self.next += 1;
        let node = if is_dir { Node::Dir(BTreeMap::new()) } else { Node::File(Vec::new()) };
        self.things.insert(inode, Thing { node, mode, changed: SystemTime::now() });
        self.journal.push(Step::New { inode, is_dir });
        self.journal.push(Step::Mode { inode, mode });
        self.name(dir.0, vec![(name.to_owned(), Some(inode))]);
        self.attr(inode)
    }

    fn remove(&mut self, dir: INodeNo, name: &OsStr) -> Result<(), Errno> {
        let inode = *self.dir(dir)?.get(name).ok_or(Errno::ENOENT)?;
        if let Some(Thing { node: Node::Dir(names), .. }) = self.things.get(&inode)
            && !names.is_empty()
        {
            return Err(Errno::ENOTEMPTY);
        }
        // The thing stays in memory: somebody may have it open.
        self.name(dir.0, vec![(name.to_owned(), None)]);
        Ok(())
    }

    fn rename(&mut self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr)) -> Result<(), Errno> {
        let inode = *self.dir(from.0)?.get(from.1).ok_or(Errno::ENOENT)?;
        self.dir(to.0)?;
        let (gone, there) = ((from.1.to_owned(), None), (to.1.to_owned(), Some(inode)));
        if from.0 == to.0 {
            self.name(from.0.0, vec![gone, there]);
        } else {
            self.name(to.0.0, vec![there]);
            self.name(from.0.0, vec![gone]);
        }
        Ok(())
    }

    fn write(&mut self, inode: Inode, offset: u64, bytes: &[u8]) -> Result<u32, Errno> {
        self.takes_more()?;
        let Some(Thing { node: Node::File(file), changed, .. }) = self.things.get_mut(&inode) else {
            return Err(Errno::EBADF);
        };
        let start = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
        let end = start + bytes.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[start..end].copy_from_slice(bytes);
        *changed = SystemTime::now();
        self.journal.push(Step::Write { inode, offset, bytes: bytes.to_vec() });
        u32::try_from(bytes.len()).map_err(|_| Errno::EFBIG)
    }

    fn set(&mut self, inode: Inode, mode: Option<u32>, size: Option<u64>) -> Result<FileAttr, Errno> {
        let thing = self.things.get_mut(&inode).ok_or(Errno::ENOENT)?;
        if let Some(mode) = mode {
            thing.mode = mode;
            self.journal.push(Step::Mode { inode, mode });
        }
        if let (Some(len), Node::File(bytes)) = (size, &mut thing.node) {
            bytes.resize(usize::try_from(len).map_err(|_| Errno::EFBIG)?, 0);
            self.journal.push(Step::Length { inode, len });
        }
        self.attr(inode)
    }

    fn sync(&mut self, inode: Inode) -> Result<(), Errno> {
        if self.mood == Mood::Unsynced {
            return Err(Errno::EIO);
        }
        self.journal.push(Step::Sync { inode });
        Ok(())
    }
}

impl Served {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn done(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(result: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match result {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn attributes(result: Result<FileAttr, Errno>, reply: ReplyAttr) {
    match result {
        Ok(attr) => reply.attr(&TTL, &attr),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let disk = self.disk();
        let found = disk.dir(parent).and_then(|names| names.get(name).copied().ok_or(Errno::ENOENT));
        entry(found.and_then(|inode| disk.attr(inode)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attributes(self.disk().attr(ino.0), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        attributes(self.disk().set(ino.0, mode, size), reply);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        entry(self.disk().make(parent, name, mode & !umask, true), reply);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _: i32, reply: ReplyCreate) {
        match self.disk().make(parent, name, mode & !umask, false) {
            Ok(attr) => reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.disk().remove(parent, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.disk().remove(parent, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        done(self.disk().rename((parent, name), (newparent, newname)), reply);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.disk().things.get(&ino.0).map(|thing| &thing.node) {
            Some(Node::File(bytes)) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let end = start.saturating_add(size as usize).min(bytes.len());
                reply.data(&bytes[start..end]);
            }
            _ => reply.error(Errno::EBADF),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.disk().write(ino.0, offset, data) {
            Ok(len) => reply.written(len),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.disk().sync(ino.0), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.disk().sync(ino.0), reply);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let disk = self.disk();
        let names = match disk.dir(ino) {
            Ok(names) => names,
            Err(error) => return reply.error(error),
        };
        let dots = [(OsStr::new("."), ino.0), (OsStr::new(".."), ino.0)];
        let all = dots.into_iter().chain(names.iter().map(|(name, inode)| (name.as_os_str(), *inode)));
        for (number, (name, inode)) in all.enumerate().skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            let is_dir = matches!(disk.things.get(&inode).map(|thing| &thing.node), Some(Node::Dir(_)));
            let kind = if is_dir { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(inode), number as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let free = if self.disk().mood == Mood::Full { 0 } else { BLOCKS };
        reply.statfs(BLOCKS, free, free, BLOCKS, BLOCKS, BLOCK_BYTES, 255, BLOCK_BYTES);
    }
}
