//! One of openraft's sessions on a link to append: what is sent when, and which answer says what.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::network::{ANSWER_WAIT_MAX, Target, answer_wait, closed};
use crate::peers::{Link, PeerError};
use crate::types::{LogId, TypeConfig};
use crate::wire::{self, Append, AppendAnswer};

/// Requests to append that are under way to one server.
pub const IN_FLIGHT_MAX: usize = 64;
/// How long a follower waits at most to be told that what it has is committed, unless somebody waits there: the next entries
/// say it too, and whoever wrote is answered before the followers are busy with it. The shortest time that a timer knows.
const NOTICE_WAIT_MAX: Duration = Duration::from_millis(1);

/// One of openraft's sessions on a link.
pub struct Session<'s, S> {
    pub target: &'s mut Target,
    pub link: Option<Link>,
    input: Option<S>,
    awaited: watch::Receiver<u64>,
    /// A request that only says what is committed, and when it is sent at last. Nothing is under way meanwhile: openraft takes
    /// the answer to what was sent before for one to this too.
    held: Option<(AppendEntriesRequest<TypeConfig>, Instant)>,
    /// What the other side was told to be committed.
    told: Option<u64>,
    /// Of each request that is under way, the log's end when it is done.
    in_flight: VecDeque<Option<LogId>>,
    /// When something was last sent or answered.
    since: Instant,
    /// How long the next answer may take: by the longest request that was sent since all were answered.
    wait: Duration,
}

impl<'s, S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin> Session<'s, S> {
    /// Over a link on which nothing is under way. `awaited` is the newest log index that somebody on another server waits for.
    pub fn new(target: &'s mut Target, link: Link, input: S, awaited: watch::Receiver<u64>) -> Self {
        let (in_flight, since) = (VecDeque::new(), Instant::now());
        let (link, input) = (Some(link), Some(input));
        Self { target, link, input, awaited, held: None, told: None, in_flight, since, wait: ANSWER_WAIT_MAX }
    }

    /// Sends what there is to send until an answer is here; nothing when all is sent and answered.
    pub async fn next_answer(&mut self) -> Result<Option<StreamAppendResult<TypeConfig>>, PeerError> {
        loop {
            let Some((sender, receiver)) = self.link.as_mut() else { return Ok(None) };
            let mut input = self.input.as_mut().filter(|_| self.in_flight.len() < IN_FLIGHT_MAX);
            if input.is_none() && self.in_flight.is_empty() {
                return Ok(None);
            }
            let deadline = self.since + self.wait;
            let told = self.told;
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
                } } => match request {
                    Some(request) if self.in_flight.is_empty() && can_wait(&request, told, *self.awaited.borrow()) => {
                        let until = self.held.take().map_or_else(|| Instant::now() + NOTICE_WAIT_MAX, |(_, until)| until);
                        self.held = Some((request, until));
                        continue;
                    }
                    // It says what the one that waits would have said.
                    Some(request) => {
                        self.held = None;
                        request
                    }
                    None => {
                        self.input = None;
                        let Some((request, _)) = self.held.take() else { continue };
                        request
                    }
                },
                Some(request) = last_moment(&mut self.held, &mut self.awaited, told) => request,
                () = tokio::time::sleep_until(deadline), if !self.in_flight.is_empty() => {
                    return Err(closed(format!("no answer in {:?}", self.wait)));
                }
            };
            let frame = wire::encode(&Append::of(&request));
            let wait = answer_wait(frame.len());
            let sent = timeout(wait, sender.send(frame)).await;
            sent.map_err(|_| closed("nobody takes the entries"))??;
            if self.in_flight.is_empty() {
                (self.since, self.wait) = (Instant::now(), wait);
            }
            self.wait = self.wait.max(wait);
            self.told = Some(committed(&request).max(self.told.unwrap_or(0)));
            let last = request.entries.last().map(|entry| entry.log_id);
            self.in_flight.push_back(last.or(request.prev_log_id));
        }
    }
}

/// What a request says to be committed.
fn committed(request: &AppendEntriesRequest<TypeConfig>) -> u64 {
    request.leader_commit.map_or(0, |id| id.index)
}

/// Whether it says nothing but what is committed, and nobody waits for that. The first of a session asks where the other is.
fn can_wait(request: &AppendEntriesRequest<TypeConfig>, told: Option<u64>, awaited: u64) -> bool {
    told.is_some_and(|told| request.entries.is_empty() && told < committed(request) && awaited <= told)
}

