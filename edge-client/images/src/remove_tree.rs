//! Removing a directory that somebody else has filled: as deep as they like, with few descriptors and no recursion without end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;

/// How deep descriptors are held; what is deeper is moved up first.
const DEPTH_MAX: usize = 32;
/// How many names are tried for what is moved up.
const NAMES_MAX: u32 = 10_000;

/// Removes `path`, whatever it is. Follows no links. Fine if it is not there.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let top = match open(CWD, path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return std::fs::remove_file(path),
        Err(err) => return Err(err.into()),
    };
    let mut moved = 0;
    // What was moved up meanwhile is seen at the next look.
    while empty(&top, &top, 0, &mut moved)? {}
    Ok(unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

fn open(dir: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    openat(dir, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Removes what is in `dir`. Gives whether there was anything.
fn empty(top: &OwnedFd, dir: &OwnedFd, depth: usize, moved: &mut u32) -> io::Result<bool> {
    let mut had_any = false;
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        had_any = true;
        if entry.file_type() != FileType::Directory {
            match unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                // The type was not told.
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(err) => return Err(err.into()),
            }
        }
        if depth < DEPTH_MAX {
            let inner = open(dir, name)?;
            while empty(top, &inner, depth + 1, moved)? {}
        } else {
            move_up(top, dir, name, moved)?;
            continue;
        }
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(had_any)
}

fn move_up(top: &OwnedFd, dir: &OwnedFd, name: &std::ffi::CStr, moved: &mut u32) -> io::Result<()> {
    for _ in 0..NAMES_MAX {
        *moved = moved.wrapping_add(1);
        match renameat_with(dir, name, top, format!("deep-{moved}"), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST | Errno::NOTEMPTY) => {}
            done => return Ok(done?),
        }
    }
    Err(io::Error::from(Errno::EXIST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deep_and_linked_goes_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("kept"), "x").unwrap();
        let tree = base.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::os::unix::fs::symlink(base.path(), tree.join("link")).unwrap();
        // 3,000 deep: deeper than a path can say.
        let mut dir = open(CWD, &tree).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&dir, "a", Mode::RWXU).unwrap();
            rustix::fs::symlinkat("/", &dir, "l").unwrap();
            dir = open(&dir, "a").unwrap();
        }
        remove_tree(&tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && base.path().join("kept").exists());
        remove_tree(&base.path().join("kept")).unwrap();
        assert_eq!(base.path().read_dir().unwrap().count(), 0);
    }
}
