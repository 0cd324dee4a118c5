//! The state machine: applies commands and publishes the state and its events.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use drover_state::{Answer, Events, Refusal, Snapshot, State, apply, command};
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot as RaftSnapshot};
use openraft::type_config::alias::SnapshotOf;
use openraft::{EntryPayload, OptionalSend};
use tokio::sync::{broadcast, watch};

use crate::codec;
use crate::snapshot_file;
use crate::types::{LogId, SnapshotMeta, StoredMembership, TypeConfig};

/// A snapshot as it travels: the state's own encoded form.
pub type SnapshotBytes = Arc<Vec<u8>>;

/// Events kept for a slow listener; one that falls behind is told so and looks at the state anew.
const EVENTS_KEPT: usize = 4096;

/// What the machine publishes after each batch of entries.
pub struct Published {
    /// The newest state.
    pub snapshot: watch::Sender<Snapshot>,
    /// What changed, entry by entry.
    pub events: broadcast::Sender<Arc<Events>>,
}

impl Published {
    fn new(state: &State) -> Self {
        Self { snapshot: watch::Sender::new(state.snapshot()), events: broadcast::Sender::new(EVENTS_KEPT) }
    }
}

struct Applied {
    state: State,
    last: Option<LogId>,
    membership: StoredMembership,
}

/// The machine. A clone is the same one: openraft keeps one for applying and one for building snapshots.
#[derive(Clone)]
pub struct Machine {
    applied: Arc<Mutex<Applied>>,
    published: Arc<Published>,
    dir: PathBuf,
}

impl Machine {
    /// Starts from the newest snapshot in `dir`, or from nothing.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        let (state, last, membership) = match snapshot_file::load(&dir)? {
            Some((record, bytes)) => {
                let (last, membership) = codec::snapshot_head(record)?;
                (decode_state(&bytes)?, last, membership)
            }
            None => (State::default(), None, StoredMembership::default()),
        };
        let published = Arc::new(Published::new(&state));
        Ok(Self { applied: Arc::new(Mutex::new(Applied { state, last, membership })), published, dir })
    }

    pub fn published(&self) -> Arc<Published> {
        self.published.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Applied> {
        // A panic inside apply ends the process (a panic hook sees to that): the state is never read half changed.
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply_entry(applied: &mut Applied, log_id: LogId, payload: Payload) -> (Answer, Option<Events>) {
        applied.last = Some(log_id);
        match payload {
            EntryPayload::Blank => (Answer::Done, None),
            EntryPayload::Membership(membership) => {
                applied.membership = StoredMembership::new(Some(log_id), membership);
                (Answer::Done, None)
            }
            EntryPayload::Normal(proposal) => match command::decode(&proposal.0) {
                Ok(command) => {
                    let (answer, events) = apply::apply(&mut applied.state, log_id.index, command);
                    (answer, Some(events))
                }
                Err(error) => {
                    // Every server of this version reads the same bytes and refuses them alike.
                    tracing::error!(index = log_id.index, %error, "log entry refused");
                    (Answer::Refused(Refusal::Conflict { reason: error.to_string() }), None)
                }
            },
        }
    }
}

type Payload = EntryPayload<crate::types::Proposal, u64, openraft::BasicNode>;

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotBytes;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.lock();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let (answer, events, snapshot) = {
                let mut applied = self.lock();
                let (answer, events) = Self::apply_entry(&mut applied, entry.log_id, entry.payload);
                (answer, events, applied.state.snapshot())
            };
            // The state is published before the answer: who reads after an answer reads its own write.
            if let Some(events) = events {
                self.published.snapshot.send_replace(snapshot);
                // An entry that changed nothing wakes nobody: without changes an event means that all may have changed.
                if !events.changes.is_empty() {
                    // Nobody listens before the server has started; that is no failure.
                    let _ = self.published.events.send(Arc::new(events));
                }
            }
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotBytes) -> Result<(), io::Error> {
        let state = decode_state(&snapshot)?;
        let record = codec::snapshot_record(meta.last_log_id.as_ref(), &meta.last_membership);
        let (dir, index) = (self.dir.clone(), meta.last_log_id.map_or(0, |id| id.index));
        on_blocking(move || snapshot_file::save(&dir, &record, &snapshot, index)).await?;
        let fresh = state.snapshot();
        let mut applied = self.lock();
        *applied = Applied { state, last: meta.last_log_id, membership: meta.last_membership.clone() };
        self.published.snapshot.send_replace(fresh);
        // Everything may have changed: listeners compare indexes themselves.
        let _ = self.published.events.send(Arc::new(Events { index, changes: Vec::new() }));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, SnapshotBytes>>, io::Error> {
        let dir = self.dir.clone();
        let Some((record, bytes)) = on_blocking(move || snapshot_file::load(&dir)).await? else {
            return Ok(None);
        };
        let (last_log_id, last_membership) = codec::snapshot_head(record)?;
        let meta = SnapshotMeta { last_log_id, last_membership };
        Ok(Some(RaftSnapshot { meta, snapshot: Arc::new(bytes) }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = SnapshotBytes;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, SnapshotBytes>, io::Error> {
        let (state, last_log_id, last_membership) = {
            let applied = self.lock();
            (applied.state.clone(), applied.last, applied.membership.clone())
        };
        let record = codec::snapshot_record(last_log_id.as_ref(), &last_membership);
        let dir = self.dir.clone();
        let snapshot = on_blocking(move || {
            let bytes = Arc::new(state.encode());
            snapshot_file::save(&dir, &record, &bytes, last_log_id.map_or(0, |id| id.index))?;
            Ok(bytes)
        })
        .await?;
        Ok(RaftSnapshot { meta: SnapshotMeta { last_log_id, last_membership }, snapshot })
    }
}

fn decode_state(bytes: &[u8]) -> io::Result<State> {
    State::decode(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))
}

async fn on_blocking<T: Send + 'static>(f: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(f).await.map_err(io::Error::other)?
}
