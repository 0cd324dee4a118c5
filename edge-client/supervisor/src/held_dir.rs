//! Opening a directory of which tasks own a part, without being led elsewhere by a link that one of them has planted.
//!
//! A link is followed only where nobody but root or this process's user could have put it: operators may keep their data
//! behind links, tasks may not. A task may be root itself: the directory that is wanted is never a link.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, mkdirat, openat, statat};
use rustix::io::Errno;

/// Opens a directory by its absolute path, for reading and for work below it.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    walk(path, false)
}

/// As [`open`]; directories that are missing are made.
pub fn make(path: &Path) -> io::Result<OwnedFd> {
    walk(path, true)
}

fn walk(path: &Path, makes: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = rustix::fs::open("/", flags, Mode::empty())?;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => dir = enter(&dir, name, makes, components.peek().is_some())?,
            Component::ParentDir | Component::Prefix(_) => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
        }
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(&dir, ".", flags, Mode::empty())?)
}

fn enter(dir: &OwnedFd, name: &OsStr, makes: bool, may_be_link: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let enter = || openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty());
    match enter() {
        Err(Errno::NOENT) if makes => {
            match mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(err) => return Err(err.into()),
            }
            Ok(enter()?)
        }
        Err(Errno::NOTDIR | Errno::LOOP) if may_be_link && is_trusted_link(dir, name)? => {
            Ok(openat(dir, name, flags, Mode::empty())?)
        }
        entered => Ok(entered?),
    }
}

/// A link of root's or of ours, in a place where nobody else could have put one in its stead.
fn is_trusted_link(dir: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    let own = rustix::process::geteuid().as_raw();
    let is_ours = |uid: u32| uid == 0 || uid == own;
    let (dir, link) = (fstat(dir)?, statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?);
    let is_closed = is_ours(dir.st_uid) && (dir.st_mode & 0o022 == 0 || dir.st_mode & 0o1000 != 0);
    Ok(is_closed && is_ours(link.st_uid) && FileType::from_raw_mode(link.st_mode) == FileType::Symlink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_links_of_operators_are_followed() {
        let base = tempfile::tempdir().unwrap();
        let path = |name: &str| base.path().join(name);
        std::fs::create_dir_all(path("real/deep")).unwrap();
        symlink(path("real"), path("link")).unwrap();
        std::fs::create_dir(path("open")).unwrap();
        symlink(path("real"), path("open/planted")).unwrap();
        std::fs::set_permissions(path("open"), Permissions::from_mode(0o777)).unwrap();
        let check = |name: &str, is_open: bool| assert_eq!(open(&path(name)).is_ok(), is_open, "{name}");
        check("real/deep", true);
        check("link/deep", true);
        check("link", false);
        check("open", true);
        check("open/planted", false);
        check("open/planted/deep", false);
        check("missing", false);
        assert!(make(&path("open/planted/new")).is_err());
        assert!(make(&path("link/new/newer")).is_ok());
        assert!(path("real/new/newer").is_dir() && !path("real/deep/new").exists());
    }
}
