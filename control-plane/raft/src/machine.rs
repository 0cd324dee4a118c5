//! The state machine: applies commands and publishes the state and its events.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use drover_state::image::in_turn;
use drover_state::{Answer, Events, Refusal, Snapshot, State, apply, command};
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot as RaftSnapshot};
use openraft::type_config::alias::SnapshotOf;
use openraft::{EntryPayload, OptionalSend};
use tokio::sync::{broadcast, watch};

use crate::codec::{self, SnapshotRecord};
use crate::growth::Growth;
use crate::measured;
use crate::snapshot_file::{self, SnapshotError, SnapshotFile};
use crate::staged::{self, Complete, Staged};
use crate::threads::{aside, on_all};
use crate::types::{Digest, LogId, Outcome, Proposal, RestoreStep, SnapshotMeta, StoredMembership, TypeConfig};

/// What openraft hands about as a snapshot.
#[derive(Clone, Debug)]
pub enum SnapshotData {
    /// One of this server's own.
    Own(SnapshotFile),
    /// One that has come from another server, synced, beside the own ones.
    Received(SnapshotFile, PathBuf),
}

impl SnapshotData {
    /// The file.
    pub fn file(&self) -> &SnapshotFile {
        match self {
            Self::Own(file) | Self::Received(file, _) => file,
        }
    }
}

/// Events kept for a slow listener; one that falls behind is told so and looks at the state anew.
const EVENTS_KEPT: usize = 4096;

/// What the machine publishes after each batch of entries.
pub struct Published {
    /// The newest state.
    pub snapshot: watch::Sender<Snapshot>,
    /// What changed, entry by entry.
    pub events: broadcast::Sender<Arc<Events>>,
    /// The log index up to which [`Self::snapshot`] goes.
    pub applied: watch::Sender<u64>,
    /// The same as the state counts it: behind a restore it is another number.
    pub shown: watch::Sender<u64>,
}

struct Applied {
    state: State,
    last: Option<LogId>,
    membership: StoredMembership,
    /// Added to a log index it gives the state's.
    index_offset: u64,
    staged: Option<Staged>,
}

impl Applied {
    /// From a snapshot whose digest holds.
    fn read(file: &SnapshotFile) -> Result<Self, SnapshotError> {
        let (state, staged) = file.body()?;
        let record = file.record().clone();
        let (index_offset, staged) = (record.index_offset, record.staged.map(|record| Staged::read(record, staged)));
        let (last, membership) =
            codec::snapshot_head(record).map_err(|e| SnapshotError::Head { reason: e.to_string() })?;
        let state = State::decode_with(&state, &on_all).map_err(SnapshotError::State)?;
        Ok(Self { state, last, membership, index_offset, staged })
    }

    fn index(&self) -> u64 {
        self.last.map_or(0, |id| id.index)
    }
}

/// The machine. A clone is the same one: openraft keeps one for applying and one for building snapshots.
#[derive(Clone)]
pub struct Machine {
    applied: Arc<Mutex<Applied>>,
    published: Arc<Published>,
    growth: Arc<Growth>,
    /// A state that this server has read already to restore it, and the digest of its image.
    read_before: Arc<Mutex<Option<(Digest, State)>>>,
    dir: Arc<Path>,
    /// The digest of the newest snapshot held a moment ago: whoever asks for it during the start need not read it all again.
    is_starting: Arc<AtomicBool>,
}

