//! Streams that this server opens on an edge's own connection: logs and statistics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use drover_model::{AllocId, NodeId};
use drover_protocol::codec;
use drover_protocol::edge::{
    AllocStats, CHUNK_BYTES_MAX, FromEdge, LogChunk, REQUEST_BYTES_MAX, ReadLogs, RpcError, ToEdge,
};
use drover_transport::{Connection, Stream};

use crate::error::Error;
use crate::server::Server;

/// How long an edge has for its first frame.
const FIRST_FRAME_WAIT: Duration = Duration::from_secs(10);
/// A chunk's frame: the data and its envelope.
const CHUNK_FRAME_BYTES_MAX: usize = CHUNK_BYTES_MAX + 4096;

/// The connections of the edges that are here, by node.
#[derive(Default)]
pub struct EdgeConnections {
    by_node: Mutex<BTreeMap<NodeId, Connection>>,
}

impl EdgeConnections {
    /// An edge has come; a connection that it had before is not used any more.
    pub fn insert(&self, node: NodeId, connection: Connection) {
        self.by_node.lock().unwrap_or_else(PoisonError::into_inner).insert(node, connection);
    }

    /// A connection has ended. A newer one of the same edge stays.
    pub fn remove(&self, node: NodeId, ended: &Connection) {
        let mut by_node = self.by_node.lock().unwrap_or_else(PoisonError::into_inner);
        if by_node.get(&node).is_some_and(|current| current.same_as(ended)) {
            by_node.remove(&node);
        }
    }

    fn get(&self, node: NodeId) -> Option<Connection> {
        self.by_node.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
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
                codec::decode(&frame).map(Some).map_err(|e| Error::Unavailable(format!("log chunk: {e}")))
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
        let mut stream = connection.open_stream().await.map_err(|_| no_path())?;
        let unavailable = |e: drover_transport::StreamError| Error::Unavailable(e.to_string());
        stream.send_frame(&codec::encode(request)).await.map_err(unavailable)?;
        let frame = tokio::time::timeout(FIRST_FRAME_WAIT, stream.recv_frame(REQUEST_BYTES_MAX))
            .await
            .map_err(|_| Error::Unavailable("the node did not answer in time".to_owned()))?
            .map_err(unavailable)?
            .ok_or_else(|| Error::Unavailable("the node did not answer".to_owned()))?;
        let answer = codec::decode(&frame).map_err(|e| Error::Unavailable(format!("answer of the node: {e}")))?;
        Ok((answer, stream))
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
