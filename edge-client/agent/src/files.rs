//! Files of an alloc as people read them: lists, one file, its bytes.
//!
//! A task may have put anything into its directories, links to anywhere included, and may change them at any moment. So the
//! kernel itself resolves each path below a held directory and refuses what leads out of it (`openat2`, `RESOLVE_BENEATH`); all
//! else goes by the descriptor that this gives.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use drover_model::Timestamp;
use drover_protocol::codec;
use drover_protocol::edge::{
    CHUNK_BYTES_MAX, FILES_MAX, FILES_OF_PAGE_MAX, FileInfo, FilesRequest, FilesWanted, FromEdge, LogChunk, RpcError,
};
use drover_runner::alloc_dir::AllocDir;
use drover_runner::drivers::held_dir;
use drover_transport::{FrameSender, Stream};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, openat2, statat};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use crate::log_files::proc_path;

/// Bytes read at a time: less than a chunk may have, since it is framed with its file's name.
const READ_MAX: usize = CHUNK_BYTES_MAX / 2;
/// The longest path.
const PATH_BYTES_MAX: usize = 4096;
/// The longest silence on a stream that follows a file.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// Directories of a task of which nothing is read out, whoever asks.
const SECRET: [&str; 2] = ["secrets", "private"];
/// How often a path is resolved anew when a task renames things in between.
const TRIES_MAX: u32 = 64;

/// Answers on that stream.
pub async fn serve(mut stream: Stream, dir: AllocDir, asked: FilesRequest) {
    let FilesRequest { path, wanted, .. } = asked;
    let place = Place::new(dir.root().to_owned(), path);
    let (place, answer) = match tokio::task::spawn_blocking(move || {
        let answer = place.answer(wanted);
        (place, answer)
    })
    .await
    {
        Ok(answered) => answered,
        Err(error) => {
            let refused = FromEdge::Refused(RpcError::Unavailable { message: error.to_string() });
            let _ = stream.send_frame(&codec::encode(&refused)).await;
            return stream.finish();
        }
    };
    let mut pages = Vec::new();
    let (frame, file) = match answer {
        Ok(Answer::Files(mut files)) => {
            pages = files.split_off(files.len().min(FILES_OF_PAGE_MAX));
            (FromEdge::Files(files), None)
        }
        Ok(Answer::File(file)) => (FromEdge::File(file), None),
        Ok(Answer::Bytes(file)) => (FromEdge::Logs, Some(file)),
        Err(error) => (FromEdge::Refused(error), None),
    };
    if stream.send_frame(&codec::encode(&frame)).await.is_err() {
        return;
    }
    let (mut sender, _receiver) = stream.split();
    for page in pages.chunks(FILES_OF_PAGE_MAX) {
        if sender.send_frame(&codec::encode(&page)).await.is_err() {
            return;
        }
    }
    if let (Some(file), FilesWanted::Read { offset, from_end, bytes_max, follow }) = (file, wanted) {
        let size = file.metadata().map_or(0, |meta| meta.len());
        let offset = if from_end { size.saturating_sub(offset) } else { offset };
        let reading = Reading { file, name: place.path.trim_start_matches('/').to_owned(), offset, left: bytes_max };
        if reading.send(&mut sender, follow).await.is_err() {
            return;
        }
    }
    sender.finish();
}

enum Answer {
    Files(Vec<FileInfo>),
    File(FileInfo),
    Bytes(File),
}

/// A path below an alloc's directory.
struct Place {
    root: PathBuf,
    path: String,
    /// The kernel is not told to stay beneath the root: whether tests notice that.
    #[cfg(test)]
    is_unguarded: bool,
}

impl Place {
    fn new(root: PathBuf, path: String) -> Place {
        Place {
            root,
            path,
            #[cfg(test)]
            is_unguarded: false,
        }
    }

    fn answer(&self, wanted: FilesWanted) -> Result<Answer, RpcError> {
        match wanted {
            FilesWanted::List => self.list().map(Answer::Files),
            FilesWanted::Stat => self.stat().map(Answer::File),
            FilesWanted::Read { .. } => self.open_file().map(Answer::Bytes),
        }
    }

    /// The path without what means nothing. None when it leads out by its own words.
    fn clean(&self) -> Option<PathBuf> {
        if self.path.len() > PATH_BYTES_MAX || self.path.contains('\0') {
            return None;
        }
        let mut clean = PathBuf::new();
        for component in Path::new(&self.path).components() {
            match component {
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
                Component::Normal(name) => clean.push(name),
                Component::ParentDir if clean.pop() => {}
                Component::ParentDir => return None,
            }
        }
        Some(if clean.as_os_str().is_empty() { PathBuf::from(".") } else { clean })
    }

