//! The answering side of raft: one call of another server, from its first frame to its last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use drover_state::image;
use futures_util::{StreamExt, stream};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest};
use openraft::storage::Snapshot as RaftSnapshot;
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::codec::{self, LogIdRecord, VoteRecord};
use crate::machine::{SnapshotData, on_blocking};
use crate::node::RaftNode;
use crate::peers::{FrameReceiver, FrameSender, PeerError};
use crate::session::IN_FLIGHT_MAX;
use crate::snapshot_file::{SNAPSHOT_BYTES_MAX, SnapshotFile};
use crate::types::{SnapshotMeta, TypeConfig, Vote};
use crate::wire::{
    self, Append, AppendAnswer, Ballot, BallotAnswer, BelongAnswer, Call, Opening, SnapshotAnswer, TransferAnswer,
    WireError,
};

/// Calls of one server that are answered at once. It needs five or six.
const CALLS_PER_PEER_MAX: usize = 32;
/// How long the first frame of a stream may take.
const CALL_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a piece of a snapshot may take.
const PIECE_WAIT_MAX: Duration = Duration::from_secs(75);

/// The refusal of a snapshot that is no failure.
const ANOTHER_COMES: &str = "another snapshot is on its way";

/// Why a call was not answered to its end. The stream is reset; the other side tries again if it still wants to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The stream broke.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The other side breaks the rules.
    #[error("server {from} breaks the rules of raft")]
    Wire {
        /// Who.
        from: u64,
        /// How.
        #[source]
        source: WireError,
    },
    /// The other side has too many calls open.
    #[error("server {from} has more than {CALLS_PER_PEER_MAX} calls open")]
    TooMany {
        /// Who.
        from: u64,
    },
    /// The other side speaks for another region's log.
    #[error("server {from} belongs to another region of this name, which was formed apart from this one")]
    OtherRegion {
        /// Who.
        from: u64,
    },
    /// A snapshot could not be kept.
    #[error("keep a snapshot of server {from}")]
    Snapshot {
        /// Whose.
        from: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Raft has stopped.
    #[error("raft has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// What the answering side remembers.
pub(crate) struct Served {
    /// When a leader was last heard.
    pub(crate) leader_heard: watch::Sender<Option<Instant>>,
    /// From when on this server votes. Before it stopped it may have answered a leader, who answers reads by that for a while
    /// (`Pace::lease_read_age_max`); openraft does not remember across a start that this server keeps that leader.
    votes_from: Instant,
    calls: Mutex<BTreeMap<u64, usize>>,
    /// One snapshot is taken at a time.
    receiving: AsyncMutex<()>,
    /// Why the last snapshot was not taken: the leader offers it again every second or so, and it is said once.
    refused: Mutex<String>,
}

impl Served {
    pub(crate) fn new(votes_from: Instant) -> Self {
        let (calls, receiving, refused) = (Mutex::default(), AsyncMutex::new(()), Mutex::default());
        Self { leader_heard: watch::Sender::new(None), votes_from, calls, receiving, refused }
    }

    fn hear_leader(&self) {
        self.leader_heard.send_replace(Some(Instant::now()));
    }

    fn say_refused(&self, from: u64, reason: &str) {
        let mut said = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != reason {
            tracing::error!(leader = from, %reason, "the leader's snapshot is not taken, this server stays behind");
            reason.clone_into(&mut said);
        }
    }

    fn begin(self: &Arc<Self>, from: u64) -> Option<OpenCall> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let open = calls.entry(from).or_default();
        if *open >= CALLS_PER_PEER_MAX {
            return None;
        }
        *open += 1;
        Some(OpenCall { served: self.clone(), from })
    }
}

/// A call that is being answered.
struct OpenCall {
    served: Arc<Served>,
    from: u64,
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut calls = self.served.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = calls.get_mut(&self.from) {
            *open -= 1;
            if *open == 0 {
                calls.remove(&self.from);
            }
        }
    }
}

