//! Writes the file by which agents on the same host find this server (see `drover_protocol::host_file`).

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use drover_certs::Secret;
use drover_protocol::host_file::{HOST_FILE_VERSION, HostFile as Content, directory, file_name};

use crate::authority::{reachable, write_private};
use crate::settings::ServerInfo;

/// The file of this server; none when it could not be written, then agents on this host need a token.
pub struct HostFile(Option<PathBuf>);

impl HostFile {
    /// Takes the file away.
    pub fn remove(&self) {
        if let Some(path) = &self.0
            && let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "host file not removed");
        }
    }
}

/// Writes the file.
pub fn write(info: &ServerInfo, bound: SocketAddr, secret: &Secret) -> HostFile {
    let content = Content {
        version: HOST_FILE_VERSION,
        region: info.region.clone(),
        fingerprint: info.fingerprint.clone(),
        secret: secret.reveal(),
        // Not the advertised address: behind a NAT it may lead nowhere from here.
        rpc: reachable(bound).to_string(),
        http: info.http_advertise.clone(),
        pid: std::process::id(),
    };
    match try_write(&content, bound.port()) {
        Ok(path) => HostFile(Some(path)),
        Err(error) => {
            tracing::warn!(%error, "clients on this host need a join token: host file not written");
            HostFile(None)
        }
    }
}

fn try_write(content: &Content, rpc_port: u16) -> io::Result<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let dir = directory(uid, runtime_dir.as_deref());
    make_own_directory(&dir, uid)?;
    let netns = fs::metadata("/proc/self/ns/net")?.ino();
    let path = dir.join(file_name(rpc_port, netns));
    write_private(&path, content.to_json().as_bytes())?;
    Ok(path)
}

/// Makes the directory, or takes the one that is there if it is ours and closed to others. A link is not followed.
fn make_own_directory(dir: &Path, uid: u32) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let metadata = fs::symlink_metadata(dir)?;
    if !metadata.is_dir() || metadata.uid() != uid || metadata.mode() & 0o077 != 0 {
        let text = format!("{} is not a directory that belongs to this user alone", dir.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(())
}
