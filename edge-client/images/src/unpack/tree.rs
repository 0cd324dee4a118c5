//! The directory that a layer becomes: every path of it is resolved below its root, and nothing that was there is written through.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, linkat, mkdirat, mknodat, openat, openat2, renameat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

/// How often a resolution is tried again that the kernel could not finish.
const AGAIN_MAX: usize = 16;

/// What stood at a name before something was put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Former {
    Nothing,
    Directory,
    Whiteout,
    Other,
}

/// A layer being made.
pub(super) struct Tree {
    root: Rc<OwnedFd>,
    /// Where directories go that something else replaces.
    trash: OwnedFd,
    trashed: u64,
    /// The directory that was used last.
    near: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// Directories that took the place of a whiteout without an entry of their own, which hide what is below.
    pub(super) opaque: Vec<Vec<u8>>,
}

impl Tree {
    /// `root` and `trash` of the current directory.
    pub(super) fn open() -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = openat(CWD, "root", flags, Mode::empty())?;
        let trash = openat(CWD, "trash", flags, Mode::empty())?;
        Ok(Self { root: Rc::new(root), trash, trashed: 0, near: None, opaque: Vec::new() })
    }

    /// Resolves a path with the layer's root as `/`, wherever its links lead.
    fn resolve(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        for _ in 0..AGAIN_MAX {
            match openat2(&self.root, path, flags, Mode::empty(), within) {
                Err(Errno::AGAIN) => {}
                resolved => return resolved,
            }
        }
        Err(Errno::AGAIN)
    }

    /// A directory that has to be there.
    pub(super) fn existing(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Errno> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some((near, dir)) = &self.near
            && near == path
        {
            return Ok(Rc::clone(dir));
        }
        let dir = Rc::new(self.resolve(path)?);
        self.near = Some((path.to_owned(), Rc::clone(&dir)));
        Ok(dir)
    }

    /// A directory that is made if it is missing, with those above it.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Errno> {
        match self.existing(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            found => return found,
        }
        let mut above = Rc::clone(&self.root);
        let mut end = 0;
        for name in path.split(|byte| *byte == b'/') {
            end += name.len() + usize::from(end > 0);
            let so_far = &path[..end];
            above = match self.resolve(so_far) {
                Ok(dir) => Rc::new(dir),
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    if self.former(&above, name)? == Former::Whiteout {
                        unlinkat(&above, name, AtFlags::empty())?;
                        self.opaque.push(so_far.to_owned());
                    }
                    // A link to nowhere or a file in the way is the layer's mistake.
                    mkdirat(&above, name, Mode::from_raw_mode(0o755))?;
                    Rc::new(self.resolve(so_far)?)
                }
                Err(err) => return Err(err),
            };
        }
        self.near = Some((path.to_owned(), Rc::clone(&above)));
        Ok(above)
    }

    /// What stands at a name, links not followed.
    pub(super) fn former(&self, dir: &impl AsFd, name: &[u8]) -> Result<Former, Errno> {
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Former::Nothing),
            Err(err) => return Err(err),
        };
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Former::Directory,
            FileType::CharacterDevice if stat.st_rdev == 0 => Former::Whiteout,
            _ => Former::Other,
        })
    }

    /// Removes what stands at a name.
    pub(super) fn clear(&mut self, dir: &impl AsFd, name: &[u8]) -> Result<Former, Errno> {
        let former = self.former(dir, name)?;
        match former {
            Former::Nothing => {}
            Former::Directory => {
                self.trashed += 1;
                renameat(dir, name, &self.trash, format!("{}", self.trashed))?;
                self.near = None;
            }
            Former::Whiteout | Former::Other => {
                unlinkat(dir, name, AtFlags::empty())?;
                // A link that directories were reached through may be gone.
                self.near = None;
            }
        }
        Ok(former)
    }

    /// Opens a directory itself, for its owner, mode and attributes.
    pub(super) fn enter(&self, dir: &impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(dir, name, flags, Mode::empty())
    }

    /// Makes a file that is not there yet.
    pub(super) fn create(&self, dir: &impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(dir, name, flags, Mode::from_raw_mode(0o600))
    }

    /// Says that lower layers have nothing here.
    pub(super) fn white_out(&self, dir: &impl AsFd, name: &[u8]) -> Result<(), Errno> {
        mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0)
    }

    /// Makes a FIFO.
    pub(super) fn fifo(&self, dir: &impl AsFd, name: &[u8]) -> Result<(), Errno> {
        mknodat(dir, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
    }

    /// Makes a symbolic link; where it leads is the business of whoever runs the image.
    pub(super) fn symlink(&self, target: &[u8], dir: &impl AsFd, name: &[u8]) -> Result<(), Errno> {
        symlinkat(target, dir, name)
    }

    /// Gives a file of this layer a second name. The last part of `target` is not followed.
    pub(super) fn hard_link(&mut self, target: (&[u8], &[u8]), dir: &impl AsFd, name: &[u8]) -> Result<(), Errno> {
        let above = self.existing(target.0)?;
        match self.former(&above, target.1)? {
            Former::Nothing => Err(Errno::NOENT),
            Former::Whiteout | Former::Directory => Err(Errno::PERM),
            Former::Other => linkat(&above, target.1, dir, name, AtFlags::empty()),
        }
    }
}
