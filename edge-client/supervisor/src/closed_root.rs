//! The root of an `exec` task for which no device rules are enforced: no device file in it opens, whoever made it. An earlier start
//! of the same task may have had rules, and with them the right to make such files.

use std::path::Path;

use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind_recursive, mount_change, mount_remount};

use crate::cgroup_files::errno_text;
use crate::mounts::mounts_below;

/// In the helper: mounts `root` on itself, and with it what is mounted below, so that device files there are of no use. It is seen
/// by the container alone, which takes this mount over as it is; the devices of its `/dev` stand on another one.
///
/// # Errors
/// What the kernel refused: then the task must not start.
pub(crate) fn close(root: &Path) -> Result<(), String> {
    let said = |what: &str, err: Errno| format!("close the root to device files: {what}: {}", errno_text(&err.into()));
    let root = root.canonicalize().map_err(|err| format!("resolve {}: {}", root.display(), errno_text(&err)))?;
    crate::sys::own_mounts().map_err(|err| format!("enter a mount namespace: {}", errno_text(&err)))?;
    // What is mounted from here on must not reach the host.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|err| said("leave the host's mounts", err))?;
    mount_bind_recursive(&root, &root).map_err(|err| said("bind it", err))?;
    // Nor must anything of the host come into it later.
    mount_change(&root, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|err| said("keep the host's mounts out", err))?;
    // The one above first: it is what is found at the place of one that is hidden.
    let mut places = mounts_below(&root)?;
    places.sort();
    for place in places {
        if let Some(flags) = open_mount(&place)? {
            mount_remount(&place, flags | MountFlags::BIND | MountFlags::NODEV, c"")
                .map_err(|err| said(&format!("remount {}", place.display()), err))?;
        }
    }
    for place in mounts_below(&root)? {
        if open_mount(&place)?.is_some() {
            return Err(format!("close the root to device files: {} stays open to them", place.display()));
        }
    }
    Ok(())
}

/// The flags of a mount on which device files open, as far as a remount would take them away. None for one that nobody reaches
/// because another is mounted above.
fn open_mount(place: &Path) -> Result<Option<MountFlags>, String> {
    let flags = match rustix::fs::statvfs(place) {
        Ok(stat) => stat.f_flag,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(err) => return Err(format!("look at the mount {}: {}", place.display(), errno_text(&err.into()))),
    };
    let kept = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ];
    let kept = kept.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, flag)| flag).collect();
    Ok((!flags.contains(StatVfsMountFlags::NODEV)).then_some(kept))
}
