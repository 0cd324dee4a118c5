//! Sends a task's log to a server, and what is added to it, as long as somebody reads. Waits for the kernel's notice.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use drover_protocol::codec;
use drover_protocol::edge::{CHUNK_BYTES_MAX, LogChunk, ReadLogs};
use drover_runner::drivers::held_dir;
use drover_transport::FrameSender;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::log_files::{LogFiles, LogPlace, proc_path};

/// The longest silence on a stream that follows a log.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// Bytes read at a time: as many as a chunk may have; what frames it is counted apart.
const READ_MAX: usize = CHUNK_BYTES_MAX;

/// Sends the log from the place that was asked for. Ends at the end of the log, or with its reader when it follows.
pub async fn send(sender: &mut FrameSender, dir: &Path, asked: &ReadLogs) {
    let files = LogFiles::new(dir, &asked.task, &asked.stream);
    // Before the first read, so that nothing falls between.
    let watch = asked.follow.then(|| Watch::new(dir)).transpose();
    let watch = match watch {
        Ok(watch) => watch,
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "log can't be followed");
            None
        }
    };
    let (all, offset, from_end) = (files.clone(), asked.offset, asked.from_end);
    let Ok(place) = tokio::task::spawn_blocking(move || all.place(offset, from_end)).await else { return };
    let mut place = place.unwrap_or_default();
    loop {
        match send_rest(sender, &files, &mut place).await {
            Ok(()) => {}
            Err(()) => return,
        }
        let Some(watch) = &watch else { break };
        tokio::select! {
            changed = watch.changed() => {
                if changed.is_err() {
                    break;
                }
            }
            _ = sender.reader_gone() => return,
            () = tokio::time::sleep(SIGN_OF_LIFE) => {
                if sender.send_frame(&codec::encode(&LogChunk::default())).await.is_err() {
                    return;
                }
            }
        }
    }
    sender.finish();
}

/// Sends what is there. An error means that nobody reads, or that the log can't be read.
async fn send_rest(sender: &mut FrameSender, files: &LogFiles, place: &mut LogPlace) -> Result<(), ()> {
    // Not on the agent's one thread: the disk may not answer.
    let read_from = |from: LogPlace| {
        let all = files.clone();
        tokio::task::spawn_blocking(move || all.read(from, READ_MAX))
    };
    let mut next = read_from(*place);
    loop {
        match next.await.map_err(|_| ())? {
            Ok(Some(piece)) => {
                *place = piece.end;
                // While this one is sent.
                next = read_from(*place);
                let chunk = LogChunk {
                    data: piece.data,
                    file: format!("alloc/logs/{}", piece.file),
                    offset: piece.end.offset,
                    event: String::new(),
                };
                sender.send_frame(&codec::encode(&chunk)).await.map_err(|_| ())?;
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::warn!(%error, "log not read");
                return Err(());
            }
        }
    }
}

/// The kernel's notices of a directory.
struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    fn new(dir: &Path) -> std::io::Result<Watch> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let kinds = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF;
        let dir = held_dir::open(dir)?;
        inotify::add_watch(&fd, proc_path(&dir), kinds)?;
        // SAFETY: the descriptor is open and belongs to the `AsyncFd` alone from here on.
        Ok(Watch(unsafe { AsyncFd::register(fd) }?))
    }

    /// Resolves when something in the directory has changed since the last time.
    async fn changed(&self) -> std::io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut buffer = [0; 4096];
            // Which file it was is of no interest: all that belong to the log are looked at.
            match rustix::io::read(self.0.get_ref(), &mut buffer) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::WOULDBLOCK) => ready.clear_ready(),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_noticed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let watch = Watch::new(dir.path()).unwrap();
            std::fs::write(dir.path().join("t.stdout.0"), "x").unwrap();
            tokio::time::timeout(Duration::from_secs(120), watch.changed()).await.unwrap().unwrap();
        });
    }
}