/// The request that waits, when its time has come or somebody waits for it; nothing when there is none.
async fn last_moment(
    held: &mut Option<(AppendEntriesRequest<TypeConfig>, Instant)>,
    awaited: &mut watch::Receiver<u64>,
    told: Option<u64>,
) -> Option<AppendEntriesRequest<TypeConfig>> {
    let until = held.as_ref()?.1;
    let hurry = awaited.wait_for(|awaited| told.is_some_and(|told| *awaited > told));
    // A sender that is gone hurries nobody: the time comes.
    let _ = timeout_at(until, hurry).await;
    held.take().map(|(request, _)| request)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use openraft::EntryPayload;
    use openraft::network::RPCOption;
    use openraft::network::v2::RaftNetworkV2;
    use openraft::vote::leader_id_std::CommittedLeaderId;
    use tokio::sync::mpsc;

    use super::*;
    use crate::log_store::LogStore;
    use crate::network::Network;
    use crate::origin::Origin;
    use crate::peers::{FrameReceiver, FrameSender, Peer, Peers};
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

    /// A network whose other end is here: what it sends, and where answers are put.
    fn played(dir: &std::path::Path) -> (Network, mpsc::UnboundedReceiver<Bytes>, mpsc::UnboundedSender<Bytes>) {
        let (sent, requests) = mpsc::unbounded_channel();
        let (answer, answers) = mpsc::unbounded_channel();
        let origin = Origin::open(LogStore::new(Arc::new(Store::open(dir).unwrap()))).unwrap();
        (Network::new(Arc::new(Played(sent, Mutex::new(Some(answers)))), Arc::new(origin)), requests, answer)
    }

    #[tokio::test]
    async fn an_answer_is_none_to_a_request_that_was_sent_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let (network, mut requests, answer) = played(dir.path());
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

    #[tokio::test]
    async fn what_is_committed_is_told_with_the_next_entries_or_soon_and_at_once_where_somebody_waits() {
        let dir = tempfile::tempdir().unwrap();
        let (network, mut requests, answer) = played(dir.path());
        let mut target = network.target(2, "");
        let (say, said) = mpsc::unbounded_channel();
        let input = futures_util::stream::unfold(said, |mut said| async { Some((said.recv().await?, said)) }).boxed();
        let mut results = target.stream_append(input, RPCOption::new(Duration::from_secs(60))).await.unwrap();
        requests.recv().await.expect("the opening");
        let with = |mut request: AppendEntriesRequest<TypeConfig>, commit| {
            request.leader_commit = Some(log_id(commit));
            request
        };
        let read = |frame: Bytes| {
            let request = wire::decode::<Append>(&frame).unwrap().request(1).unwrap();
            (request.entries.len(), request.leader_commit.map(|id| id.index))
        };
        let mut step = async |requests: &mut mpsc::UnboundedReceiver<Bytes>| {
            tokio::select! {
                biased;
                result = results.next() => Err(result.unwrap().unwrap().unwrap()),
                request = requests.recv() => Ok(read(request.unwrap())),
            }
        };
        say.send(with(request(3, 4..6), 3)).unwrap();
        assert_eq!(step(&mut requests).await, Ok((2, Some(3))));
        answer.send(done(5)).unwrap();
        assert_eq!(step(&mut requests).await, Err(Some(log_id(5))));
        // It waits, and the entries that come say it.
        say.send(with(request(5, 6..6), 5)).unwrap();
        say.send(with(request(5, 6..7), 5)).unwrap();
        assert_eq!(step(&mut requests).await, Ok((1, Some(5))));
        answer.send(done(6)).unwrap();
        assert_eq!(step(&mut requests).await, Err(Some(log_id(6))));
        // Nothing comes: it is told all the same.
        say.send(with(request(6, 7..7), 6)).unwrap();
        assert_eq!(step(&mut requests).await, Ok((0, Some(6))));
        answer.send(done(6)).unwrap();
        assert_eq!(step(&mut requests).await, Err(Some(log_id(6))));
        say.send(with(request(6, 7..8), 6)).unwrap();
        assert_eq!(step(&mut requests).await, Ok((1, Some(6))));
        answer.send(done(7)).unwrap();
        assert_eq!(step(&mut requests).await, Err(Some(log_id(7))));
        // Somebody waits: what comes behind it does not overtake it.
        network.hurry(7);
        say.send(with(request(7, 8..8), 7)).unwrap();
        say.send(with(request(7, 8..9), 7)).unwrap();
        assert_eq!(step(&mut requests).await, Ok((0, Some(7))));
        assert_eq!(step(&mut requests).await, Ok((1, Some(7))));
    }
}
