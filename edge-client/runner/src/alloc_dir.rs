//! The directories of an alloc on the host.
//!
//! ```text
//! <allocs>/            0711
//!   <alloc id>/        0755
//!     alloc/           0777  shared by its tasks: data/ logs/ tmp/
//!     <task>/          0777  the task's own; the root of one that has a root of its own; 0755 and root's beside an image
//!       local/ 0777   tmp/ 1777   secrets/ private/ 0777 (tmpfs of 1 MiB, as root only)
//! ```
//! A task may have put anything in its directories: nothing here follows a link in them.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use drover_drivers::{TaskDirs, View, mounts};
use drover_model::AllocId;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::task_env::SeenDirs;

/// The user and group that directories shared with tasks belong to, `nobody` and `nogroup`.
const NOBODY: (u32, u32) = (65534, 65534);
/// Marks a directory on which a file system was mounted.
const MOUNT_MARK: &str = ".nomad-mount";

/// What could not be done with a directory.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path}")]
pub struct DirError {
    /// What was being done.
    pub what: &'static str,
    /// To what.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// The directory of one alloc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocDir {
    root: PathBuf,
}

impl AllocDir {
    /// The directory of that alloc below the edge's directory of allocs.
    pub fn new(allocs: &Path, id: AllocId) -> AllocDir {
        AllocDir { root: allocs.join(id.to_string()) }
    }

    /// The alloc's own directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What its tasks share.
    pub fn shared(&self) -> PathBuf {
        self.root.join("alloc")
    }

    /// Where its tasks' output is kept.
    pub fn logs(&self) -> PathBuf {
        self.root.join("alloc").join("logs")
    }

    /// A task's directories on the host.
    pub fn of_task(&self, task: &str) -> TaskDirs {
        TaskDirs { alloc_dir: self.shared(), task_dir: self.root.join(task) }
    }

    /// A task's directories as the task sees them.
    pub fn seen_by(&self, task: &str, view: View) -> SeenDirs {
        match view {
            View::Own | View::Image => {
                SeenDirs { alloc: "/alloc".into(), local: "/local".into(), secrets: "/secrets".into() }
            }
            View::Host => {
                let own = self.root.join(task);
                SeenDirs { alloc: self.shared(), local: own.join("local"), secrets: own.join("secrets") }
            }
        }
    }

    /// Makes what the tasks share.
    pub fn make(&self) -> Result<(), DirError> {
        if let Some(allocs) = self.root.parent() {
            make_parents(allocs)?;
        }
        make_dir(&self.root, 0o755, None)?;
        let shared = self.shared();
        make_dir(&shared, 0o777, Some(NOBODY))?;
        for name in ["data", "logs", "tmp"] {
            make_dir(&shared.join(name), 0o777, Some(NOBODY))?;
        }
        Ok(())
    }

    /// Makes a task's own directories. What is there already stays as it is.
    pub fn make_task(&self, task: &str, view: View, secrets_mib: u64) -> Result<(), DirError> {
        let own = self.root.join(task);
        make_own(&own, view)?;
        make_dir(&own.join("local"), 0o777, Some(NOBODY))?;
        make_dir(&own.join("tmp"), 0o1777, Some(NOBODY))?;
        for (name, mib) in [("secrets", secrets_mib.max(1)), ("private", 1)] {
            let dir = own.join(name);
            make_dir(&dir, 0o777, Some(NOBODY))?;
            if is_root() && !is_mounted(&dir, &own)? {
                mount_tmpfs(&dir, mib)?;
            }
        }
        Ok(())
    }

    /// Moves here what another alloc of the node leaves: the shared data and what each task keeps in its `local`. What was moved
    /// before stays.
    pub fn take_over(&self, previous: &AllocDir, tasks: &[(&str, View)]) -> Result<(), DirError> {
        move_dir(&previous.shared().join("data"), &self.shared().join("data"))?;
        for (task, view) in tasks {
            let (from, own) = (previous.root.join(task).join("local"), self.root.join(task));
            if is_dir(&from) {
                make_own(&own, *view)?;
                move_dir(&from, &own.join("local"))?;
            }
        }
        Ok(())
    }

