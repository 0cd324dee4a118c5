//! Removing a directory that tasks had, without ever reaching through a mount: what is mounted there is the host's.
//!
//! The kernel's list of mounts may pass over one while others come and go. So the list is only the first look: each directory
//! that is entered must stand on the mount of the one above it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, StatxFlags, openat, renameat_with, statx, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

/// How often the mounts are looked through before what is still there counts as stuck.
const LOOKS_MAX: usize = 5;
/// Directories below one another that are held open at a time; deeper ones are moved up first.
const DEPTH_MAX: usize = 64;
/// Mounts on top of one another that are taken away at one place.
const STACKED_MAX: usize = 64;

/// Unmounts all that is mounted below `dir` and removes it. Refuses while anything is still mounted there.
pub fn remove_dir_and_mounts(dir: &Path) -> Result<(), String> {
    let dir = match dir.canonicalize() {
        Ok(dir) => dir,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(format!("resolve {}: {err}", dir.display())),
    };
    if dir.components().count() < 3 {
        return Err(format!("{} is too close to the root to be removed", dir.display()));
    }
    let mut refused = None;
    for _ in 0..LOOKS_MAX {
        // The newest mount first: one may stand on another.
        for mount in mounts_below(&dir)?.iter().rev() {
            if let Err(err) = unmount(mount, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                refused = Some(err);
            }
        }
        // What somebody else has unmounted meanwhile is gone all the same.
        if mounts_below(&dir)?.is_empty() {
            break;
        }
    }
    if let Some(mount) = mounts_below(&dir)?.first() {
        let reason = refused.map_or_else(String::new, |err| format!(": {err}"));
        return Err(format!("{} is still mounted{reason}", mount.display()));
    }
    remove_tree(&dir, &mut |parent, name| {
        // Not in the list, and still there.
        let place = Path::new(&format!("/proc/self/fd/{}", parent.as_raw_fd()))
            .join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        unmount(&place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok()
    })
}

/// Where something is mounted at `dir` and below; some of it may be hidden by what is mounted above.
pub(crate) fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").map_err(|err| format!("read mountinfo: {err}"))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|escaped| {
            let plain =
                escaped.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
            PathBuf::from(plain)
        })
        .filter(|mount| mount.starts_with(dir))
        .collect())
}

/// Takes away the mount at that name of a directory; false when it can't.
type TakeAway<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, &CStr) -> bool;

/// Removes a directory with what is below it. A mount in it is handed to `take_away`; one that stays ends the removal.
fn remove_tree(dir: &Path, take_away: TakeAway<'_>) -> Result<(), String> {
    let failed = |err: Errno| format!("remove {}: {err}", dir.display());
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
        return Err(format!("{} is no directory that can be removed", dir.display()));
    };
    let name = CString::new(name.as_bytes()).map_err(|_| failed(Errno::INVAL))?;
    let parent =
        openat(CWD, parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    let Some(top) =
        enter(parent.as_fd(), &name, take_away).map_err(|text| format!("remove {}: {text}", dir.display()))?
    else {
        return Ok(());
    };
    let mut tree = Tree { top: top.as_fd(), moved: 0, take_away };
    // What was moved up comes with the next round.
    loop {
        let before = tree.moved;
        tree.empty(top.as_fd(), 0).map_err(|text| format!("remove {}: {text}", dir.display()))?;
        if tree.moved == before {
            break;
        }
    }
    match unlinkat(&parent, &name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(err) => Err(failed(err)),
    }
}

struct Tree<'a> {
    top: BorrowedFd<'a>,
    /// Directories that were moved up to the top so far.
    moved: u64,
    take_away: TakeAway<'a>,
}

impl Tree<'_> {
    /// Removes all that a directory has.
    fn empty(&mut self, dir: BorrowedFd<'_>, depth: usize) -> Result<(), String> {
        for entry in Dir::read_from(dir).map_err(|err| err.to_string())? {
            let entry = entry.map_err(|err| err.to_string())?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            // A file on which another is mounted can't be unlinked: the kernel says that it is busy.
            let is_dir = match entry.file_type() {
                FileType::Directory => true,
                FileType::Unknown => {
                    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
                    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
                }
                _ => false,
            };
            if !is_dir {
                self.unlink(dir, name).map_err(|err| named(name, err))?;
                continue;
            }
            let Some(inner) = enter(dir, name, self.take_away)? else { continue };
            if depth + 1 >= DEPTH_MAX {
                self.move_up(dir, name).map_err(|err| named(name, err))?;
                continue;
            }
            self.empty(inner.as_fd(), depth + 1).map_err(|text| format!("{}/{text}", name.to_string_lossy()))?;
            gone_is_fine(unlinkat(dir, name, AtFlags::REMOVEDIR)).map_err(|err| named(name, err))?;
        }
        Ok(())
    }

    fn unlink(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        for _ in 0..STACKED_MAX {
            match unlinkat(dir, name, AtFlags::empty()) {
                Err(Errno::BUSY) if (self.take_away)(dir, name) => {}
                other => return gone_is_fine(other),
            }
        }
        Err(Errno::BUSY)
    }

    fn move_up(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        loop {
            self.moved += 1;
            let new = format!(".drover-deep-{}", self.moved);
            match renameat_with(dir, name, self.top, new.as_str(), RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => return other,
            }
        }
    }
}

