//! Snapshots for operators: the state saved on any server, and a file's state brought into the region by its leader.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use drover_protocol::codec;
use drover_protocol::edge::RpcError;
use drover_protocol::server::{FromPeer, SERVER_BYTES_MAX, ToPeer};
use drover_raft::RestoreError;
pub use drover_raft::{
    SNAPSHOT_BYTES_MAX, SnapshotError, SnapshotInfo, check_snapshot, copy_snapshot, file_digest, read_snapshot,
};
pub use drover_state::State;
use drover_transport::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::error::Error;
use crate::peer_service::{rpc_error, unexpected};
use crate::server::Server;

/// Snapshots that are saved at a time: each is encoded in memory, and lies on disk until it is sent.
pub const SAVES_MAX: usize = 2;
/// Restores that a server takes at a time.
pub const RESTORES_MAX: usize = 1;
/// How much of a file is under way at once, in bytes.
pub const PIECE_BYTES: usize = 256 << 10;
/// How long the next piece of a file may take to come from another server, or to go there.
const PIECE_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a stream to the leader may take to open.
const OPEN_TIME_MAX: Duration = Duration::from_secs(2);
/// How long the leader may take to restore what it has got.
const RESTORE_TIME_MAX: Duration = Duration::from_secs(600);

/// The places of those who save and restore.
pub(crate) struct Places {
    saves: Arc<Semaphore>,
    restores: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        Self { saves: Arc::new(Semaphore::new(SAVES_MAX)), restores: Arc::new(Semaphore::new(RESTORES_MAX)) }
    }
}

/// A snapshot in a file without a name: it is gone when this is dropped.
pub struct SavedSnapshot {
    /// What it says of itself.
    pub info: SnapshotInfo,
    /// SHA-256 over the whole file.
    pub digest: [u8; 32],
    file: Arc<File>,
    _place: OwnedSemaphorePermit,
}

impl SavedSnapshot {
    /// The bytes from `offset` on, at most [`PIECE_BYTES`] of them; none at the end.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn piece(&self, offset: u64) -> io::Result<Bytes> {
        piece(self.file.clone(), offset).await
    }

    /// The file, for those who copy it whole.
    pub(crate) fn file(&self) -> Arc<File> {
        self.file.clone()
    }
}

async fn piece(file: Arc<File>, offset: u64) -> io::Result<Bytes> {
    let read = move || {
        let mut bytes = vec![0; PIECE_BYTES];
        let mut have = 0;
        while have < bytes.len() {
            match file.read_at(&mut bytes[have..], offset + have as u64)? {
                0 => break,
                len => have += len,
            }
        }
        bytes.truncate(have);
        Ok(bytes.into())
    };
    spawn_blocking(read).await.map_err(io::Error::other)?
}

/// A file that a snapshot is written to as it comes; it has no name and is gone with this.
pub struct IncomingSnapshot {
    file: Arc<File>,
    len: u64,
    _place: OwnedSemaphorePermit,
}

impl IncomingSnapshot {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// There are too many of them, or the disk does not take them.
    pub async fn append(&mut self, bytes: Bytes) -> Result<(), Error> {
        if self.len + bytes.len() as u64 > SNAPSHOT_BYTES_MAX {
            return Err(Error::Invalid(format!("snapshot is longer than {SNAPSHOT_BYTES_MAX} bytes")));
        }
        let (file, at) = (self.file.clone(), self.len);
        self.len += bytes.len() as u64;
        spawn_blocking(move || file.write_all_at(&bytes, at)).await.map_err(io::Error::other).flatten().map_err(disk)
    }
}

impl Server {
    /// Saves the state: the newest one, or with `stale` the one that this server has.
    ///
    /// # Errors
    /// Nobody leads and `stale` was not asked for, too many are saved at the same time, or the disk does not take it.
    pub async fn save_snapshot(&self, stale: bool) -> Result<SavedSnapshot, Error> {
        let busy = |_| Error::Unavailable(format!("{SAVES_MAX} snapshots are being saved already"));
        let place = self.inner.snapshot_places.saves.clone().try_acquire_owned().map_err(busy)?;
        self.read(stale).await?;
        let (info, file) = self.inner.raft.snapshot_now().await.map_err(|error| disk(error.into()))?;
        let file = Arc::new(file);
        let whole = file.clone();
        let digest = spawn_blocking(move || file_digest(&whole)).await.map_err(io::Error::other).flatten();
        Ok(SavedSnapshot { info, digest: digest.map_err(disk)?, file, _place: place })
    }

    /// A place for a snapshot that is to be restored.
    ///
    /// # Errors
    /// Another one is there already, or the disk takes none.
    pub async fn incoming_snapshot(&self) -> Result<IncomingSnapshot, Error> {
        let busy = |_| Error::Unavailable("a snapshot is being restored already".to_owned());
        let place = self.inner.snapshot_places.restores.clone().try_acquire_owned().map_err(busy)?;
        let path = self.inner.data_dir.join("raft").join(format!("restore-{:016x}.new", crate::chance::seed()));
        let made = spawn_blocking(move || {
            let file = File::options().read(true).write(true).create_new(true).open(&path)?;
            // Without a name it can't be left behind.
            std::fs::remove_file(&path)?;
            Ok(file)
        });
        let file = made.await.map_err(io::Error::other).flatten().map_err(disk)?;
        Ok(IncomingSnapshot { file: Arc::new(file), len: 0, _place: place })
    }