    /// Unmounts what is mounted below it. The rest stays for whoever wants to read it.
    pub fn unmount(&self) -> Result<(), DirError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(DirError { what: "read", path: self.root.clone(), source }),
        };
        for entry in entries.flatten() {
            let own = entry.path();
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            for dir in ["secrets", "private"].map(|name| own.join(name)) {
                if !is_mounted(&dir, &own).unwrap_or(false) {
                    continue;
                }
                rustix::mount::unmount(&dir, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
                    .map_err(|errno| DirError { what: "unmount", path: dir, source: errno.into() })?;
            }
        }
        Ok(())
    }

    /// Removes all of it, after whatever is mounted below it was unmounted.
    pub fn remove(&self) -> Result<(), DirError> {
        // A task as root may have mounted the host's own directories here: those are not for us to empty.
        mounts::remove_dir_and_mounts(&self.root).map_err(|reason| DirError {
            what: "remove",
            path: self.root.clone(),
            source: io::Error::other(reason),
        })
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The directory of allocs: others may pass through it and not look around.
fn make_parents(allocs: &Path) -> Result<(), DirError> {
    if allocs.is_dir() {
        return Ok(());
    }
    let failed = |source| DirError { what: "create", path: allocs.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o711).create(allocs).map_err(failed)?;
    fs::set_permissions(allocs, Permissions::from_mode(0o711)).map_err(failed)
}

/// The directory of a task.
fn make_own(own: &Path, view: View) -> Result<(), DirError> {
    match view {
        View::Own => make_dir(own, 0o777, None),
        View::Host => make_dir(own, 0o777, Some(NOBODY)),
        // The task does not see it, and its driver works in it as root: nobody else may change what is there.
        View::Image => make_dir(own, 0o755, None),
    }
}

/// A directory, and no link to one.
fn is_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// Moves a directory into the place of an empty one, if it is there.
fn move_dir(from: &Path, to: &Path) -> Result<(), DirError> {
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| DirError { what, path, source }
    };
    if !is_dir(from) {
        return Ok(());
    }
    match fs::remove_dir(to) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
        Err(error) => return Err(failed("replace", to)(error)),
    }
    fs::rename(from, to).map_err(failed("move", from))
}

/// Makes one directory with exactly these rights. One that is there stays as it is; a link in its place is refused. What a
/// task puts there in between gets no rights.
fn make_dir(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<(), DirError> {
    let failed = |source| DirError { what: "create", path: path.to_owned(), source };
    let is_new = match DirBuilder::new().mode(mode & 0o700).create(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(failed(error)),
    };
    let dir = hold(path).map_err(failed)?;
    let is_ours = dir.metadata().map_err(failed)?.uid() == rustix::process::geteuid().as_raw();
    if !(is_new && is_ours) {
        return Ok(());
    }
    if let Some((uid, gid)) = owner.filter(|_| is_root()) {
        std::os::unix::fs::fchown(&dir, Some(uid), Some(gid)).map_err(failed)?;
    }
    // The umask cut what the call above asked for.
    dir.set_permissions(Permissions::from_mode(mode)).map_err(failed)
}

/// Opens a directory; its last part must not be a link.
fn hold(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

fn is_mounted(dir: &Path, parent: &Path) -> Result<bool, DirError> {
    let device = |path: &Path| match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.dev()),
        Err(source) => Err(DirError { what: "look at", path: path.to_owned(), source }),
    };
    Ok(device(dir)? != device(parent)?)
}