fn named(name: &CStr, err: Errno) -> String {
    format!("{}: {err}", name.to_string_lossy())
}

fn gone_is_fine(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Opens a directory that stands on the same mount as the one that it is in. None when it is gone.
fn enter(parent: BorrowedFd<'_>, name: &CStr, take_away: TakeAway<'_>) -> Result<Option<OwnedFd>, String> {
    let shown = name.to_string_lossy();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let wanted = place_of(parent)?;
    for _ in 0..STACKED_MAX {
        let dir = match openat(parent, name, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(None),
            Err(err) => return Err(format!("{shown}: {err}")),
        };
        if place_of(dir.as_fd())? == wanted {
            return Ok(Some(dir));
        }
        drop(dir);
        if !take_away(parent, name) {
            break;
        }
    }
    Err(format!("{shown} is another mount"))
}

/// The device and the mount that a directory is on: a bind mount may be of the same device.
fn place_of(dir: BorrowedFd<'_>) -> Result<(u32, u32, u64), String> {
    let stat = statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID);
    let stat = stat.map_err(|err| format!("look at a directory: {err}"))?;
    let has_mount = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID);
    let mount = if has_mount { Some(stat.stx_mnt_id) } else { mount_of(dir) };
    Ok((stat.stx_dev_major, stat.stx_dev_minor, mount.ok_or("no kernel that tells mounts apart")?))
}

/// The same from kernels before 5.8.
fn mount_of(dir: BorrowedFd<'_>) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", dir.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_mounts() -> bool {
        let is_root = rustix::process::geteuid().is_root();
        if !is_root {
            println!("skipped: needs root for mounts");
        }
        is_root
    }

    #[test]
    fn a_tree_goes_with_links_and_whatever_depth() {
        let base = tempfile::tempdir().unwrap();
        let (kept, tree) = (base.path().join("kept"), base.path().join("tree"));
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("file"), "kept").unwrap();
        std::fs::create_dir(&tree).unwrap();
        std::os::unix::fs::symlink(&kept, tree.join("link")).unwrap();
        std::fs::write(tree.join("file"), "gone").unwrap();
        let mut deep = openat(CWD, &tree, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        for _ in 0..3 * DEPTH_MAX {
            rustix::fs::mkdirat(&deep, "d", Mode::from_raw_mode(0o700)).unwrap();
            deep = openat(&deep, "d", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        }
        rustix::fs::mkdirat(&deep, ".drover-deep-1", Mode::from_raw_mode(0o700)).unwrap();
        remove_dir_and_mounts(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(std::fs::read_to_string(kept.join("file")).unwrap(), "kept");
        remove_dir_and_mounts(&tree).unwrap();
    }

    #[test]
    fn a_mount_that_the_list_did_not_have_is_never_emptied() {
        if !has_mounts() {
            return;
        }
        let base = tempfile::tempdir().unwrap();
        let (kept, tree) = (base.path().join("kept"), base.path().join("tree"));
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("file"), "kept").unwrap();
        std::fs::create_dir_all(tree.join("a/dir")).unwrap();
        std::fs::write(tree.join("a/file"), "").unwrap();
        // The same device, so that only the mount tells them apart; twice, one on the other; and a file.
        rustix::mount::mount_bind(&kept, tree.join("a/dir")).unwrap();
        rustix::mount::mount_bind(&kept, tree.join("a/dir")).unwrap();
        rustix::mount::mount_bind(kept.join("file"), tree.join("a/file")).unwrap();
        let check = || assert_eq!(std::fs::read_to_string(kept.join("file")).unwrap(), "kept");

        let refused = remove_tree(&tree, &mut |_, _| false).unwrap_err();
        assert!(refused.contains("is another mount") || refused.contains("busy"), "{refused}");
        check();
        remove_tree(&tree, &mut |parent, name| {
            let place = format!("/proc/self/fd/{}/{}", parent.as_raw_fd(), name.to_str().unwrap());
            unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok()
        })
        .unwrap();
        assert!(!tree.exists());
        check();
    }

    #[test]
    fn mounts_are_told_apart_on_old_kernels_too() {
        let dir = tempfile::tempdir().unwrap();
        let held = openat(CWD, dir.path(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        assert_eq!(place_of(held.as_fd()).unwrap().2, mount_of(held.as_fd()).unwrap());
    }
}
