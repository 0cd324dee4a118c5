//! The file by which agents on the same host find this server, and this server its fellows (see
//! `drover_protocol::host_file`).

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use drover_protocol::host_file::{
    BYTES_MAX, HostFile as Content, NO_FINGERPRINT, directory, file_name, parse_file_name, parse_waiting_file_name,
    waiting_file_name,
};

use crate::authority::write_private;

/// Most files looked at in the directory.
const FILES_MAX: usize = 4096;
/// How long the lock is waited for, and between two tries of it.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(20);
/// How often a lock whose holder has just gone is taken anew at once.
const LOCK_TURNS_MAX: usize = 16;

/// The file of this server; none when it could not be written, then agents on this host need a token.
#[derive(Default)]
pub struct HostFile(Mutex<Option<PathBuf>>);

/// Another server of this user in this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fellow {
    /// What it says of itself.
    pub content: Content,
    /// It has no authority either.
    pub is_waiting: bool,
}

/// Held while an authority is looked for or made: of the servers of one region on a host only one makes it.
pub struct HostLock {
    path: PathBuf,
    #[expect(dead_code, reason = "held, not read: the lock goes with the file")]
    file: File,
}

impl Drop for HostLock {
    fn drop(&mut self) {
        // While it is locked: who has opened it meanwhile sees that it is not there any more, and makes another.
        remove(&self.path);
    }
}

impl HostFile {
    /// Takes the file away.
    pub fn remove(&self) {
        if let Some(path) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            remove(&path);
        }
    }

    /// Writes the file, in place of what was there before; one without a fingerprint says that this server waits.
    pub fn write(&self, content: &Content, rpc_port: u16) {
        let written = try_write(content, rpc_port, content.fingerprint == NO_FINGERPRINT);
        if let Err(error) = &written {
            tracing::warn!(%error, "agents on this host need a join token: host file not written");
        }
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = held.take().filter(|old| written.as_ref().ok() != Some(old)) {
            remove(&old);
        }
        *held = written.ok();
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "host file not removed");
    }
}

fn place() -> io::Result<(PathBuf, u32, u64)> {
    let uid = rustix::process::geteuid().as_raw();
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let dir = directory(uid, runtime_dir.as_deref());
    make_own_directory(&dir, uid)?;
    Ok((dir, uid, fs::metadata("/proc/self/ns/net")?.ino()))
}

fn try_write(content: &Content, rpc_port: u16, is_waiting: bool) -> io::Result<PathBuf> {
    let (dir, _, netns) = place()?;
    remove_stale(&dir, netns)?;
    let name = if is_waiting { waiting_file_name(rpc_port, netns) } else { file_name(rpc_port, netns) };
    let path = dir.join(name);
    write_private(&path, content.to_json().as_bytes())?;
    Ok(path)
}

/// Servers of the same user, network namespace and region that run, the one at `own_rpc` aside.
///
/// # Errors
/// The directory can't be used.
pub fn fellows(region: &str, own_rpc: &str) -> io::Result<Vec<Fellow>> {
    let (dir, uid, netns) = place()?;
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir)?.take(FILES_MAX).flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_waiting = parse_waiting_file_name(name).is_some_and(|(_, inode)| inode == netns);
        if !is_waiting && parse_file_name(name).is_none_or(|(_, inode)| inode != netns) {
            continue;
        }
        if let Some(content) = read_own(&entry.path(), uid)
            && content.region == region
            && content.rpc != own_rpc
            && Path::new(&format!("/proc/{}", content.pid)).exists()
        {
            found.push(Fellow { content, is_waiting });
        }
    }
    found.sort_by(|a, b| a.content.rpc.cmp(&b.content.rpc));
    Ok(found)
}

/// The file, if it belongs to that user alone. No link is followed.
fn read_own(path: &Path, uid: u32) -> Option<Content> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).ok()?;
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.uid() != uid || meta.mode() & 0o077 != 0 {
        return None;
    }
    let mut text = Vec::new();
    file.take(BYTES_MAX as u64 + 1).read_to_end(&mut text).ok()?;
    Content::parse(&text).ok()
}

/// The host's lock for that region, unless another server holds it.
///
/// # Errors
/// The directory can't be used.
pub fn try_lock(region: &str) -> io::Result<Option<HostLock>> {
    let (dir, _, netns) = place()?;
    try_lock_at(dir.join(format!("{region}-{netns}.lock")))
}

fn try_lock_at(path: PathBuf) -> io::Result<Option<HostLock>> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    for _ in 0..LOCK_TURNS_MAX {
        let file = options.open(&path)?;
        match file.try_lock() {
            Ok(()) if is_still(&file, &path)? => return Ok(Some(HostLock { path, file })),
            // Between the two its holder has taken it away: a lock on it keeps nobody out.
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

/// The file is the one that stands there now.
fn is_still(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// As [`try_lock`], but waits while another server holds the lock: it looks round or makes the authority, some moments.
///
/// # Errors
/// The directory can't be used.
pub async fn lock(region: &str) -> io::Result<Option<HostLock>> {
    let given_up = tokio::time::Instant::now() + LOCK_WAIT;
    loop {
        let lock = try_lock(region)?;
        if lock.is_some() || tokio::time::Instant::now() >= given_up {
            return Ok(lock);
        }
        tokio::time::sleep(LOCK_RETRY).await;
    }
}

/// Takes away the files of servers that were killed. Only those of this network namespace: a process of another one
/// may not be visible from here.
fn remove_stale(dir: &Path, netns: u64) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let parsed = name.to_str().and_then(|name| parse_file_name(name).or_else(|| parse_waiting_file_name(name)));
        let is_ours = parsed.is_some_and(|(_, other)| other == netns);
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
    use drover_protocol::host_file::HOST_FILE_VERSION;

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
            gossip: String::new(),
            bootstrap_expect: 1,
            joins: Vec::new(),
        };
        content.to_json()
    }

    #[test]
    fn a_lock_has_one_holder_and_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("west-7.lock");
        let first = try_lock_at(path.clone()).unwrap().unwrap();
        assert!(try_lock_at(path.clone()).unwrap().is_none());
        // Opened by another one while it was held.
        let late = File::open(&path).unwrap();
        drop(first);
        assert!(!path.exists());
        late.try_lock().unwrap();
        assert!(!is_still(&late, &path).unwrap());
        let second = try_lock_at(path.clone()).unwrap().unwrap();
        assert!(!is_still(&late, &path).unwrap(), "it is another file");
        assert!(try_lock_at(path.clone()).unwrap().is_none());
        drop(second);
        // One that was killed leaves its file, unlocked.
        std::fs::write(&path, "").unwrap();
        drop(try_lock_at(path.clone()).unwrap().unwrap());
        assert!(!path.exists());

        let holders = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if let Some(_lock) = try_lock_at(path.clone()).unwrap() {
                            let before = holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            assert_eq!(before, 0, "it has two holders");
                            std::thread::yield_now();
                            holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        }
                    }
                });
            }
        });
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
