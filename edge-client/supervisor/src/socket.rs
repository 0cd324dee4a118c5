//! The Unix socket between agent and supervisor: long paths, rights from its birth on, and who is at the other end.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The longest path that fits into a socket address, its closing NUL counted.
const ADDRESS_BYTES_MAX: usize = 108;

/// Calls `with` with a path that fits into a socket address; a long one goes through its held directory.
fn with_short_path<T>(path: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().as_bytes().len() < ADDRESS_BYTES_MAX {
        return with(path);
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty())?;
    let short: PathBuf = ["/proc/self/fd", &dir.as_raw_fd().to_string()].iter().collect();
    with(&short.join(name))
}

/// Listens on `path` with rights 0600, also for the moment between bind and chmod.
pub(crate) fn listen(path: &Path) -> io::Result<OwnedFd> {
    with_short_path(path, |short| {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // Linux gives the file the rights of the socket's own inode.
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600))?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(short)?)?;
        rustix::net::listen(&socket, 64)?;
        Ok(socket)
    })
}

/// Connects to `path` and makes sure that the other end belongs to this user or root.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = with_short_path(path, |short| UnixStream::connect(short))?;
    if !is_ours(&stream) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the socket belongs to another user"));
    }
    Ok(stream)
}

/// Whether the peer runs as this process's user or as root.
pub(crate) fn is_ours(socket: impl AsFd) -> bool {
    let own = rustix::process::geteuid();
    rustix::net::sockopt::socket_peercred(socket).is_ok_and(|peer| peer.uid == own || peer.uid.is_root())
}