    /// Resolves the path beneath the alloc's directory. `verb` is the word for it in what is said when that fails.
    fn open(&self, flags: OFlags, verb: &str) -> Result<OwnedFd, RpcError> {
        let clean = self.clean().ok_or_else(escapes)?;
        let failed = |errno: Errno| self.failed(verb, &clean, errno);
        let root =
            held_dir::open(&self.root).map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::INVAL)))?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        #[cfg(test)]
        let resolve = if self.is_unguarded { ResolveFlags::empty() } else { resolve };
        // One that is only held takes no other flags.
        let others = if flags.contains(OFlags::PATH) { OFlags::CLOEXEC } else { OFlags::CLOEXEC | OFlags::NONBLOCK };
        let flags = flags | others;
        for _ in 0..TRIES_MAX {
            match openat2(&root, &clean, flags, Mode::empty(), resolve) {
                Ok(fd) => return Ok(fd),
                Err(Errno::XDEV) => return Err(escapes()),
                // Somebody renames things while the kernel looks.
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Err(failed(Errno::AGAIN))
    }

    fn failed(&self, verb: &str, clean: &Path, errno: Errno) -> RpcError {
        let path = if clean == Path::new(".") { self.root.clone() } else { self.root.join(clean) };
        let text = errno_text(errno);
        let message = format!("{verb} {}: {text}", path.display());
        match errno {
            Errno::NOENT => RpcError::NotFound { message },
            _ => RpcError::Unavailable { message },
        }
    }

    fn list(&self) -> Result<Vec<FileInfo>, RpcError> {
        let dir = self.open(OFlags::RDONLY | OFlags::DIRECTORY, "open")?;
        let unreadable = |errno: Errno| RpcError::Unavailable { message: format!("read directory: {errno}") };
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if found.len() >= FILES_MAX {
                let message = format!("read directory: it has more than {FILES_MAX} files");
                return Err(RpcError::Unavailable { message });
            }
            // One that is gone meanwhile is not listed.
            if let Ok(stat) = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                found.push(info(name.to_string_lossy().into_owned(), &stat));
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn stat(&self) -> Result<FileInfo, RpcError> {
        let fd = self.open(OFlags::PATH, "stat")?;
        let unreadable = |errno: Errno| RpcError::Unavailable { message: format!("stat: {errno}") };
        let stat = rustix::fs::fstat(&fd).map_err(unreadable)?;
        let clean = self.clean().ok_or_else(escapes)?;
        let name = clean.file_name().map_or_else(
            || self.root.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        let mut found = info(name, &stat);
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && !self.is_secret(&fd) {
            let mut head = [0; 512];
            let length = reopen(&fd).and_then(|file| file.read_at(&mut head, 0)).unwrap_or(0);
            found.content_type = content_type(head.get(..length).unwrap_or_default()).to_owned();
        }
        Ok(found)
    }

    fn open_file(&self) -> Result<File, RpcError> {
        let fd = self.open(OFlags::PATH, "stat")?;
        let invalid = |message: String| RpcError::Invalid { message };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| invalid(format!("stat: {errno}")))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(invalid(format!("file {:?} is a directory", self.path))),
            // A fifo would make its reader wait, a device do anything.
            _ => return Err(invalid(format!("file {:?} is not a regular file", self.path))),
        }
        if self.is_secret(&fd) {
            return Err(invalid(format!("Reading secret file prohibited: {}", self.path)));
        }
        reopen(&fd).map_err(|error| invalid(format!("open {}: {error}", self.path)))
    }

    /// Whether it lies in a task's directory of secrets, by whatever way it was reached.
    fn is_secret(&self, fd: &OwnedFd) -> bool {
        let Ok(real) = std::fs::read_link(proc_path(fd)) else { return true };
        let root = held_dir::open(&self.root).and_then(|root| std::fs::read_link(proc_path(&root)));
        let Some(inside) = root.ok().and_then(|root| Some(real.strip_prefix(root).ok()?.to_owned())) else {
            // Moved away meanwhile, or a second name of something else.
            return true;
        };
        let second = inside.components().nth(1);
        second.is_some_and(|second| SECRET.iter().any(|name| second.as_os_str() == *name))
    }
}

fn escapes() -> RpcError {
    RpcError::Unavailable { message: "Path escapes the alloc directory".to_owned() }
}

/// Opens for reading what a descriptor stands for, and nothing else.
fn reopen(fd: &OwnedFd) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    Ok(File::from(file))
}

/// The kernel's words as programs of the field print them.
fn errno_text(errno: Errno) -> String {
    let text = io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[expect(clippy::unnecessary_cast, reason = "the fields have other types on other architectures")]
fn info(name: String, stat: &Stat) -> FileInfo {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let modified = (stat.st_mtime as i64).saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64);
    FileInfo {
        name,
        is_dir: kind == FileType::Directory,
        size: stat.st_size,
        mode: mode_text(kind, stat.st_mode),
        modified: Timestamp(modified),
        content_type: String::new(),
    }
}

