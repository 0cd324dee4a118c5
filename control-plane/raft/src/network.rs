//! The calling side of raft: openraft's calls as frames on [`Peers`]' streams.
//!
//! A link to append is kept and used again, also from one of openraft's sessions to the next. Requests do not wait for
//! answers: up to [`IN_FLIGHT_MAX`] of them are under way, which is what makes replication fast over a distance.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, v2::RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use openraft::{BasicNode, OptionalSend};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout, timeout_at};

use crate::codec;
use crate::machine::{SnapshotData, on_blocking};
use crate::origin::Origin;
use crate::peers::{Link, Peer, PeerError, Peers};
use crate::types::{LogId, TypeConfig};
use crate::wire::{
    self, Append, AppendAnswer, Ballot, BallotAnswer, BelongAnswer, Call, Opening, SnapshotAnswer, TransferAnswer,
};

/// Requests to append that are under way to one server.
pub const IN_FLIGHT_MAX: usize = 64;
/// How long opening a stream may take.
const OPEN_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long a server may take to say whether it could take part.
const BELONG_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long an answer to entries may take: a follower syncs them first, and its disk may be slow.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(2);
/// The slowest way on which a long request still gets through: it gets more time by its length. One that is given up too
/// early is sent again whole, for ever: a follower that was away would never come back over a way that loses packets. Whether
/// anybody is there at all is noticed by the connection.
const BYTES_PER_SECOND_MIN: u64 = 16 << 10;
/// However long a request is, an answer takes no longer than this: the longest command goes over 1 Mbit/s in it, and whoever is
/// slower than that gets a snapshot, piece by piece.
const LONG_ANSWER_WAIT_MAX: Duration = Duration::from_secs(300);
/// Bytes of a snapshot that may be under way when its last piece is taken.
const WINDOW_BYTES: usize = 8 << 20;
/// How long a follower may take to install what it has received: it decodes the whole state.
const INSTALL_WAIT_MAX: Duration = Duration::from_secs(120);

/// How long the answer to a request of that length may take.
fn answer_wait(bytes: usize) -> Duration {
    let by_length = Duration::from_millis((bytes as u64).saturating_mul(1000) / BYTES_PER_SECOND_MIN);
    (ANSWER_WAIT_MAX + by_length).min(LONG_ANSWER_WAIT_MAX)
}

type StreamAppend<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>;

/// Makes links.
#[derive(Clone)]
pub struct Network {
    peers: Arc<dyn Peers>,
    origin: Arc<Origin>,
}

impl Network {
    pub fn new(peers: Arc<dyn Peers>, origin: Arc<Origin>) -> Self {
        Self { peers, origin }
    }

    /// Asks a server whether it could take part in this log.
    pub async fn could_belong(&self, number: u64, address: &str) -> Result<bool, PeerError> {
        let answer: BelongAnswer = self.target(number, address).ask(&Call::Belong, BELONG_WAIT_MAX).await?;
        Ok(answer.could)
    }

