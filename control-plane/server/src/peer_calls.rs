//! What this server asks of the others, mostly of its leader.

use std::time::Duration;

use drover_model::NodeId;
use drover_protocol::codec;
use drover_protocol::edge::{FromServer, RpcError, ToServer};
use drover_protocol::server::{FromPeer, RegionHealth, SERVER_BYTES_MAX, ToPeer};
use drover_raft::RaftMember;
use drover_transport::Stream;
use futures_util::future::join_all;

use crate::error::Error;
use crate::peer_service;
use crate::server::Server;

/// How long it may take until a stream to another server is open.
const OPEN_TIME_MAX: Duration = Duration::from_secs(2);
/// The longest time for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// The longest time for an answer that somebody else can give as well.
const SHORT_ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// Why another server did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nothing was sent.
    #[error("{0}")]
    NotSent(String),
    /// It was sent, and no answer came: it may have been done or not.
    #[error("{0}: it may have been done or not")]
    Lost(String),
    /// The answer is no.
    #[error(transparent)]
    Refused(RpcError),
}

impl AskError {
    /// It was asked of somebody who does not lead.
    pub fn is_about_leader(&self) -> bool {
        matches!(self, AskError::Refused(RpcError::NotLeader { .. }))
    }
}

impl From<AskError> for Error {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NotSent(_) => Error::NoLeader,
            AskError::Lost(_) => Error::Unavailable(error.to_string()),
            AskError::Refused(refused) => peer_service::error_of(refused),
        }
    }
}

impl Server {
    /// Asks the leader. When another leads meanwhile its answer is waited for only `grace` longer.
    pub(crate) async fn ask_leader(&self, request: &ToPeer, grace: Duration) -> Result<FromPeer, AskError> {
        self.ask_leader_within(request, grace, ANSWER_TIME_MAX).await
    }

    /// As [`Self::ask_leader`], for something that takes no longer than that.
    pub(crate) async fn ask_leader_within(
        &self,
        request: &ToPeer,
        grace: Duration,
        time_max: Duration,
    ) -> Result<FromPeer, AskError> {
        let mut leadership = self.inner.raft.leadership();
        let leader = leadership.borrow().leader.clone();
        let Some((number, address)) = leader.filter(|(number, _)| *number != self.inner.number) else {
            return Err(AskError::NotSent("No cluster leader".to_owned()));
        };
        let deposed = async {
            let is_other = |now: &drover_raft::Leadership| now.leader.as_ref().map(|(now, _)| *now) != Some(number);
            // The sender goes with raft itself.
            let _ = leadership.wait_for(is_other).await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            answer = self.ask(number, &address, request, time_max) => answer,
            () = deposed => Err(AskError::Lost("the leader was lost before it answered".to_owned())),
        }
    }

    /// Asks a server, known by its number, for something that takes no longer than that.
    pub(crate) async fn ask(
        &self,
        number: u64,
        address: &str,
        request: &ToPeer,
        time_max: Duration,
    ) -> Result<FromPeer, AskError> {
        let not_sent = |error: crate::links::LinkError| AskError::NotSent(error.to_string());
        let open_time = OPEN_TIME_MAX.min(time_max);
        let mut stream = self.inner.peer_links.open(number, address, open_time).await.map_err(not_sent)?;
        match tokio::time::timeout(time_max, exchange(&mut stream, request)).await {
            Ok(Ok(FromPeer::Refused(error))) => Err(AskError::Refused(error)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(reason)) => Err(AskError::Lost(reason)),
            Err(_) => Err(AskError::Lost("no answer in time".to_owned())),
        }
    }

    /// The log's other members.
    pub(crate) fn fellows(&self) -> Vec<RaftMember> {
        self.inner.raft.members().into_iter().filter(|member| member.number != self.inner.number).collect()
    }

    /// Asks all other servers at once; gives the answers that came.
    async fn ask_all(&self, request: &ToPeer) -> Vec<(RaftMember, FromPeer)> {
        let asked = self.fellows().into_iter().map(|member| async move {
            let answer = self.ask(member.number, &member.address, request, SHORT_ANSWER_TIME_MAX).await;
            answer.ok().map(|answer| (member, answer))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// The region's certificate as the other servers have it.
    pub(crate) async fn region_certificates(&self) -> Vec<String> {
        let answers = self.ask_all(&ToPeer::RegionCertificate).await;
        let pem = |(_, answer)| if let FromPeer::RegionCertificate { pem } = answer { Some(pem) } else { None };
        answers.into_iter().filter_map(pem).collect()
    }

    /// What an edge asked of this server, asked of the leader.
    pub(crate) async fn ask_for_edge(&self, node_id: NodeId, request: ToServer) -> Result<FromServer, Error> {
        let request = ToPeer::OfEdge { node_id, request: Box::new(request) };
        match self.ask_leader(&request, Duration::ZERO).await? {
            FromPeer::OfEdge(answer) => Ok(answer),
            _ => Err(peer_service::unexpected()),
        }
    }

    /// A stream to an edge through the server that heard it last.
    pub(crate) async fn edge_stream_of_fellow(&self, node_id: NodeId) -> Option<Stream> {
        let answers = self.ask_all(&ToPeer::EdgeHeard { node_id }).await;
        let heard = |(member, answer)| match answer {
            FromPeer::EdgeHeard { ago: Some(ago) } => Some((ago, member)),
            _ => None,
        };
        let (_, member): (Duration, RaftMember) = answers.into_iter().filter_map(heard).min_by_key(|(ago, _)| *ago)?;
        let mut stream = self.inner.peer_links.open(member.number, &member.address, OPEN_TIME_MAX).await.ok()?;
        let request = ToPeer::EdgeStream { node_id };
        let opened = exchange_open(&mut stream, &request);
        match tokio::time::timeout(SHORT_ANSWER_TIME_MAX, opened).await {
            Ok(Ok(FromPeer::Done)) => Some(stream),
            _ => None,
        }
    }

    /// How well the servers are, as the leader sees it.
    ///
    /// # Errors
    /// Nobody leads.
    pub async fn health(&self) -> Result<RegionHealth, Error> {
        if let Some(health) = self.health_here() {
            return Ok(health);
        }
        match self.ask_leader(&ToPeer::Health, Duration::ZERO).await? {
            FromPeer::Health(health) => Ok(health),
            _ => Err(peer_service::unexpected()),
        }
    }
}

async fn exchange(stream: &mut Stream, request: &ToPeer) -> Result<FromPeer, String> {
    stream.send_frame(&codec::encode(request)).await.map_err(|e| e.to_string())?;
    stream.finish();
    receive(stream).await
}

/// As [`exchange`]; more goes to the other side afterwards.
async fn exchange_open(stream: &mut Stream, request: &ToPeer) -> Result<FromPeer, String> {
    stream.send_frame(&codec::encode(request)).await.map_err(|e| e.to_string())?;
    receive(stream).await
}

async fn receive(stream: &mut Stream) -> Result<FromPeer, String> {
    let frame = stream.recv_frame(SERVER_BYTES_MAX).await.map_err(|e| e.to_string())?;
    let frame = frame.ok_or_else(|| "the other side gave no answer".to_owned())?;
    codec::decode(&frame).map_err(|e| e.to_string())
}
