//! Writes the file by which agents on the same host find this server (see `drover_protocol::host_file`).

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use drover_certs::Secret;
use drover_protocol::host_file::{HOST_FILE_VERSION, HostFile as Content, directory, file_name, parse_file_name};

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
    remove_stale(&dir, netns)?;
    let path = dir.join(file_name(rpc_port, netns));
    write_private(&path, content.to_json().as_bytes())?;
    Ok(path)
}

/// Takes away the files of servers that were killed. Only those of this network namespace: a process of another one
/// may not be visible from here.
fn remove_stale(dir: &Path, netns: u64) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_str().and_then(parse_file_name).is_some_and(|(_, other)| other == netns);
        if !is_ours {
            continue;
        }
        let gone = fs::read(entry.path())
            .ok()
            .and_then(|text| Content::parse(&text).ok())
            .is_some_and(|file| !Path::new(&format!("/proc/{}", file.pid)).exists());
        if gone {
            // Another server may clean up at the same time.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file(pid: u32) -> String {
        let content = Content {
            version: HOST_FILE_VERSION,
            region: "global".to_owned(),
            fingerprint: "ab".repeat(32),
            secret: "cd".repeat(32),
            rpc: "127.0.0.1:4647".to_owned(),
            http: String::new(),
            pid,
        };
        content.to_json()
    }

    #[test]
    fn files_of_dead_servers_of_this_namespace_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut ended = std::process::Command::new("/bin/true").spawn().unwrap();
        let dead = ended.id();
        ended.wait().unwrap();
        let write = |name: &str, pid| fs::write(dir.path().join(name), file(pid)).unwrap();
        write(&file_name(1, 7), dead);
        write(&file_name(2, 7), std::process::id());
        write(&file_name(3, 8), dead);
        write("other.txt", dead);
        remove_stale(dir.path(), 7).unwrap();
        let mut left: Vec<String> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, [file_name(2, 7), file_name(3, 8), "other.txt".to_owned()]);
    }
}