    fn target(&self, number: u64, address: &str) -> Target {
        Target {
            peers: self.peers.clone(),
            peer: Peer { number, address: address.to_owned() },
            origin: self.origin.clone(),
            kept: Mutex::new(None),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Target;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Target {
        self.target(target, &node.addr)
    }
}

/// One server to call.
pub struct Target {
    peers: Arc<dyn Peers>,
    peer: Peer,
    origin: Arc<Origin>,
    /// A link to append on which nothing is under way. (Never locked: it makes what can only be sent shareable.)
    kept: Mutex<Option<Link>>,
}

fn rpc_error(error: PeerError) -> RPCError<TypeConfig> {
    match error {
        PeerError::Unreachable { .. } => Unreachable::new(&error).into(),
        PeerError::Closed { .. } | PeerError::TooLong { .. } => NetworkError::new(&error).into(),
    }
}

fn closed(reason: impl ToString) -> PeerError {
    PeerError::Closed { reason: reason.to_string() }
}

impl Target {
    async fn open(&self, call: &Call, wait: Duration) -> Result<Link, PeerError> {
        let number = self.peer.number;
        let unreachable = |_| PeerError::Unreachable { number, reason: format!("no answer in {wait:?}") };
        let first = wire::encode(&Opening { call: call.clone(), origin: self.origin.known() });
        let opening = async {
            let mut link = self.peers.open(self.peer.clone(), wait).await?;
            link.0.send(first).await?;
            Ok(link)
        };
        timeout(wait, opening).await.map_err(unreachable)?
    }

    /// A call with one answer.
    async fn ask<T: DeserializeOwned>(&self, call: &Call, wait: Duration) -> Result<T, PeerError> {
        let deadline = Instant::now() + wait;
        let (mut sender, mut receiver) = self.open(call, wait.min(OPEN_WAIT_MAX)).await?;
        let answer = async {
            sender.finish().await?;
            receiver.receive().await?.ok_or_else(|| closed("it ended without an answer"))
        };
        let answer = timeout_at(deadline, answer).await.map_err(|_| closed(format!("no answer in {wait:?}")))??;
        wire::decode(&answer).map_err(closed)
    }

    fn kept(&mut self) -> &mut Option<Link> {
        self.kept.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    async fn append_link(&mut self) -> Result<Link, PeerError> {
        match self.kept().take() {
            Some(link) => Ok(link),
            None => self.open(&Call::Append, OPEN_WAIT_MAX).await,
        }
    }

    async fn send_snapshot(
        &self,
        vote: &VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
    ) -> Result<SnapshotResponse<TypeConfig>, PeerError> {
        let file = snapshot.snapshot.file().clone();
        let asked = file.clone();
        let image = on_blocking(move || asked.image_version()).await.map_err(closed)?.unwrap_or_default();
        let call = Call::Snapshot { vote: codec::vote_record(vote), len: file.file_len(), image };
        let (mut sender, mut receiver) = self.open(&call, OPEN_WAIT_MAX).await?;
        let mut at = 0;
        let sent = loop {
            if at == file.file_len() {
                break sender.finish().await;
            }
            let source = file.clone();
            let piece = on_blocking(move || source.piece(at)).await.map_err(closed)?;
            at += piece.len() as u64;
            let sent = timeout(answer_wait(piece.len()), sender.send(Bytes::from(piece))).await;
            match sent.unwrap_or_else(|_| Err(closed("nobody takes the snapshot"))) {
                Ok(()) => {}
                Err(error) => break Err(error),
            }
        };
        // One that refuses stops taking pieces: its answer says more than the failure to send.
        let under_way = usize::try_from(file.file_len()).unwrap_or(usize::MAX).min(WINDOW_BYTES);
        let wait = if sent.is_ok() { INSTALL_WAIT_MAX + answer_wait(under_way) } else { OPEN_WAIT_MAX };
        match (timeout(wait, receiver.receive()).await, sent) {
            (Ok(Ok(Some(answer))), _) => match wire::decode(&answer).map_err(closed)? {
                SnapshotAnswer::Vote(vote) => Ok(SnapshotResponse::new(codec::vote(vote))),
                SnapshotAnswer::Refused(reason) => Err(closed(format!("snapshot refused: {reason}"))),
            },
            (_, Err(error)) | (Ok(Err(error)), Ok(())) => Err(error),
            (Ok(Ok(None)), Ok(())) => Err(closed("it ended without an answer")),
            (Err(_), Ok(())) => Err(closed(format!("no answer in {wait:?}"))),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Target {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let input = futures_util::stream::iter([request]);
        let mut answers = self.stream_append(input, option).await?;
        match answers.next().await {
            Some(result) => Ok(result?.into()),
            None => Err(rpc_error(closed("it ended without an answer"))),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<StreamAppend<'s>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let link = self.append_link().await.map_err(rpc_error)?;
            let session = Session {
                target: self,
                link: Some(link),
                input: Some(input),
                in_flight: VecDeque::new(),
                since: Instant::now(),
                wait: ANSWER_WAIT_MAX,
            };
            let answers = futures_util::stream::unfold(Some(session), |session| async move {
                let mut session = session?;
                match session.next_answer().await {
                    Ok(Some(answer)) => {
                        let is_last = answer.is_err();
                        // The other side ends the stream after such an answer, and so does this one.
                        Some((Ok(answer), if is_last { None } else { Some(session) }))
                    }
                    Ok(None) => {
                        *session.target.kept() = session.link.take();
                        None
                    }
                    Err(error) => Some((Err(rpc_error(error)), None)),
                }
            });
            Ok(answers.boxed())
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer: BallotAnswer =
            self.ask(&Call::Vote(Ballot::of(&request)), option.soft_ttl()).await.map_err(rpc_error)?;
        Ok(answer.response())
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer: BallotAnswer =
            self.ask(&Call::PreVote(Ballot::of(&request)), option.soft_ttl()).await.map_err(rpc_error)?;
        Ok(answer.response())
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        // Dropping what is under way resets the stream, which is how the other side learns of it.
        tokio::select! {
            sent = self.send_snapshot(&vote, snapshot) => sent.map_err(|error| match error {
                PeerError::Unreachable { .. } => StreamingError::Unreachable(Unreachable::new(&error)),
                other => StreamingError::Network(NetworkError::new(&other)),
            }),
            reason = cancel => Err(StreamingError::Closed(reason)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.ask(&wire::transfer_call(&request), option.soft_ttl()).await.map_err(rpc_error)? {
            TransferAnswer::Done => Ok(Ok(())),
            TransferAnswer::Refused(reason) => Err(rpc_error(closed(reason))),
        }
    }
}

/// One of openraft's sessions on a link.
struct Session<'s, S> {
    target: &'s mut Target,
    link: Option<Link>,
    input: Option<S>,
    /// Of each request that is under way, the log's end when it is done.
    in_flight: VecDeque<Option<LogId>>,
    /// When something was last sent or answered.
    since: Instant,
    /// How long the next answer may take: by the longest request that was sent since all were answered.
    wait: Duration,
}

impl<S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin> Session<'_, S> {
    /// Sends what there is to send until an answer is here; nothing when all is sent and answered.
    async fn next_answer(&mut self) -> Result<Option<StreamAppendResult<TypeConfig>>, PeerError> {
        loop {
            let Some((sender, receiver)) = self.link.as_mut() else { return Ok(None) };
            let mut input = self.input.as_mut().filter(|_| self.in_flight.len() < IN_FLIGHT_MAX);
            if input.is_none() && self.in_flight.is_empty() {
                return Ok(None);
            }
            let deadline = self.since + self.wait;
            let request = tokio::select! {
                biased;
                answer = receiver.receive(), if !self.in_flight.is_empty() => {
                    let answer = answer?.ok_or_else(|| closed("it ended without an answer"))?;
                    self.in_flight.pop_front();
                    self.since = Instant::now();
                    let answer: AppendAnswer = wire::decode(&answer).map_err(closed)?;
                    let answer = answer.result();
                    // openraft takes an answer for one to every request that ends where it says, also to one that was sent
                    // after it: a leader that slept meanwhile would believe that it was heard just now, and answer reads
                    // while another leads. The answer to the last of them says as much.
                    let is_said_again =
                        answer.as_ref().is_ok_and(|end| self.in_flight.front().is_some_and(|next| next <= end));
                    if is_said_again {
                        continue;
                    }
                    return Ok(Some(answer));
                }
                request = async { match input.as_mut() {
                    Some(input) => input.next().await,
                    None => std::future::pending().await,
                } } => request,
                () = tokio::time::sleep_until(deadline), if !self.in_flight.is_empty() => {
                    return Err(closed(format!("no answer in {:?}", self.wait)));
                }
            };
            match request {
                Some(request) => {
                    let frame = wire::encode(&Append::of(&request));
                    let wait = answer_wait(frame.len());
                    let sent = timeout(wait, sender.send(frame)).await;
                    sent.map_err(|_| closed("nobody takes the entries"))??;
                    if self.in_flight.is_empty() {
                        (self.since, self.wait) = (Instant::now(), wait);
                    }
                    self.wait = self.wait.max(wait);
                    let last = request.entries.last().map(|entry| entry.log_id);
                    self.in_flight.push_back(last.or(request.prev_log_id));
                }
                None => self.input = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use openraft::EntryPayload;
    use openraft::vote::leader_id_std::CommittedLeaderId;
    use tokio::sync::mpsc;

    use super::*;
    use crate::log_store::LogStore;
    use crate::peers::{FrameReceiver, FrameSender};
    use crate::store::Store;

    /// The other end of a link: what was sent, and where answers are put.
    struct Played(mpsc::UnboundedSender<Bytes>, Mutex<Option<mpsc::UnboundedReceiver<Bytes>>>);

    struct Sent(mpsc::UnboundedSender<Bytes>);

    struct Answers(mpsc::UnboundedReceiver<Bytes>);

    impl Peers for Played {
        fn open(&self, _peer: Peer, _deadline: Duration) -> BoxFuture<'static, Result<Link, PeerError>> {
            let answers = self.1.lock().unwrap().take().expect("it is opened once");
            let link: Link = (Box::new(Sent(self.0.clone())), Box::new(Answers(answers)));
            async { Ok(link) }.boxed()
        }
    }

    impl FrameSender for Sent {
        fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), PeerError>> {
            self.0.send(frame).unwrap();
            async { Ok(()) }.boxed()
        }

        fn finish(&mut self) -> BoxFuture<'_, Result<(), PeerError>> {
            async { Ok(()) }.boxed()
        }
    }

    impl FrameReceiver for Answers {
        fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>> {
            async { Ok(self.0.recv().await) }.boxed()
        }
    }

    fn log_id(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(1), index)
    }

    fn request(prev: u64, entries: std::ops::Range<u64>) -> AppendEntriesRequest<TypeConfig> {
        let entry = |index| crate::types::Entry { log_id: log_id(index), payload: EntryPayload::Blank };
        AppendEntriesRequest {
            vote: openraft::Vote::new_committed(1, 1),
            prev_log_id: Some(log_id(prev)),
            entries: entries.map(entry).collect(),
            leader_commit: None,
        }
    }

    fn done(index: u64) -> Bytes {
        wire::encode(&AppendAnswer::of(&Ok(Some(log_id(index)))))
    }

    #[tokio::test]
    async fn an_answer_is_none_to_a_request_that_was_sent_after_it() {
        let (sent, mut requests) = mpsc::unbounded_channel();
        let (answer, answers) = mpsc::unbounded_channel();
        let dir = tempfile::tempdir().unwrap();
        let origin = Origin::open(LogStore::new(Arc::new(Store::open(dir.path()).unwrap()))).unwrap();
        let network = Network::new(Arc::new(Played(sent, Mutex::new(Some(answers)))), Arc::new(origin));
        let mut target = network.target(2, "");
        // Entries up to 5; then only the word that they are committed; then one more.
        let input = futures_util::stream::iter([request(3, 4..6), request(5, 6..6), request(5, 6..7)]);
        let option = RPCOption::new(Duration::from_secs(60));
        let mut results = target.stream_append(input, option).await.unwrap();
        assert!(results.next().now_or_never().is_none());
        // The opening and all three are on their way.
        assert_eq!(std::iter::from_fn(|| requests.try_recv().ok()).count(), 4);
        let mut told = |index| {
            answer.send(done(index)).unwrap();
            results.next().now_or_never().map(|result| result.unwrap().unwrap().unwrap())
        };
        assert_eq!(told(5), None);
        assert_eq!(told(5), Some(Some(log_id(5))));
        assert_eq!(told(6), Some(Some(log_id(6))));
    }

    #[test]
    fn the_longest_command_gets_through_a_slow_link_before_it_is_given_up() {
        assert_eq!(answer_wait(0), ANSWER_WAIT_MAX);
        // At 10 Mbit/s.
        let slow = Duration::from_secs(crate::node::COMMAND_BYTES_MAX as u64 * 8 / 10_000_000);
        assert!(answer_wait(crate::node::COMMAND_BYTES_MAX) > slow);
        // A full batch at 64 kB/s, what a way of 150 ms that loses one packet in a hundred carries.
        assert!(answer_wait(1 << 20) > Duration::from_secs(16));
        // And at 1 Mbit/s; not as long as the slowest way would need, which is half an hour.
        let slow = Duration::from_secs(crate::node::COMMAND_BYTES_MAX as u64 * 8 / 1_000_000);
        assert!((slow..=LONG_ANSWER_WAIT_MAX).contains(&answer_wait(crate::node::COMMAND_BYTES_MAX)));
        assert_eq!(answer_wait(usize::MAX), LONG_ANSWER_WAIT_MAX);
    }
}
