//! Network namespaces: made by a thread that ends, kept by a mount on a file, entered by threads of their own.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::mount::UnmountFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// What the kernel says of a file that is a namespace.
const NAMESPACE_FILE_SYSTEM: u64 = 0x6e73_6673;

/// Makes a namespace, keeps it at `path`, and has `inside` done in it.
pub(crate) fn make<T: Send>(path: &Path, inside: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    // A file that is there is what a kill left; whatever stood on it was taken away by the caller.
    File::create(path)?;
    on_a_thread(|| {
        leave_network()?;
        rustix::mount::mount_bind("/proc/thread-self/ns/net", path)?;
        inside()
    })
}

/// Has something done in a namespace that goes with it.
pub(crate) fn in_passing<T: Send>(inside: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    on_a_thread(|| {
        leave_network()?;
        inside()
    })
}

/// Has something done inside of a namespace.
pub(crate) fn enter<T: Send>(namespace: &File, inside: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    on_a_thread(|| {
        move_into_link_name_space(std::os::fd::AsFd::as_fd(namespace), Some(LinkNameSpaceType::Network))?;
        inside()
    })
}

/// True when a namespace is kept at that path.
pub(crate) fn is_kept(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u64 == NAMESPACE_FILE_SYSTEM)
}

/// Keeps it no longer: it is gone with the last process inside. Nothing there is no error.
pub(crate) fn release(path: &Path) -> io::Result<()> {
    // One may stand on another, after a kill at the wrong moment.
    while is_kept(path) {
        rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[allow(unsafe_code, reason = "the one call of its kind")]
fn leave_network() -> io::Result<()> {
    // SAFETY: only the table of descriptors would be dangerous to part with; this is the network.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?)
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("network".to_owned()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace failed")))
    })
}