/// Why a state of that version of the form can't be taken. It is never given to raft then: what can't be read ends the process.
fn unreadable(version: Option<u8>) -> Option<String> {
    match version {
        Some(version) if version <= image::VERSION => None,
        Some(version) => Some(format!(
            "its state has version {version}, the drover of this server reads versions up to {}: upgrade this server",
            image::VERSION
        )),
        None => Some("it holds no state".to_owned()),
    }
}

fn stopped(error: impl ToString) -> ServeError {
    ServeError::Stopped { reason: error.to_string() }
}

impl RaftNode {
    /// Answers a call of server `from`, whose number its identity has proved. Returns when the stream has ended.
    ///
    /// # Errors
    /// The stream broke, the other side breaks the rules, or raft has stopped.
    pub async fn serve(
        &self,
        from: u64,
        mut sender: Box<dyn FrameSender>,
        mut receiver: Box<dyn FrameReceiver>,
    ) -> Result<(), ServeError> {
        let _open = self.served().begin(from).ok_or(ServeError::TooMany { from })?;
        let wire = |source| ServeError::Wire { from, source };
        let first = timeout(CALL_WAIT_MAX, receiver.receive()).await;
        let Some(first) = first.map_err(|_| PeerError::Closed { reason: "it says nothing".to_owned() })?? else {
            return Ok(());
        };
        let Opening { call, origin } = wire::decode(&first).map_err(wire)?;
        if matches!(call, Call::Belong) {
            let could = self.is_of_log(origin);
            sender.send(wire::encode(&BelongAnswer { could })).await?;
            sender.finish().await?;
            return Ok(());
        }
        if !self.is_of_log(origin) {
            return Err(ServeError::OtherRegion { from });
        }
        if matches!(call, Call::Vote(_) | Call::PreVote(_)) {
            sleep_until(self.served().votes_from).await;
        }
        let answer = match call {
            Call::Vote(ballot) => self.answer_vote(from, ballot, origin).await?,
            Call::PreVote(ballot) => {
                let answer = self.raft().pre_vote(ballot.request(from).map_err(wire)?).await.map_err(stopped)?;
                wire::encode(&BallotAnswer::of(&answer))
            }
            Call::Append => {
                self.adopt(from, origin).await?;
                return self.serve_append(from, sender, receiver).await;
            }
            Call::Snapshot { vote, len, image } => {
                self.adopt(from, origin).await?;
                let answer = match unreadable(Some(image)) {
                    // Before its pieces come: it may be long, and the leader asks again and again.
                    Some(reason) => SnapshotAnswer::Refused(reason),
                    None => self.take_snapshot(from, vote, len, receiver.as_mut()).await?,
                };
                if let SnapshotAnswer::Refused(reason) = &answer
                    && reason != ANOTHER_COMES
                {
                    self.served().say_refused(from, reason);
                }
                wire::encode(&answer)
            }
            Call::Transfer { vote, to, last } => wire::encode(&self.take_over(from, vote, to, last).await?),
            // Answered above.
            Call::Belong => return Ok(()),
        };
        sender.send(answer).await?;
        sender.finish().await?;
        Ok(())
    }

    /// Whether a caller that speaks for that log may be heard here.
    fn is_of_log(&self, theirs: Option<u64>) -> bool {
        match (self.origin().known(), theirs) {
            (Some(own), Some(theirs)) => own == theirs,
            _ => true,
        }
    }

    /// From now on this server belongs to that log; it is left in peace when it knew.
    async fn adopt(&self, from: u64, theirs: Option<u64>) -> Result<(), ServeError> {
        let Some(theirs) = theirs.filter(|_| self.origin().known().is_none()) else { return Ok(()) };
        let _one = self.origin().adopting().await;
        match self.origin().known() {
            None => self.origin().keep(theirs).await.map_err(stopped),
            Some(own) if own == theirs => Ok(()),
            Some(_) => Err(ServeError::OtherRegion { from }),
        }
    }