    /// Puts the state of a snapshot in the place of the region's. It is checked whole before anything is changed.
    ///
    /// # Errors
    /// It is no whole snapshot of a version that is read, or nobody leads.
    pub async fn restore_snapshot(&self, snapshot: IncomingSnapshot) -> Result<(), Error> {
        if self.is_leader() {
            return self.restore_here(&snapshot).await;
        }
        // What is wrong with the file is found here already, without sending it to the leader.
        let file = snapshot.file.try_clone().map_err(disk)?;
        let checked = spawn_blocking(move || check_snapshot(file));
        checked.await.map_err(|error| disk(io::Error::other(error)))?.map_err(refused)?;
        self.restore_on_leader(&snapshot).await?;
        // It is restored; whoever asks this server next sees it.
        if let Err(error) = self.read(false).await {
            tracing::warn!(%error, "restored, but not here yet");
        }
        Ok(())
    }

    async fn restore_here(&self, snapshot: &IncomingSnapshot) -> Result<(), Error> {
        let file = snapshot.file.try_clone().map_err(disk)?;
        match self.inner.raft.restore(file).await {
            Ok(info) => {
                tracing::warn!(index = info.index, "the state of a snapshot was restored");
                Ok(())
            }
            Err(RestoreError::File(error)) => Err(refused(error)),
            Err(RestoreError::Log(error)) => Err(error.into()),
            Err(error @ RestoreError::Refused { .. }) => Err(Error::Conflict(error.to_string())),
        }
    }

    async fn restore_on_leader(&self, snapshot: &IncomingSnapshot) -> Result<(), Error> {
        if !self.wait_for_leader(OPEN_TIME_MAX).await {
            return Err(Error::NoLeader);
        }
        let leader = self.inner.raft.leadership().borrow().leader.clone();
        let (number, address) = leader.ok_or(Error::NoLeader)?;
        let opened = self.inner.peer_links.open(number, &address, OPEN_TIME_MAX).await;
        let mut stream = opened.map_err(|error| Error::Unavailable(format!("the leader is not reached: {error}")))?;
        let lost = |reason: String| {
            Error::Unavailable(format!("the leader was lost while it restored: {reason}; it may have been done or not"))
        };
        // A leader that refuses closes before all is sent: what it said counts for more than that.
        let sent = send(&mut stream, snapshot).await;
        let answer = timeout(RESTORE_TIME_MAX, stream.recv_frame(SERVER_BYTES_MAX)).await;
        let frame = match answer {
            Err(_) => return Err(lost("no answer in time".to_owned())),
            Ok(Err(error)) => return Err(lost(sent.err().unwrap_or_else(|| error.to_string()))),
            Ok(Ok(None)) => return Err(lost(sent.err().unwrap_or_else(|| "it gave no answer".to_owned()))),
            Ok(Ok(Some(frame))) => frame,
        };
        match codec::decode::<FromPeer>(&frame) {
            Ok(FromPeer::Done) => Ok(()),
            Ok(FromPeer::Refused(error)) => Err(crate::peer_service::error_of(error)),
            Ok(_) => Err(unexpected()),
            Err(error) => Err(lost(error.to_string())),
        }
    }
}

async fn send(stream: &mut Stream, snapshot: &IncomingSnapshot) -> Result<(), String> {
    let request = codec::encode(&ToPeer::Restore { len: snapshot.len });
    stream.send_frame(&request).await.map_err(|error| error.to_string())?;
    let mut at = 0;
    while at < snapshot.len {
        let piece = piece(snapshot.file.clone(), at).await.map_err(|error| error.to_string())?;
        at += piece.len() as u64;
        match timeout(PIECE_TIME_MAX, stream.send_frame(&piece)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("it took nothing for too long".to_owned()),
        }
    }
    stream.finish();
    Ok(())
}

/// Restores what another server sends behind its request.
pub(crate) async fn serve_restore(server: &Server, len: u64, stream: &mut Stream) -> Result<FromPeer, RpcError> {
    if !server.is_leader() {
        return Err(RpcError::NotLeader { leader: server.leader_address() });
    }
    let mut snapshot = server.incoming_snapshot().await.map_err(rpc_error)?;
    while snapshot.len < len {
        let short = |reason: String| RpcError::Invalid { message: format!("snapshot did not come whole: {reason}") };
        let frame = match timeout(PIECE_TIME_MAX, stream.recv_frame(PIECE_BYTES)).await {
            Ok(Ok(Some(frame))) => frame,
            Ok(Ok(None)) => return Err(short(format!("{} of {len} bytes", snapshot.len))),
            Ok(Err(error)) => return Err(short(error.to_string())),
            Err(_) => return Err(short("too slow".to_owned())),
        };
        snapshot.append(frame).await.map_err(rpc_error)?;
    }
    server.restore_here(&snapshot).await.map(|()| FromPeer::Done).map_err(rpc_error)
}

/// Why a file is not taken, in one line.
fn refused(error: SnapshotError) -> Error {
    match error {
        SnapshotError::Io(error) => disk(error),
        SnapshotError::State(source) => {
            Error::Invalid(format!("snapshot holds no state that this drover reads: {source}"))
        }
        other => Error::Invalid(other.to_string()),
    }
}

fn disk(error: io::Error) -> Error {
    Error::Internal { public: format!("snapshot can't be written or read: {error}"), private: error.to_string() }
}

/// Writes a snapshot to a path, whole or not at all. Blocks.
pub(crate) fn write_file(saved: &File, path: &std::path::Path) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    let written = copy_snapshot(saved, &mut file).and_then(|_| {
        file.sync_all()?;
        std::fs::rename(&new, path)
    });
    if written.is_err() {
        // What could not be written whole is in the way of the next one only.
        let _ = std::fs::remove_file(&new);
    }
    written?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
