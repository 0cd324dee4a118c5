//! The calling side of raft: openraft's calls as frames on [`Peers`]' streams.
//!
//! A link to append is kept and used again, also from one of openraft's sessions to the next. Requests do not wait for
//! answers: up to [`IN_FLIGHT_MAX`](crate::session::IN_FLIGHT_MAX) of them are under way, which is what makes replication fast over a distance.

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
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::codec;
use crate::machine::{SnapshotData, on_blocking};
use crate::origin::Origin;
use crate::peers::{Link, Peer, PeerError, Peers};
use crate::session::Session;
use crate::types::TypeConfig;
use crate::wire::{self, Ballot, BallotAnswer, BelongAnswer, Call, Opening, SnapshotAnswer, TransferAnswer};

/// How long opening a stream may take.
const OPEN_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long a server may take to say whether it could take part.
const BELONG_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long an answer to entries may take: a follower syncs them first, and its disk may be slow.
pub const ANSWER_WAIT_MAX: Duration = Duration::from_secs(2);
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
pub fn answer_wait(bytes: usize) -> Duration {
    let by_length = Duration::from_millis((bytes as u64).saturating_mul(1000) / BYTES_PER_SECOND_MIN);
    (ANSWER_WAIT_MAX + by_length).min(LONG_ANSWER_WAIT_MAX)
}

type StreamAppend<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>;

/// Makes links.
#[derive(Clone)]
pub struct Network {
    peers: Arc<dyn Peers>,
    origin: Arc<Origin>,
    /// The newest log index that somebody on another server waits for.
    awaited: watch::Sender<u64>,
}

impl Network {
    pub fn new(peers: Arc<dyn Peers>, origin: Arc<Origin>) -> Self {
        Self { peers, origin, awaited: watch::Sender::new(0) }
    }

    /// The others are told at once that this log index is committed, when it is.
    pub fn hurry(&self, index: u64) {
        self.awaited.send_if_modified(|awaited| {
            let is_new = *awaited < index;
            *awaited = index.max(*awaited);
            is_new
        });
    }

    /// Asks a server whether it could take part in this log.
    pub async fn could_belong(&self, number: u64, address: &str) -> Result<bool, PeerError> {
        let answer: BelongAnswer = self.target(number, address).ask(&Call::Belong, BELONG_WAIT_MAX).await?;
        Ok(answer.could)
    }

    pub fn target(&self, number: u64, address: &str) -> Target {
        Target {
            peers: self.peers.clone(),
            peer: Peer { number, address: address.to_owned() },
            origin: self.origin.clone(),
            awaited: self.awaited.subscribe(),
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
    awaited: watch::Receiver<u64>,
    /// A link to append on which nothing is under way. (Never locked: it makes what can only be sent shareable.)
    kept: Mutex<Option<Link>>,
}

fn rpc_error(error: PeerError) -> RPCError<TypeConfig> {
    match error {
        PeerError::Unreachable { .. } => Unreachable::new(&error).into(),
        PeerError::Closed { .. } | PeerError::TooLong { .. } => NetworkError::new(&error).into(),
    }
}

pub fn closed(reason: impl ToString) -> PeerError {
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
            let awaited = self.awaited.clone();
            let session = Session::new(self, link, input, awaited);
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

#[cfg(test)]
mod tests {
    use super::*;

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
