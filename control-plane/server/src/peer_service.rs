//! What other servers may ask of this one (see [`ToPeer`]).

use std::sync::Arc;
use std::time::Duration;

use drover_model::NodeId;
use drover_protocol::codec;
use drover_protocol::edge::RpcError;
use drover_protocol::server::{Callers, FromPeer, SERVER_BYTES_MAX, ToPeer};
use drover_state::{Answer, command};
use drover_transport::{FrameReceiver, FrameSender, Peer, Stream};
use tokio::sync::Semaphore;

use crate::edge_service;
use crate::error::Error;
use crate::region_forward;
use crate::server::Server;
use crate::snapshots;

/// Requests of one server that are read at a time: together they are all that it can make this server hold.
const READ_MAX: usize = 16;
/// How long a request may take to arrive.
const READ_TIME_MAX: Duration = Duration::from_secs(30);

/// Serves one server until its connection ends.
pub async fn serve(server: Server, peer: Peer) {
    let asking: Arc<str> = peer.identity.region.as_str().into();
    let reads = Arc::new(Semaphore::new(READ_MAX));
    // Streams that are open at a time are bounded by the transport.
    while let Ok(stream) = peer.connection.accept_stream().await {
        let (server, asking, reads) = (server.clone(), asking.clone(), reads.clone());
        tokio::spawn(async move { serve_stream(&server, &asking, stream, &reads).await });
    }
}

async fn serve_stream(server: &Server, asking: &str, mut stream: Stream, reads: &Semaphore) {
    let read = async {
        let _place = reads.acquire().await.ok()?;
        stream.recv_frame(SERVER_BYTES_MAX).await.ok()?
    };
    let Ok(Some(frame)) = tokio::time::timeout(READ_TIME_MAX, read).await else { return };
    let answer = match codec::decode::<ToPeer>(&frame) {
        Err(error) => Err(RpcError::Invalid { message: error.to_string() }),
        Ok(request) if !request.callers().admit(asking, &server.info().region) => {
            let whom = match request.callers() {
                Callers::Region(region) => format!("servers of region {region}"),
                Callers::OwnRegion | Callers::AnyRegion => "servers of the same region".to_owned(),
            };
            Err(RpcError::Forbidden { message: format!("this is for {whom}") })
        }
        Ok(ToPeer::EdgeStream { node_id }) => {
            pass_to_edge(server, node_id, stream).await;
            return;
        }
        Ok(ToPeer::Restore { len }) => snapshots::serve_restore(server, len, &mut stream).await,
        Ok(ToPeer::Http(request)) => {
            region_forward::serve(server, *request, stream).await;
            return;
        }
        Ok(request) => answer(server, request).await,
    };
    let answer = answer.unwrap_or_else(FromPeer::Refused);
    // One that is gone wants no answer.
    if stream.send_frame(&codec::encode(&answer)).await.is_ok() {
        stream.finish();
    }
}

async fn answer(server: &Server, request: ToPeer) -> Result<FromPeer, RpcError> {
    match request {
        ToPeer::Propose { command: bytes } => {
            // What the log takes is what it can read.
            command::decode(&bytes).map_err(|e| RpcError::Invalid { message: e.to_string() })?;
            match server.inner.raft.propose_encoded(bytes.into()).await {
                Ok((index, answer)) => Ok(FromPeer::Proposed { index, answer: codec::encode(&answer) }),
                Err(error) => Err(rpc_error(error.into())),
            }
        }
        ToPeer::ReadIndex => match server.inner.raft.read_index().await {
            Ok(index) => Ok(FromPeer::ReadIndex { index }),
            Err(error) => Err(rpc_error(error.into())),
        },
        ToPeer::OfEdge { node_id, request } => {
            leading(server)?;
            edge_service::answer_here(server, node_id, *request).await.map(FromPeer::OfEdge)
        }
        ToPeer::EdgeHeard { node_id } => Ok(FromPeer::EdgeHeard { ago: server.inner.edges.heard_ago(node_id) }),
        ToPeer::Form { members } => match server.promise(members) {
            Ok(()) => Ok(FromPeer::Done),
            Err(message) => Err(RpcError::Invalid { message }),
        },
        ToPeer::RemoveServer { id } => {
            leading(server)?;
            server.remove_server_here(&id).await.map(|()| FromPeer::Done).map_err(rpc_error)
        }
        ToPeer::TransferLeadership { to } => {
            leading(server)?;
            server.transfer_leadership_here(to.as_deref()).await.map(|()| FromPeer::Done).map_err(rpc_error)
        }
        ToPeer::Health => server.health_here().map(FromPeer::Health).ok_or(RpcError::NotLeader { leader: None }),
        ToPeer::RegionCertificate => match server.authority() {
            Some(authority) => Ok(FromPeer::RegionCertificate { pem: authority.to_pem().intermediate }),
            None => Err(RpcError::Unavailable { message: "no certificate yet".to_owned() }),
        },
        ToPeer::RenewRegion { region, certificate, proof } => server.renew_other_region(&region, &certificate, &proof),
        ToPeer::EdgeStream { .. } | ToPeer::Restore { .. } | ToPeer::Http(_) => {
            Err(RpcError::Invalid { message: "this takes the whole stream".to_owned() })
        }
    }
}