    /// A vote that is granted is a part taken in that log.
    async fn answer_vote(&self, from: u64, ballot: Ballot, origin: Option<u64>) -> Result<Bytes, ServeError> {
        let request = ballot.request(from).map_err(|source| ServeError::Wire { from, source })?;
        let _one = match self.origin().known() {
            None => Some(self.origin().adopting().await),
            Some(_) => None,
        };
        if !self.is_of_log(origin) {
            return Err(ServeError::OtherRegion { from });
        }
        let answer = self.raft().vote(request).await.map_err(stopped)?;
        if let Some(origin) = origin.filter(|_| answer.vote_granted && self.origin().known().is_none()) {
            self.origin().keep(origin).await.map_err(stopped)?;
        }
        Ok(wire::encode(&BallotAnswer::of(&answer)))
    }

    /// Requests go to raft as they come; answers go back as its disk has them.
    async fn serve_append(
        &self,
        from: u64,
        mut sender: Box<dyn FrameSender>,
        mut receiver: Box<dyn FrameReceiver>,
    ) -> Result<(), ServeError> {
        let (requests, queue) = mpsc::channel::<AppendEntriesRequest<TypeConfig>>(IN_FLIGHT_MAX);
        let input = stream::unfold(queue, |mut queue| async { queue.recv().await.map(|request| (request, queue)) });
        let mut answers = std::pin::pin!(self.raft().stream_append(input));
        let read = async move {
            while let Some(frame) = receiver.receive().await? {
                let request = wire::decode::<Append>(&frame).and_then(|append| append.request(from));
                let request = request.map_err(|source| ServeError::Wire { from, source })?;
                if requests.send(request).await.is_err() {
                    break;
                }
            }
            Ok::<(), ServeError>(())
        };
        let write = async {
            while let Some(answer) = answers.next().await {
                let answer = answer.map_err(stopped)?;
                if !matches!(answer, Err(openraft::raft::StreamAppendError::HigherVote(_))) {
                    self.served().hear_leader();
                }
                sender.send(wire::encode(&AppendAnswer::of(&answer))).await?;
            }
            sender.finish().await?;
            Ok::<(), ServeError>(())
        };
        let (mut read, mut write) = (std::pin::pin!(read), std::pin::pin!(write));
        tokio::select! {
            // An answer after which nothing follows ends the stream, whatever the other side still has to say.
            written = &mut write => written,
            result = &mut read => {
                result?;
                write.await
            }
        }
    }

    async fn take_over(
        &self,
        from: u64,
        vote: VoteRecord,
        to: u64,
        last: Option<LogIdRecord>,
    ) -> Result<TransferAnswer, ServeError> {
        let vote = wire::leader_vote(from, vote).map_err(|source| ServeError::Wire { from, source })?;
        let request = TransferLeaderRequest::new(vote, to, last.map(codec::log_id));
        Ok(match self.raft().handle_transfer_leader(request).await.map_err(stopped)? {
            Ok(()) => TransferAnswer::Done,
            Err(error) => TransferAnswer::Refused(error.to_string()),
        })
    }

