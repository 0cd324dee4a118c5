//! The root of a task that comes from an image, made by the helper in a mount namespace of its own: what it mounts is seen by
//! the container alone, and goes with the container's last process. Nothing is left on the host to be cleared away.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change};

use crate::cgroup_files::errno_text;
use crate::image_spec::{HeldBind, ImageSpec};
use crate::users::{self, User};

/// The image's user files are not read beyond this, in bytes.
const USERS_BYTES_MAX: u64 = 1 << 20;

/// In the helper: makes the root at `root` and holds the bind sources below `stage`. Returns these, in the order of
/// [`ImageSpec::own_binds`] and [`ImageSpec::held_binds`].
pub(crate) fn make(image: &ImageSpec, root: &Path, stage: &Path) -> Result<Vec<PathBuf>, String> {
    crate::sys::own_mounts().map_err(|err| format!("enter a mount namespace: {}", errno_text(&err)))?;
    // What is mounted from here on must not reach the host.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|err| said("leave the host's mounts", err))?;
    mount_layers(image, root)?;
    let binds = image.own_binds.iter().chain(&image.held_binds);
    binds.enumerate().map(|(number, bind)| hold(bind, &stage.join(number.to_string()))).collect()
}

fn said(what: &str, err: Errno) -> String {
    format!("{what}: {}", errno_text(&err.into()))
}

fn mount_layers(image: &ImageSpec, root: &Path) -> Result<(), String> {
    let made = |name: &str| {
        let dir = image.work_dir.join(name);
        std::fs::create_dir_all(&dir).map_err(|err| format!("create {}: {}", dir.display(), errno_text(&err)))?;
        Ok::<PathBuf, String>(dir)
    };
    let (upper, work, empty) = (made("upper")?, made("work")?, made("empty")?);
    // The layers' own names are short, so that as many as there may be fit into one page.
    std::env::set_current_dir(&image.layers_dir).map_err(|err| format!("enter the layers: {}", errno_text(&err)))?;
    let mut lower: Vec<String> = image.layers.iter().rev().map(|layer| layer.to_string_lossy().into_owned()).collect();
    if lower.is_empty() {
        lower.push(escaped(&empty));
    }
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), escaped(&upper), escaped(&work));
    let options = CString::new(options).map_err(|_| "a path contains a NUL byte".to_owned())?;
    // No device file that an image brings is one.
    let mounted = mount("overlay", root, "overlay", MountFlags::NODEV, options.as_c_str());
    let _ = std::env::set_current_dir("/");
    mounted.map_err(|err| match err {
        Errno::NODEV => "mount the image's layers: the kernel has no overlay file system".to_owned(),
        Errno::INVAL => format!(
            "mount the image's layers: the kernel refused; the file system of {} may not be able to hold what is written over them",
            image.work_dir.display()
        ),
        err => said("mount the image's layers", err),
    })
}

/// A path as overlay's options take it.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

/// Mounts the source of a bind where nobody can put anything else in its place.
fn hold(bind: &HeldBind, place: &Path) -> Result<PathBuf, String> {
    let place_of_source = bind.base.join(&bind.within);
    let shown = place_of_source.join(&bind.path);
    let failed = |err: io::Error| match Errno::from_io_error(&err) {
        Some(Errno::XDEV | Errno::LOOP) => {
            format!("bind {}: it leads out of {}", shown.display(), place_of_source.display())
        }
        _ => format!("bind {}: {}", shown.display(), errno_text(&err)),
    };
    let base = File::open(&bind.base).map_err(failed)?;
    let no_links = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let within = find(&base, &bind.within, no_links, bind.makes_source).map_err(failed)?;
    let source = find(&within, &bind.path, ResolveFlags::BENEATH, bind.makes_source).map_err(failed)?;
    let made = if source.metadata().map_err(failed)?.is_dir() {
        std::fs::create_dir(place)
    } else {
        File::create_new(place).map(drop)
    };
    made.map_err(failed)?;
    mount_bind_recursive(format!("/proc/self/fd/{}", source.as_raw_fd()), place).map_err(|err| failed(err.into()))?;
    Ok(place.to_owned())
}

/// What a relative path leads to; empty means `base`. What is missing becomes a directory if it `makes` that.
fn find(base: &File, path: &Path, resolve: ResolveFlags, makes: bool) -> io::Result<File> {
    if path.as_os_str().is_empty() {
        return base.try_clone();
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let open = || openat2(base, path, flags, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS).map(File::from);
    match open() {
        Err(Errno::NOENT) if makes => {
            make_dirs(base, path, resolve)?;
            Ok(open()?)
        }
        found => Ok(found?),
    }
}

/// Makes the directories of a relative path; none of it leaves `base`.
fn make_dirs(base: &File, path: &Path, resolve: ResolveFlags) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = OwnedFd::from(base.try_clone()?);
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        match mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(err) => return Err(err.into()),
        }
        dir = openat2(&dir, name, flags, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS)?;
    }
    Ok(())
}

/// Makes the working directory inside the root when the image has none; what can't be made is left to the start to say.
pub(crate) fn make_cwd(root: &Path, cwd: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = File::open(root) else { return };
    let inside = cwd.strip_prefix("/").unwrap_or(cwd);
    if openat2(&dir, cwd, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS).is_err() {
        let _ = make_dirs(&dir, inside, ResolveFlags::BENEATH);
    }
}

/// A user as the files below `root` name it; links in it lead nowhere else.
pub(crate) fn user(root: &Path, user: &str, groups: &[String]) -> Result<User, String> {
    let dir = File::open(root).map_err(|err| format!("open the root: {}", errno_text(&err)))?;
    let (passwd, group) = (read(&dir, "etc/passwd"), read(&dir, "etc/group"));
    let wanted = if user.is_empty() { "0:0" } else { user };
    let mut found = users::lookup_in(wanted, &passwd, &group)
        .map_err(|err| format!("unable to find user {user:?} in the image: {err}"))?;
    for name in groups {
        let gid =
            users::group_number(name, &group).ok_or_else(|| format!("unable to find group {name:?} in the image"))?;
        if !found.groups.contains(&gid) {
            found.groups.push(gid);
        }
    }
    Ok(found)
}

fn read(root: &File, path: &str) -> String {
    // Whatever the image has in its place: a pipe must not be waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut bytes = Vec::new();
    if let Ok(file) = openat2(root, path, flags, Mode::empty(), resolve).map(File::from)
        && file.metadata().is_ok_and(|meta| meta.is_file())
    {
        let _ = file.take(USERS_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
