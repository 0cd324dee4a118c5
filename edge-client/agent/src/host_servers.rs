//! Servers on this host, by the files that they write for their own kind (see `drover_protocol::host_file`).

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use drover_certs::Secret;
pub use drover_protocol::host_file::TokenOrder;
use drover_protocol::host_file::{BYTES_MAX, HostFile, directories, parse_file_name, parse_waiting_file_name};

/// Most files looked at in one directory. Servers that were killed leave theirs behind, and must not hide those that run.
const FILES_MAX: usize = 4096;

/// The files of servers of that region that this process may believe: in its own network namespace, of its own user,
/// root's, or under sudo the calling user's.
pub fn find(region: &str) -> Vec<HostFile> {
    all(parse_file_name).into_iter().filter(|file| file.region == region).collect()
}

/// Signs an order for a join token with the secret of the server on this host whose HTTP API is at `http` (`host:port`);
/// the proof in hexadecimal digits, or none when this process can read no such server's file.
pub fn sign(http: &str, order: &TokenOrder<'_>) -> Option<String> {
    let port = |address: &str| address.rsplit(':').next().map(str::to_owned);
    // One that still waits for an authority makes it when it is asked for a token.
    let files = all(parse_file_name).into_iter().chain(all(parse_waiting_file_name));
    let file = files.into_iter().find(|file| port(&file.http) == port(http))?;
    let secret: Secret = file.secret.parse().ok()?;
    Some(secret.mac(&order.message()).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Takes a file's name apart.
type ParseName = fn(&str) -> Option<(u16, u64)>;

fn all(parse: ParseName) -> Vec<HostFile> {
    let uid = rustix::process::geteuid().as_raw();
    let sudo_uid = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let Ok(netns) = fs::metadata("/proc/self/ns/net") else { return Vec::new() };
    let mut found: Vec<HostFile> = Vec::new();
    for (dir, owner) in directories(uid, sudo_uid, runtime_dir.as_deref()) {
        found.extend(read_dir(&dir, owner, netns.ino(), parse));
    }
    // A server that was killed leaves its file behind; it is tried last, since another may show it under another pid.
    found.sort_by_key(|file| !Path::new(&format!("/proc/{}", file.pid)).exists());
    found
}

fn read_dir(dir: &Path, owner: u32, netns: u64, parse: ParseName) -> Vec<HostFile> {
    let is_closed =
        fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir() && meta.uid() == owner && meta.mode() & 0o077 == 0);
    let entries = match fs::read_dir(dir) {
        Ok(entries) if is_closed => entries,
        _ => return Vec::new(),
    };
    let mut paths: Vec<(u16, PathBuf)> = entries
        .take(FILES_MAX)
        .flatten()
        .filter_map(|entry| {
            let (port, inode) = parse(entry.file_name().to_str()?)?;
            (inode == netns).then(|| (port, entry.path()))
        })
        .collect();
    paths.sort();
    paths.into_iter().filter_map(|(_, path)| read(&path, owner)).collect()
}

/// The file, if it belongs to `owner` alone. No link is followed.
fn read(path: &Path, owner: u32) -> Option<HostFile> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = fs::File::options().read(true).custom_flags(flags.bits() as i32).open(path).ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.uid() != owner || meta.mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "file of a server on this host not believed: owner or rights are wrong");
        return None;
    }
    let mut text = Vec::new();
    file.take(BYTES_MAX as u64 + 1).read_to_end(&mut text).ok()?;
    match HostFile::parse(&text) {
        Ok(file) => Some(file),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "file of a server on this host not believed");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use drover_protocol::host_file::{HOST_FILE_VERSION, file_name};

    #[test]
    fn only_files_of_the_owner_alone_count() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let content = HostFile {
            version: HOST_FILE_VERSION,
            region: "global".to_owned(),
            fingerprint: "ab".repeat(32),
            secret: "cd".repeat(32),
            rpc: "127.0.0.1:4647".to_owned(),
            http: String::new(),
            pid: 1,
            gossip: String::new(),
            bootstrap_expect: 1,
            joins: Vec::new(),
        };
        let write = |port: u16, netns: u64, mode: u32| {
            let path = dir.path().join(file_name(port, netns));
            fs::write(&path, content.to_json()).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        };
        let good = write(4647, 7, 0o600);
        write(4647, 8, 0o600);
        write(4648, 7, 0o644);
        std::os::unix::fs::symlink(&good, dir.path().join(file_name(4649, 7))).unwrap();
        fs::write(dir.path().join(file_name(4650, 7)), "{").unwrap();
        assert_eq!(read_dir(dir.path(), uid, 7, parse_file_name), [content]);
        assert_eq!(read_dir(dir.path(), uid + 1, 7, parse_file_name), []);
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        assert_eq!(read_dir(dir.path(), uid, 7, parse_file_name), []);
    }
}