    async fn take_snapshot(
        &self,
        from: u64,
        vote: VoteRecord,
        len: u64,
        receiver: &mut dyn FrameReceiver,
    ) -> Result<SnapshotAnswer, ServeError> {
        let vote = wire::leader_vote(from, vote).map_err(|source| ServeError::Wire { from, source })?;
        let own = self.raft().metrics().borrow_watched().vote;
        if own > vote {
            return Ok(SnapshotAnswer::Vote(codec::vote_record(&own)));
        }
        if len > SNAPSHOT_BYTES_MAX {
            return Ok(SnapshotAnswer::Refused(format!("{len} bytes are over the limit of {SNAPSHOT_BYTES_MAX}")));
        }
        let Ok(_one) = self.served().receiving.try_lock() else {
            return Ok(SnapshotAnswer::Refused(ANOTHER_COMES.to_owned()));
        };
        self.served().hear_leader();
        let beside = self.snapshot_dir().join("received.new");
        let received = receive_file(beside.clone(), from, len, receiver).await?;
        let file = match on_blocking(move || SnapshotFile::from_file(received).map_err(io::Error::from)).await {
            Ok(file) => file,
            Err(error) => return Ok(SnapshotAnswer::Refused(error.to_string())),
        };
        let checked = file.clone();
        match on_blocking(move || checked.verify().map_err(io::Error::from).and_then(|()| checked.image_version()))
            .await
        {
            Ok(version) => {
                if let Some(reason) = unreadable(version) {
                    return Ok(SnapshotAnswer::Refused(reason));
                }
            }
            Err(error) => return Ok(SnapshotAnswer::Refused(error.to_string())),
        }
        let (last_log_id, last_membership) = match codec::snapshot_head(file.record().clone()) {
            Ok(head) if file.has_digest() => head,
            Ok(_) => return Ok(SnapshotAnswer::Refused("a snapshot on its way must have a digest".to_owned())),
            Err(error) => return Ok(SnapshotAnswer::Refused(error.to_string())),
        };
        let meta = SnapshotMeta { last_log_id, last_membership };
        if let Err(reason) = self.fits(&meta, &vote) {
            return Ok(SnapshotAnswer::Refused(reason.to_owned()));
        }
        let snapshot = RaftSnapshot { meta, snapshot: SnapshotData::Received(file, beside) };
        let installed = self.raft().install_full_snapshot(vote, snapshot).await;
        let response = installed.map_err(|e: Fatal<TypeConfig>| stopped(e))?;
        self.served().refused.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.served().hear_leader();
        Ok(SnapshotAnswer::Vote(codec::vote_record(&response.vote)))
    }

    /// openraft panics on a snapshot that contradicts what is committed here; no server of this region would send one.
    fn fits(&self, meta: &SnapshotMeta, vote: &Vote) -> Result<(), &'static str> {
        let Some(last) = meta.last_log_id else { return Err("a snapshot of nothing") };
        if last.leader_id.term > vote.leader_id.term {
            return Err("a snapshot of a later term than its leader's");
        }
        let committed = self.raft().metrics().borrow_watched().local_committed;
        match committed {
            Some(committed) if last > committed && last.index <= committed.index => {
                Err("a snapshot that contradicts what is committed here")
            }
            _ => Ok(()),
        }
    }
}

/// Takes the pieces of a file; gives it synced.
async fn receive_file(
    path: PathBuf,
    from: u64,
    len: u64,
    receiver: &mut dyn FrameReceiver,
) -> Result<File, ServeError> {
    let disk = |source| ServeError::Snapshot { from, source };
    let nonsense = |reason| ServeError::Wire { from, source: WireError::Nonsense { reason } };
    let created = on_blocking(move || File::options().read(true).write(true).create(true).truncate(true).open(path));
    let mut file = created.await.map_err(disk)?;
    let mut have = 0;
    while have < len {
        let piece = timeout(PIECE_WAIT_MAX, receiver.receive()).await;
        let piece = piece.map_err(|_| PeerError::Closed { reason: "its snapshot stopped coming".to_owned() })??;
        let Some(piece) = piece else { return Err(nonsense("a snapshot shorter than was said")) };
        have += piece.len() as u64;
        if piece.is_empty() || have > len {
            return Err(nonsense("a piece of a snapshot that does not fit"));
        }
        file = on_blocking(move || append(file, piece)).await.map_err(disk)?;
    }
    on_blocking(move || file.sync_all().map(|()| file)).await.map_err(disk)
}

fn append(mut file: File, piece: Bytes) -> io::Result<File> {
    file.write_all(&piece)?;
    Ok(file)
}
