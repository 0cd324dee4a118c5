//! Streams that this server opens on an edge's own connection: logs and statistics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use drover_model::{AllocId, NodeId};
use drover_protocol::codec;
use drover_protocol::edge::{
    AllocStats, CHUNK_BYTES_MAX, FromEdge, LogChunk, REQUEST_BYTES_MAX, ReadLogs, RpcError, ToEdge,
};
use drover_transport::{CloseCode, Connection, Stream};

use crate::error::Error;
use crate::server::Server;

/// How long an edge has until its first frame is here.
const FIRST_FRAME_WAIT: Duration = Duration::from_secs(10);
/// A chunk's frame: the data and its envelope.
const CHUNK_FRAME_BYTES_MAX: usize = CHUNK_BYTES_MAX + 4096;

/// Connections of one edge at a time: one that renews its certificate opens the new one before it leaves the old one.
const CONNECTIONS_PER_NODE: usize = 2;

/// The connections of the edges that are here, by node, the newest last.
#[derive(Default)]
pub struct EdgeConnections {
    by_node: Mutex<BTreeMap<NodeId, Vec<Connection>>>,
}

impl EdgeConnections {
    /// An edge has come; a connection that it had before is not used any more, and the one before that is closed.
    pub fn insert(&self, node: NodeId, connection: Connection) {
        let mut by_node = self.by_node.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = by_node.entry(node).or_default();
        connections.push(connection);
        let surplus = connections.len().saturating_sub(CONNECTIONS_PER_NODE);
        for old in connections.drain(..surplus) {
            old.close(CloseCode::DONE, "this node has newer connections");
        }
    }

    /// A connection has ended. Others of the same edge stay.
    pub fn remove(&self, node: NodeId, ended: &Connection) {
        let mut by_node = self.by_node.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connections) = by_node.get_mut(&node) else { return };
        connections.retain(|connection| !connection.same_as(ended));
        if connections.is_empty() {
            by_node.remove(&node);
        }
    }

    fn get(&self, node: NodeId) -> Option<Connection> {
        self.by_node.lock().unwrap_or_else(PoisonError::into_inner).get(&node)?.last().cloned()
    }
}

/// A log as it comes.
pub struct LogStream {
    stream: Stream,
}

impl LogStream {
    /// The next chunk; `None` at the end. An empty chunk is a sign of life.
    ///
    /// # Errors
    /// The edge is gone or speaks another language.
    pub async fn next(&mut self) -> Result<Option<LogChunk>, Error> {
        match self.stream.recv_frame(CHUNK_FRAME_BYTES_MAX).await {
            Ok(Some(frame)) => {
                codec::decode_bounded(&frame).map(Some).map_err(|e| Error::Unavailable(format!("log chunk: {e}")))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(Error::Unavailable(error.to_string())),
        }
    }
}

impl Server {
    /// A task's log, read by the edge that has it.
    ///
    /// # Errors
    /// The alloc or task is unknown, or its node can't be reached.
    pub async fn read_logs(&self, request: ReadLogs) -> Result<LogStream, Error> {
        let stream = self.call_edge(request.alloc_id, &ToEdge::ReadLogs(request)).await?;
        match stream {
            (FromEdge::Logs, stream) => Ok(LogStream { stream }),
            (FromEdge::Refused(error), _) => Err(refused(error)),
            (FromEdge::AllocStats(_), _) => Err(Error::Unavailable("the edge answered another question".to_owned())),
        }
    }

    /// What the tasks of an alloc use now, read by the edge that has it.
    ///
    /// # Errors
    /// The alloc is unknown, or its node can't be reached.
    pub async fn alloc_stats(&self, alloc_id: AllocId) -> Result<AllocStats, Error> {
        match self.call_edge(alloc_id, &ToEdge::AllocStats { alloc_id }).await? {
            (FromEdge::AllocStats(stats), _) => Ok(*stats),
            (FromEdge::Refused(error), _) => Err(refused(error)),
            (FromEdge::Logs, _) => Err(Error::Unavailable("the edge answered another question".to_owned())),
        }
    }

    async fn call_edge(&self, alloc_id: AllocId, request: &ToEdge) -> Result<(FromEdge, Stream), Error> {
        let snapshot = self.reading().snapshot;
        let unknown = || Error::NotFound(format!("Unknown allocation \"{alloc_id}\""));
        let node = snapshot.alloc(alloc_id).ok_or_else(unknown)?.node_id;
        let no_path = || Error::NotFound("No path to node".to_owned());
        let connection = self.inner.edges.get(node).ok_or_else(no_path)?;
        let unavailable = |e: drover_transport::StreamError| Error::Unavailable(e.to_string());
        let asked = async {
            // An edge that has all its streams in use makes this wait, and one that reads nothing the next.
            let mut stream = connection.open_stream().await.map_err(|_| no_path())?;
            stream.send_frame(&codec::encode(request)).await.map_err(unavailable)?;
            let frame = stream.recv_frame(REQUEST_BYTES_MAX).await.map_err(unavailable)?;
            let frame = frame.ok_or_else(|| Error::Unavailable("the node did not answer".to_owned()))?;
            let answer =
                codec::decode_bounded(&frame).map_err(|e| Error::Unavailable(format!("answer of the node: {e}")))?;
            Ok((answer, stream))
        };
        let late = |_| Error::Unavailable("the node did not answer in time".to_owned());
        tokio::time::timeout(FIRST_FRAME_WAIT, asked).await.map_err(late)?
    }
}

fn refused(error: RpcError) -> Error {
    match error {
        RpcError::NotFound { message } => Error::NotFound(message),
        RpcError::Invalid { message } => Error::Invalid(message),
        RpcError::Forbidden { message } => Error::Forbidden(message),
        RpcError::Unavailable { .. } | RpcError::NotLeader { .. } => Error::Unavailable(error.to_string()),
    }
}
