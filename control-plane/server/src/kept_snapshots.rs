//! Snapshots that every server keeps by itself, beside its log: for the day on which somebody has deleted the wrong thing.
//!
//! Each server writes its own state now and then to `snapshots-kept` in its data directory and keeps the newest few.
//! They are files like those of `operator snapshot save`, and are brought back like them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drover_model::Timestamp;
use tokio::task::spawn_blocking;

use crate::clock;
use crate::server::Server;
use crate::snapshots;

/// The directory, below the server's data directory.
pub const DIRECTORY: &str = "snapshots-kept";
/// How often it is looked whether one is due. A start is not slowed down by it.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// How many snapshots are kept, and how old they get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptSnapshots {
    /// The time from one to the next; zero makes none.
    pub interval: Duration,
    /// How many are kept; 0 makes none.
    pub count: usize,
}

impl Default for KeptSnapshots {
    fn default() -> Self {
        Self { interval: Duration::from_secs(4 * 3600), count: 6 }
    }
}

/// A snapshot that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    /// When it was made.
    pub at: Timestamp,
    /// The index of its state.
    pub index: u64,
}

impl Kept {
    fn name(&self) -> String {
        format!("state-{}-{}.snap", self.at.0.max(0) / 1_000_000, self.index)
    }

    fn of_name(name: &str) -> Option<Self> {
        let (at_ms, index) = name.strip_prefix("state-")?.strip_suffix(".snap")?.split_once('-')?;
        let at = Timestamp(at_ms.parse::<i64>().ok()?.checked_mul(1_000_000)?);
        Some(Self { at, index: index.parse().ok()? })
    }
}

/// The newest; one from the future is older than all others, because nobody knows when it was made: the clock was set back.
pub fn newest(all: &[Kept], now: Timestamp) -> Option<&Kept> {
    all.iter().max_by_key(|kept| (kept.at <= now, *kept))
}

/// Whether another is to be made. One from the future is no reason to wait.
pub fn due(now: Timestamp, last: Option<&Kept>, index: u64, kept: KeptSnapshots) -> bool {
    if kept.interval.is_zero() || kept.count == 0 || index == 0 {
        return false;
    }
    match last {
        None => true,
        // Nothing has changed since.
        Some(last) if last.index == index => false,
        Some(last) => last.at > now || now.since(last.at) >= kept.interval,
    }
}

/// Those that are too many, the oldest first. Before one is written `count` says how many may stay beside it.
pub fn too_many(all: &[Kept], count: usize, now: Timestamp) -> Vec<Kept> {
    let mut all = all.to_vec();
    all.sort_by_key(|kept| (kept.at <= now, *kept));
    all.truncate(all.len().saturating_sub(count));
    all
}

/// Runs for as long as the server does.
pub(crate) async fn run(server: Server) {
    let kept = server.inner.settings.kept_snapshots;
    if kept.interval.is_zero() || kept.count == 0 {
        return;
    }
    let dir = server.inner.data_dir.join(DIRECTORY);
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first one is at once.
    looks.tick().await;
    loop {
        looks.tick().await;
        if let Err(error) = look(&server, &dir, kept).await {
            tracing::warn!(%error, dir = %dir.display(), "no snapshot of the state kept");
        }
    }
}

async fn look(server: &Server, dir: &Path, kept: KeptSnapshots) -> io::Result<()> {
    let (found, now) = (list(dir.to_owned()).await?, clock::now());
    let index = server.reading().snapshot.index();
    if !due(now, newest(&found, now), index, kept) {
        return Ok(());
    }
    let saved = match server.save_snapshot(true).await {
        Ok(saved) => saved,
        // Others are saving: at the next look.
        Err(crate::Error::Unavailable(_)) => return Ok(()),
        Err(error) => return Err(io::Error::other(error)),
    };
    let this = Kept { at: now, index: saved.info.index };
    let (dir, file) = (dir.to_owned(), saved.file());
    let write = move || {
        // The oldest go last: a disk that is full costs none of those that are there.
        snapshots::write_file(&file, &dir.join(this.name()))?;
        let mut all = found;
        all.push(this);
        // What the clock says counts for the order only; the one just made is the newest in any case.
        for old in too_many(&all, kept.count, now) {
            std::fs::remove_file(dir.join(old.name()))?;
        }
        Ok(())
    };
    spawn_blocking(write).await.map_err(io::Error::other)?
}

/// What is there. What was not finished is removed.
async fn list(dir: PathBuf) -> io::Result<Vec<Kept>> {
    let read = move || {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with("state-") && name.ends_with(".new") {
                std::fs::remove_file(dir.join(&name))?;
            }
            found.extend(Kept::of_name(&name));
        }
        Ok(found)
    };
    spawn_blocking(read).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
