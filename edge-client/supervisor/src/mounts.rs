//! Removing a directory that tasks had, without ever reaching through a mount: what is mounted there is the host's.

use std::path::{Path, PathBuf};

/// How often the mounts are looked through before what is still there counts as stuck.
const LOOKS_MAX: usize = 5;

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
    // The kernel's list is read in pieces and may pass over a mount while others come and go: one look is not enough.
    for _ in 0..LOOKS_MAX {
        // The newest mount first: one may stand on another.
        for mount in mounts_below(&dir)?.iter().rev() {
            let flags = rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW;
            if let Err(err) = rustix::mount::unmount(mount, flags) {
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
    std::fs::remove_dir_all(&dir).map_err(|err| format!("remove {}: {err}", dir.display()))
}

fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>, String> {
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