fn mode_text(kind: FileType, mode: u32) -> String {
    let mut text = match kind {
        FileType::Directory => "d",
        FileType::Symlink => "L",
        FileType::Fifo => "p",
        FileType::Socket => "S",
        FileType::BlockDevice => "D",
        FileType::CharacterDevice => "Dc",
        _ => "",
    }
    .to_owned();
    for (bit, letter) in [(0o4000, 'u'), (0o2000, 'g'), (0o1000, 't')] {
        if mode & bit != 0 {
            text.push(letter);
        }
    }
    if text.is_empty() {
        text.push('-');
    }
    for (place, letter) in "rwxrwxrwx".chars().enumerate() {
        text.push(if mode & (0o400 >> place) != 0 { letter } else { '-' });
    }
    text
}

/// What bytes seem to be. Nothing that a browser would run.
fn content_type(head: &[u8]) -> &'static str {
    const KNOWN: [(&[u8], &str); 6] = [
        (b"\x1f\x8b\x08", "application/x-gzip"),
        (b"PK\x03\x04", "application/zip"),
        (b"\x89PNG\x0d\x0a\x1a\x0a", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"%PDF-", "application/pdf"),
    ];
    if let Some((_, kind)) = KNOWN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return kind;
    }
    let is_binary = head.iter().any(|byte| matches!(byte, 0x00..=0x08 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f));
    if is_binary { "application/octet-stream" } else { "text/plain; charset=utf-8" }
}

/// A file on its way to a reader.
struct Reading {
    file: File,
    name: String,
    offset: u64,
    left: Option<u64>,
}

/// What a look at the file gives.
enum Found {
    Data(Vec<u8>),
    Event(&'static str),
    Nothing,
}

impl Reading {
    /// Sends its bytes; an error when nobody reads any more.
    async fn send(mut self, sender: &mut FrameSender, follow: bool) -> Result<(), ()> {
        let watch = follow.then(|| Watch::new(&self.file)).transpose().unwrap_or(None);
        loop {
            // Not on the agent's one thread: the file may lie on a disk, or on another host, that does not answer.
            let looked = tokio::task::spawn_blocking(move || {
                let found = self.look();
                (self, found)
            });
            let found;
            (self, found) = looked.await.map_err(|_| ())?;
            let chunk = match (found, &watch) {
                (Found::Data(data), _) => {
                    let chunk = LogChunk { data, file: self.name.clone(), offset: self.offset, event: String::new() };
                    sender.send_frame(&codec::encode(&chunk)).await.map_err(|_| ())?;
                    continue;
                }
                (_, None) => return Ok(()),
                (Found::Event(event), Some(_)) => {
                    LogChunk { file: self.name.clone(), event: event.to_owned(), ..LogChunk::default() }
                }
                (Found::Nothing, Some(watch)) => {
                    self.wait(watch, sender).await?;
                    continue;
                }
            };
            sender.send_frame(&codec::encode(&chunk)).await.map_err(|_| ())?;
            if chunk.event == DELETED {
                return Ok(());
            }
        }
    }

    /// Waits until there may be something new.
    async fn wait(&self, watch: &Watch, sender: &mut FrameSender) -> Result<(), ()> {
        tokio::select! {
            changed = watch.changed() => changed.map_err(|_| ()),
            _ = sender.reader_gone() => Err(()),
            () = tokio::time::sleep(SIGN_OF_LIFE) => {
                sender.send_frame(&codec::encode(&LogChunk::default())).await.map_err(|_| ())
            }
        }
    }

    /// What there is to tell.
    fn look(&mut self) -> Found {
        match self.next_piece() {
            Some(data) => Found::Data(data),
            None => self.event().map_or(Found::Nothing, Found::Event),
        }
    }

    fn next_piece(&mut self) -> Option<Vec<u8>> {
        let wanted = self.left.map_or(READ_MAX, |left| usize::try_from(left).unwrap_or(READ_MAX).min(READ_MAX));
        let mut data = vec![0; wanted];
        let length = self.file.read_at(&mut data, self.offset).unwrap_or(0);
        if length == 0 {
            return None;
        }
        data.truncate(length);
        self.offset += length as u64;
        self.left = self.left.map(|left| left - length as u64);
        Some(data)
    }

    fn event(&mut self) -> Option<&'static str> {
        let meta = self.file.metadata().ok()?;
        if meta.nlink() == 0 {
            return Some(DELETED);
        }
        if meta.len() < self.offset {
            self.offset = 0;
            return Some("file truncated");
        }
        None
    }
}

const DELETED: &str = "file deleted";

/// The kernel's notices of one file.
struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    fn new(file: &File) -> io::Result<Watch> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // Its last name goes with a change of its attributes, as long as it is held open here.
        let kinds = WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        inotify::add_watch(&fd, format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()), kinds)?;
        // SAFETY: the descriptor is open and belongs to the `AsyncFd` alone from here on.
        Ok(Watch(unsafe { AsyncFd::register(fd) }?))
    }

    async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            match rustix::io::read(self.0.get_ref(), &mut [0; 4096]) {
                Ok(_) => return Ok(()),
                Err(Errno::WOULDBLOCK) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

#[cfg(test)]
#[path = "files/tests.rs"]
mod tests;