impl Machine {
    /// Starts from the newest snapshot in `dir`, or from nothing.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let loaded = snapshot_file::load(&dir)?;
        let growth = Arc::new(Growth::new(loaded.as_ref().map_or(0, SnapshotFile::file_len)));
        let applied = match loaded {
            Some(file) => Applied::read(&file)?,
            None => Applied {
                state: State::default(),
                last: None,
                membership: StoredMembership::default(),
                index_offset: 0,
                staged: None,
            },
        };
        let published = Arc::new(Published {
            snapshot: watch::Sender::new(applied.state.snapshot()),
            events: broadcast::Sender::new(EVENTS_KEPT),
            applied: watch::Sender::new(applied.index()),
            shown: watch::Sender::new(applied.index() + applied.index_offset),
        });
        let (applied, read_before) = (Arc::new(Mutex::new(applied)), Arc::default());
        let is_starting = Arc::new(AtomicBool::new(true));
        Ok(Self { applied, published, growth, read_before, dir: dir.into(), is_starting })
    }

    /// Raft has begun with it.
    pub fn started(&self) {
        self.is_starting.store(false, Ordering::Relaxed);
    }

    /// What was applied since the last snapshot.
    pub fn growth(&self) -> Arc<Growth> {
        self.growth.clone()
    }

    /// Keeps a state that was read for a restore, so that its end need not read it again; none forgets it. What was kept before is
    /// forgotten on another thread: a whole state takes as long to forget as it took to read.
    pub fn keep_read(&self, read: Option<(Digest, State)>) {
        let before = std::mem::replace(&mut *self.read_before.lock().unwrap_or_else(PoisonError::into_inner), read);
        if before.is_some() {
            tokio::task::spawn_blocking(move || drop(before));
        }
    }

    fn take_read(&self, digest: &Digest) -> Option<State> {
        let mut read = self.read_before.lock().unwrap_or_else(PoisonError::into_inner);
        read.take_if(|(of, _)| of == digest).map(|(_, state)| state)
    }

    pub fn published(&self) -> Arc<Published> {
        self.published.clone()
    }

    /// Where snapshots lie.
    pub fn dir(&self) -> Arc<Path> {
        self.dir.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Applied> {
        // A panic inside apply ends the process (a panic hook sees to that): the state is never read half changed.
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state as it is now, and all that a snapshot of it needs. Costs nothing.
    pub fn capture(&self) -> Captured {
        let applied = self.lock();
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
        let mut record = codec::snapshot_record(applied.last.as_ref(), &applied.membership);
        record.index_offset = applied.index_offset;
        record.at_ms = at_ms;
        record.staged = applied.staged.as_ref().map(|staged| staged.record);
        Captured {
            state: applied.state.clone(),
            staged: applied.staged.clone(),
            record,
            meta: SnapshotMeta { last_log_id: applied.last, last_membership: applied.membership.clone() },
        }
    }

    /// Applies what is quick. Gives the image that a restore has brought whole, for [`Self::replace`].
    ///
    /// # Errors
    /// A later drover has written it. Nothing is applied.
    fn apply_entry(&self, log_id: LogId, payload: Payload) -> io::Result<(Outcome, Option<Events>, Option<Complete>)> {
        let mut guard = self.lock();
        let applied = &mut *guard;
        let last = applied.last;
        let command = match &payload {
            EntryPayload::Normal(Proposal::Command(bytes)) => Some(command::decode(bytes)),
            _ => None,
        };
        if let Some(Err(error)) = &command
            && error.is_of_later()
        {
            return Err(of_later(log_id.index, error));
        }
        applied.last = Some(log_id);
        let index = log_id.index + applied.index_offset;
        staged::forget_stale(&mut applied.staged, log_id.index);
        let (answer, events, complete) = match payload {
            EntryPayload::Blank => (Answer::Done, None, None),
            EntryPayload::Membership(membership) => {
                applied.membership = StoredMembership::new(Some(log_id), membership);
                (Answer::Done, None, None)
            }
            EntryPayload::Normal(Proposal::Command(bytes)) => {
                match command.unwrap_or_else(|| command::decode(&bytes)) {
                    Ok(command) => {
                        self.growth.add(bytes.len());
                        let (name, began) = (measured::apply_name(&command), Instant::now());
                        let (answer, events) = apply::apply(&mut applied.state, index, command);
                        measured::applied(name, began.elapsed());
                        (answer, Some(events), None)
                    }
                    Err(error) => {
                        // Every server of this version reads the same bytes and refuses them alike.
                        tracing::error!(index = log_id.index, %error, "log entry refused");
                        (refused(error.to_string()), None, None)
                    }
                }
            }
            EntryPayload::Normal(Proposal::Restore(step)) => {
                let staged = if matches!(step, RestoreStep::Finish { .. }) { applied.staged.clone() } else { None };
                match staged::step(&mut applied.staged, log_id.index, step) {
                    Ok(None) => (Answer::Done, None, None),
                    Ok(complete) => {
                        // Not applied until `replace` is through: a snapshot that is made meanwhile is of before this entry.
                        (applied.last, applied.staged) = (last, staged);
                        (Answer::Done, None, complete)
                    }
                    Err(reason) => (refused(reason), None, None),
                }
            }
        };
        Ok((Outcome { index, answer }, events, complete))
    }

    /// Puts a restored state in the place of this one, if it is the one that was said.
    async fn replace(&self, log_id: LogId, complete: Complete) -> io::Result<(Outcome, Option<Events>)> {
        let read = self.take_read(&complete.digest);
        let index = complete.index;
        let decoded = on_blocking(move || {
            let image = match complete.image() {
                Ok(image) => image,
                Err(reason) => return Ok(Err(reason)),
            };
            // Whoever proposed it has read this image: a server that can't is of another version, and must not go on with a
            // state that the others do not have.
            let decode = || State::decode_with(&image, &on_all).map_err(SnapshotError::State);
            Ok(Ok(read.map_or_else(decode, Ok)?))
        });
        let decoded = decoded.await?;
        let mut applied = self.lock();
        (applied.last, applied.staged) = (Some(log_id), None);
        let mut state = match decoded {
            Ok(state) => state,
            Err(reason) => {
                let index = log_id.index + applied.index_offset;
                return Ok((Outcome { index, answer: refused(reason) }, None));
            }
        };
        applied.index_offset = applied.index_offset.max((index + 1).saturating_sub(log_id.index));
        let index = log_id.index + applied.index_offset;
        state.mark_restored(index);
        applied.state = state;
        Ok((Outcome { index, answer: Answer::Done }, Some(Events { index, ..Events::default() })))
    }

    /// Publishes the state as it is now. Before anybody is answered: who reads after an answer reads its own write.
    fn publish(&self, events: Option<Events>, all_changed: bool) {
        let (snapshot, index, shown) = {
            let applied = self.lock();
            (applied.state.snapshot(), applied.index(), applied.index() + applied.index_offset)
        };
        if let Some(events) = events {
            let before = self.published.snapshot.send_replace(snapshot);
            if all_changed {
                // Nothing of it may be left in the new one: it takes as long to forget as it took to read.
                tokio::task::spawn_blocking(move || drop(before));
            }
            // An entry that changed nothing wakes nobody: without changes an event means that all may have changed.
            if all_changed || !events.changes.is_empty() {
                // Nobody listens before the server has started; that is no failure.
                let _ = self.published.events.send(Arc::new(events));
            }
        }
        self.published.applied.send_replace(index);
        self.published.shown.send_replace(shown);
    }
}

/// A frozen state.
pub struct Captured {
    state: State,
    staged: Option<Staged>,
    /// The head of its snapshot.
    pub record: SnapshotRecord,
    meta: SnapshotMeta,
}

impl Captured {
    /// Makes it the newest snapshot in `dir`.
    fn save(&self, dir: &Path) -> Result<SnapshotFile, SnapshotError> {
        let state = self.state.encode_with(&in_turn);
        snapshot_file::save(dir, &self.record, &state, self.staged.iter().flat_map(Staged::bytes))
    }

    /// Writes it to a file of its own, without what a restore under way has brought.
    pub fn write(&self, file: &mut std::fs::File) -> io::Result<()> {
        let mut record = self.record.clone();
        record.staged = None;
        snapshot_file::write(file, &record, &self.state.encode_with(&in_turn), std::iter::empty())
    }
}

/// How the process ends that can't read an entry because it is older than who wrote it.
pub const OF_LATER: &str = "was written by a later drover";

/// The process ends with this: a server that passed over the entry would have another state than those that know it.
fn of_later(index: u64, error: &command::DecodeError) -> io::Error {
    let text = format!(
        "entry {index} of the log {OF_LATER}, this server must be upgraded before it goes on: {}",
        error.source
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn refused(reason: String) -> Answer {
    Answer::Refused(Refusal::Conflict { reason })
}

type Payload = EntryPayload<Proposal, u64, openraft::BasicNode>;

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
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
            let (mut outcome, mut events, complete) = self.apply_entry(entry.log_id, entry.payload)?;
            let mut is_restored = false;
            if let Some(complete) = complete {
                (outcome, events) = self.replace(entry.log_id, complete).await?;
                is_restored = events.is_some();
            }
            self.publish(events, is_restored);
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        let (dir, last) = (self.dir.clone(), meta.last_log_id);
        let fresh = on_blocking(move || {
            let fresh = Applied::read(snapshot.file())?;
            if fresh.last != last {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "snapshot goes to another entry than was said"));
            }
            match &snapshot {
                SnapshotData::Received(_, path) => snapshot_file::adopt(&dir, path, fresh.index())?,
                SnapshotData::Own(file) => {
                    let (state, staged) = file.body()?;
                    snapshot_file::save(&dir, file.record(), &[state], std::iter::once(staged.as_slice()))?
                }
            };
            Ok(fresh)
        })
        .await?;
        let index = fresh.index() + fresh.index_offset;
        *self.lock() = fresh;
        // Everything may have changed: listeners compare indexes themselves.
        self.publish(Some(Events { index, ..Events::default() }), true);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, SnapshotData>>, io::Error> {
        let (dir, is_starting) = (self.dir.clone(), self.is_starting.load(Ordering::Relaxed));
        let found = on_blocking(move || {
            let Some(file) = snapshot_file::newest(&dir)? else { return Ok(None) };
            let checked = if is_starting { Ok(()) } else { file.verify() };
            Ok(Some(checked.map(|()| file)))
        })
        .await?;
        match found {
            None => Ok(None),
            Some(Ok(file)) if file.has_digest() => {
                let (last_log_id, last_membership) = codec::snapshot_head(file.record().clone())?;
                let meta = SnapshotMeta { last_log_id, last_membership };
                Ok(Some(RaftSnapshot { meta, snapshot: SnapshotData::Own(file) }))
            }
            Some(checked) => {
                // No follower would take it, and the state it was made of is here: make another.
                if let Err(error) = checked {
                    tracing::error!(%error, "newest snapshot can't be used, making another");
                }
                self.build_snapshot().await.map(Some)
            }
        }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, SnapshotData>, io::Error> {
        let (dir, captured) = (self.dir.clone(), self.capture());
        self.growth.captured();
        let meta = captured.meta.clone();
        let began = Instant::now();
        // A frozen state, on a thread that stands back: nobody waits for it, and it may take seconds.
        let file = aside(move || captured.save(&dir).map_err(|e| snapshot_file::at(&dir, e))).await?;
        self.growth.saved(file.file_len());
        measured::persisted(began.elapsed());
        Ok(RaftSnapshot { meta, snapshot: SnapshotData::Own(file) })
    }
}

/// Runs what reads and writes files, or takes long, off the threads that answer.
pub async fn on_blocking<T: Send + 'static>(f: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(f).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use drover_model::{EvalId, JobId, Timestamp};

    fn command(number: u8) -> Proposal {
        let id = EvalId::from_random([number; 16]);
        let eval = drover_model::eval::Eval { id, job_id: JobId::from("web"), ..Default::default() };
        let command = drover_state::Command::UpsertEvals { evals: vec![eval], at: Timestamp(1) };
        Proposal::Command(command::encode(&command).into())
    }

    /// Applies one entry; gives what came of it.
    async fn apply(machine: &Machine, index: u64, proposal: Proposal) -> Outcome {
        let log_id = LogId::new_term_index(1, index);
        let (outcome, _, complete) = machine.apply_entry(log_id, EntryPayload::Normal(proposal)).unwrap();
        match complete {
            Some(complete) => machine.replace(log_id, complete).await.unwrap().0,
            None => outcome,
        }
    }

    fn image(evals: u8) -> (Vec<u8>, State) {
        let mut state = State::default();
        for number in 1..=evals {
            let Proposal::Command(bytes) = command(number) else { unreachable!() };
            apply::apply(&mut state, 1000 + u64::from(number), command::decode(&bytes).unwrap());
        }
        (state.encode(), state)
    }

    #[tokio::test]
    async fn a_restore_goes_on_across_a_snapshot_and_a_restart() {
        let (image, mut restored) = image(5);
        let dir = tempfile::tempdir().unwrap();
        let restore = |step| Proposal::Restore(step);
        let part = |bytes: &[u8]| restore(RestoreStep::Part { begun: 2, bytes: bytes.into() });
        let digest = staged::digest(&image);
        let begin = restore(RestoreStep::Begin { len: image.len() as u64, digest, index: 1005 });
        let (first, second) = image.split_at(image.len() / 3);

        let mut machine = Machine::open(dir.path().to_path_buf()).unwrap();
        apply(&machine, 1, command(9)).await;
        apply(&machine, 2, begin).await;
        apply(&machine, 3, part(first)).await;
        // Writes meanwhile go to the state that is still there.
        assert_eq!(apply(&machine, 4, command(10)).await.index, 4);
        machine.build_snapshot().await.unwrap();
        drop(machine);

        let machine = Machine::open(dir.path().to_path_buf()).unwrap();
        assert_eq!(machine.lock().state.snapshot().evals().count(), 2);
        apply(&machine, 5, part(second)).await;
        let end = apply(&machine, 6, restore(RestoreStep::Finish { begun: 2 })).await;
        assert_eq!((end.index, end.answer), (1006, Answer::Done));
        restored.mark_restored(1006);
        assert_eq!(machine.lock().state.digest(), restored.digest());
        assert_eq!(apply(&machine, 7, command(11)).await.index, 1007);
    }

    #[tokio::test]
    async fn a_snapshot_that_is_made_while_a_restore_ends_is_of_before_it() {
        let (image, _) = image(3);
        let dir = tempfile::tempdir().unwrap();
        let mut machine = Machine::open(dir.path().to_path_buf()).unwrap();
        let digest = staged::digest(&image);
        let begin = RestoreStep::Begin { len: image.len() as u64, digest, index: 1003 };
        apply(&machine, 1, Proposal::Restore(begin)).await;
        let part = RestoreStep::Part { begun: 1, bytes: image.as_slice().into() };
        apply(&machine, 2, Proposal::Restore(part)).await;
        let finish = || Proposal::Restore(RestoreStep::Finish { begun: 1 });
        let end = LogId::new_term_index(1, 3);
        let (_, _, complete) = machine.apply_entry(end, EntryPayload::Normal(finish())).unwrap();
        machine.build_snapshot().await.unwrap();
        machine.replace(end, complete.unwrap()).await.unwrap();
        assert_eq!(machine.lock().last, Some(end));
        drop(machine);

        // Whoever starts from it comes to the end of the restore again.
        let machine = Machine::open(dir.path().to_path_buf()).unwrap();
        assert_eq!(machine.lock().last, Some(LogId::new_term_index(1, 2)));
        assert_eq!(apply(&machine, 3, finish()).await.answer, Answer::Done);
        assert_eq!(machine.lock().state.snapshot().evals().count(), 3);
    }

    #[tokio::test]
    async fn an_entry_of_a_later_drover_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::open(dir.path().to_path_buf()).unwrap();
        apply(&machine, 1, command(1)).await;
        let before = machine.lock().state.digest();
        let moon = rmp_serde::to_vec_named(&std::collections::BTreeMap::from([("RegisterMoon", ["io"])])).unwrap();
        let entry = EntryPayload::Normal(Proposal::Command(moon.into()));
        let error = machine.apply_entry(LogId::new_term_index(1, 2), entry).err().unwrap().to_string();
        assert!(
            error.starts_with("entry 2 of the log was written by a later drover") && !error.contains('\n'),
            "{error}"
        );
        assert!(error.contains("RegisterMoon"), "{error}");
        let applied = machine.lock();
        assert_eq!((applied.index(), applied.state.digest()), (1, before));
    }

    #[tokio::test]
    async fn a_step_that_does_not_fit_is_refused_and_changes_nothing() {
        let (image, _) = image(2);
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::open(dir.path().to_path_buf()).unwrap();
        apply(&machine, 1, command(9)).await;
        let mut index = 1;
        let mut check = async |step, expected: Option<&str>| {
            index += 1;
            let answer = apply(&machine, index, Proposal::Restore(step)).await.answer;
            let reason = match answer {
                Answer::Refused(refusal) => Some(refusal.to_string()),
                _ => None,
            };
            assert_eq!(reason.as_deref(), expected);
        };
        let part = |begun| RestoreStep::Part { begun, bytes: image.as_slice().into() };
        let begin = |digest| RestoreStep::Begin { len: image.len() as u64, digest, index: 9 };
        let other = Some("another restore has taken the place of this one");
        check(part(2), other).await;
        check(begin([7; 32]), None).await;
        check(begin([7; 32]), None).await;
        check(part(3), other).await;
        check(part(4), None).await;
        check(part(4), Some("more came than the restore had said")).await;
        check(RestoreStep::Finish { begun: 4 }, Some("what came is not what the restore had said")).await;
        check(RestoreStep::Finish { begun: 4 }, other).await;
        check(RestoreStep::Begin { len: u64::MAX, digest: [0; 32], index: 1 }, {
            Some("a state of 18446744073709551615 bytes is over the limit of 68719476736")
        })
        .await;
        // One that goes no further is forgotten, on every server at the same entry.
        check(begin(staged::digest(&image)), None).await;
        apply(&machine, 100_000, command(9)).await;
        assert!(machine.lock().staged.is_none());
        assert_eq!(machine.lock().state.snapshot().evals().count(), 1);
    }
}