fn mount_tmpfs(dir: &Path, mib: u64) -> Result<(), DirError> {
    let flags = MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV;
    let failed = |source| DirError { what: "mount a tmpfs on", path: dir.to_owned(), source };
    // By its descriptor: a task must not have it mounted elsewhere by putting a link in its place.
    let held = hold(dir).map_err(failed)?;
    let place = format!("/proc/self/fd/{}", held.as_raw_fd());
    let mount = |options: String| {
        let options = std::ffi::CString::new(options).map_err(|_| rustix::io::Errno::INVAL)?;
        rustix::mount::mount("tmpfs", place.as_str(), "tmpfs", flags, options.as_c_str())
    };
    let size = format!("size={}k,mode=0777", mib.saturating_mul(1024));
    // Kernels before 6.4 do not know `noswap`.
    mount(format!("{size},noswap")).or_else(|_| mount(size)).map_err(|errno| failed(errno.into()))?;
    let mounted = hold(dir).map_err(failed)?;
    let device = |dir: &File| dir.metadata().map(|meta| meta.dev()).map_err(failed);
    if device(&mounted)? == device(&held)? {
        return Err(failed(io::Error::other("the directory was moved meanwhile")));
    }
    let mark = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&mounted, MOUNT_MARK, mark, Mode::from_raw_mode(0o644)).map(drop).map_err(|errno| DirError {
        what: "write",
        path: dir.join(MOUNT_MARK),
        source: errno.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn directories_have_their_rights_and_go_again() {
        let base = tempfile::tempdir().unwrap();
        let dir = AllocDir::new(&base.path().join("allocs"), AllocId::from_random([7; 16]));
        dir.make().unwrap();
        for _ in 0..2 {
            dir.make_task("web", View::Host, 0).unwrap();
        }
        let check = |path: &str, expected: u32| assert_eq!(mode(&dir.root().join(path)), expected, "{path}");
        assert_eq!(mode(&base.path().join("allocs")), 0o711);
        check("", 0o755);
        check("alloc/logs", 0o777);
        check("web", 0o777);
        check("web/tmp", 0o1777);
        check("web/secrets", 0o777);
        dir.make_task("app", View::Image, 0).unwrap();
        check("app", 0o755);
        check("app/local", 0o777);
        if is_root() {
            assert!(dir.root().join("web/secrets").join(MOUNT_MARK).exists());
            dir.unmount().unwrap();
            assert!(!dir.root().join("web/secrets").join(MOUNT_MARK).exists());
        } else {
            println!("skipped: needs root for the tmpfs of secrets");
        }
        dir.remove().unwrap();
        assert!(!dir.root().exists());
        dir.remove().unwrap();
    }

    #[test]
    fn what_an_alloc_leaves_is_taken_over_once() {
        let base = tempfile::tempdir().unwrap();
        let [old, new] = [1, 2].map(|id| AllocDir::new(base.path(), AllocId::from_random([id; 16])));
        old.make().unwrap();
        for task in ["web", "link"] {
            old.make_task(task, View::Host, 0).unwrap();
        }
        fs::write(old.shared().join("data/kept"), "shared").unwrap();
        fs::write(old.shared().join("tmp/lost"), "").unwrap();
        fs::write(old.root().join("web/local/kept"), "own").unwrap();
        fs::write(old.root().join("web/lost"), "").unwrap();
        fs::remove_dir(old.root().join("link/local")).unwrap();
        std::os::unix::fs::symlink("/etc", old.root().join("link/local")).unwrap();

        let tasks = [("web", View::Host), ("link", View::Host), ("new", View::Own)];
        new.make().unwrap();
        new.take_over(&old, &tasks).unwrap();
        // The agent was killed in between and does it again.
        old.make().unwrap();
        new.take_over(&old, &tasks).unwrap();
        for (task, view) in tasks {
            new.make_task(task, view, 0).unwrap();
        }
        let read = |path: &str| fs::read_to_string(new.root().join(path)).unwrap();
        assert_eq!((read("alloc/data/kept"), read("web/local/kept")), ("shared".to_owned(), "own".to_owned()));
        for lost in ["alloc/tmp/lost", "web/lost", "link/local/passwd"] {
            assert!(!new.root().join(lost).exists(), "{lost}");
        }
        assert_eq!((mode(&new.root().join("web")), mode(&new.root().join("web/local"))), (0o777, 0o777));
        for dir in [old, new] {
            dir.remove().unwrap();
        }
    }

    #[test]
    fn a_link_in_place_of_a_directory_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let dir = AllocDir::new(base.path(), AllocId::from_random([8; 16]));
        dir.make().unwrap();
        fs::create_dir(dir.root().join("web")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.root().join("web/local")).unwrap();
        assert!(dir.make_task("web", View::Host, 0).is_err());
        dir.remove().unwrap();
        assert!(Path::new("/etc/passwd").exists());
    }

    #[test]
    fn what_a_task_has_mounted_is_not_emptied() {
        if !is_root() {
            println!("skipped: needs root for mounts");
            return;
        }
        let base = tempfile::tempdir().unwrap();
        let precious = base.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "kept").unwrap();
        let dir = AllocDir::new(&base.path().join("allocs"), AllocId::from_random([9; 16]));
        dir.make().unwrap();
        dir.make_task("web", View::Host, 0).unwrap();
        let place = dir.root().join("web/local/data");
        fs::create_dir(&place).unwrap();
        rustix::mount::mount_bind(&precious, &place).unwrap();
        dir.remove().unwrap();
        assert!(!dir.root().exists());
        assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "kept");
    }
}