fn leading(server: &Server) -> Result<(), RpcError> {
    if server.is_leader() { Ok(()) } else { Err(RpcError::NotLeader { leader: server.leader_address() }) }
}

/// Joins the stream to one of the edge's own, frame by frame, until either side ends.
async fn pass_to_edge(server: &Server, node_id: NodeId, mut stream: Stream) {
    let edge = match server.own_edge_stream(node_id).await {
        Ok(edge) => edge,
        Err(error) => {
            // One that is gone wants no answer.
            if stream.send_frame(&codec::encode(&FromPeer::Refused(rpc_error(error)))).await.is_ok() {
                stream.finish();
            }
            return;
        }
    };
    if stream.send_frame(&codec::encode(&FromPeer::Done)).await.is_err() {
        return;
    }
    let (to_server, from_server) = stream.split();
    let (to_edge, from_edge) = edge.split();
    let asking = pass(from_server, to_edge);
    let answering = pass(from_edge, to_server);
    tokio::pin!(asking, answering);
    tokio::select! {
        // Whoever asked may have said all and still wants the answer.
        () = &mut asking => answering.await,
        () = &mut answering => {}
    }
}

async fn pass(mut from: FrameReceiver, mut to: FrameSender) {
    loop {
        tokio::select! {
            frame = from.recv_frame(SERVER_BYTES_MAX) => match frame {
                Ok(Some(frame)) => {
                    if to.send_frame(&frame).await.is_err() {
                        return;
                    }
                }
                Ok(None) => {
                    to.finish();
                    return;
                }
                Err(_) => {
                    to.reset(drover_transport::CloseCode::DONE);
                    return;
                }
            },
            // Nobody reads any more: the sender is told by this half going.
            _ = to.reader_gone() => return,
        }
    }
}

/// A refusal as this server's callers read it.
pub fn error_of(error: RpcError) -> Error {
    match error {
        RpcError::NotLeader { .. } => Error::NoLeader,
        RpcError::NotFound { message } => Error::NotFound(message),
        RpcError::Invalid { message } => Error::Invalid(message),
        RpcError::Forbidden { message } => Error::Forbidden(message),
        RpcError::Unavailable { message } => Error::Unavailable(message),
    }
}

/// An error as it travels.
pub fn rpc_error(error: Error) -> RpcError {
    match error {
        Error::NoLeader => RpcError::NotLeader { leader: None },
        Error::NotFound(message) => RpcError::NotFound { message },
        Error::Invalid(message) | Error::Conflict(message) => RpcError::Invalid { message },
        Error::Forbidden(message) => RpcError::Forbidden { message },
        Error::Unavailable(message) => RpcError::Unavailable { message },
        Error::Internal { public, private } => {
            tracing::error!(%private, "request of another machine failed");
            RpcError::Unavailable { message: public }
        }
    }
}

/// The state's answer to a command that another server has committed.
pub fn decode_answer(bytes: &[u8]) -> Result<Answer, Error> {
    codec::decode(bytes)
        .map_err(|e| Error::Internal { public: "the leader's answer can't be read".to_owned(), private: e.to_string() })
}

/// The other side answered another question.
pub fn unexpected() -> Error {
    Error::Unavailable("another server answered another question".to_owned())
}
