//! Streams that this server opens on an edge's own connection: logs, files, commands, statistics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use drover_model::{AllocId, NodeId};
use drover_protocol::codec;
use drover_protocol::edge::{
    AllocStats, CHUNK_BYTES_MAX, ExecInput, ExecOutput, ExecRequest, FILES_MAX, FileInfo, FilesRequest, FilesWanted,
    FromEdge, LogChunk, REQUEST_BYTES_MAX, ReadLogs, RpcError, ToEdge,
};
use drover_protocol::edge_node::{NodeMeta, NodeStats};
use drover_transport::{CloseCode, Connection, FrameReceiver, FrameSender, Stream};
use tokio::time::Instant;

use crate::error::Error;
use crate::server::Server;

/// How long an edge has until its first frame is here.
const FIRST_FRAME_WAIT: Duration = Duration::from_secs(10);
/// Bytes of a list of files behind its first page: the count alone would let an edge fill memory with names.
const FILES_BYTES_MAX: usize = 64 << 20;
/// A chunk's frame: the data and its envelope.
const CHUNK_FRAME_BYTES_MAX: usize = CHUNK_BYTES_MAX + 4096;

/// Connections of one edge at a time: one that renews its certificate opens the new one before it leaves the old one.
const CONNECTIONS_PER_NODE: usize = 2;

/// An edge that was heard here within this time is here: in a region of some hundred nodes it sends heartbeats more often.
const HEARD_LATELY: Duration = Duration::from_secs(20);

/// The connections of the edges that are here, by node, the newest last.
#[derive(Default)]
pub struct EdgeConnections {
    by_node: Mutex<BTreeMap<NodeId, OfNode>>,
}

struct OfNode {
    connections: Vec<Connection>,
    heard: Instant,
}

impl EdgeConnections {
    /// An edge has come; a connection that it had before is not used any more, and the one before that is closed.
    pub fn insert(&self, node: NodeId, connection: Connection) {
        let mut by_node = self.by_node.lock().unwrap_or_else(PoisonError::into_inner);
        let of_node = by_node.entry(node).or_insert_with(|| OfNode { connections: Vec::new(), heard: Instant::now() });
        of_node.heard = Instant::now();
        let connections = &mut of_node.connections;
        connections.push(connection);
        let surplus = connections.len().saturating_sub(CONNECTIONS_PER_NODE);
        for old in connections.drain(..surplus) {
            old.close(CloseCode::DONE, "this node has newer connections");
        }
    }

    /// A connection has ended. Others of the same edge stay.
    pub fn remove(&self, node: NodeId, ended: &Connection) {
        let mut by_node = self.by_node.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(OfNode { connections, .. }) = by_node.get_mut(&node) else { return };
        connections.retain(|connection| !connection.same_as(ended));
        if connections.is_empty() {
            by_node.remove(&node);
        }
    }

    /// An edge has asked something.
    pub fn heard(&self, node: NodeId) {
        if let Some(of_node) = self.by_node.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&node) {
            of_node.heard = Instant::now();
        }
    }

    /// How long ago an edge that is here has asked something.
    pub fn heard_ago(&self, node: NodeId) -> Option<Duration> {
        Some(self.by_node.lock().unwrap_or_else(PoisonError::into_inner).get(&node)?.heard.elapsed())
    }

    fn get(&self, node: NodeId) -> Option<Connection> {
        self.by_node.lock().unwrap_or_else(PoisonError::into_inner).get(&node)?.connections.last().cloned()
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

/// Input of a command that runs on an edge. Dropped with its receiver, the command ends.
pub struct ExecSender(FrameSender);

impl ExecSender {
    /// Hands input on; waits while the command does not take it.
    ///
    /// # Errors
    /// The edge is gone, or the command has ended.
    pub async fn send(&mut self, input: &ExecInput) -> Result<(), Error> {
        self.0.send_frame(&codec::encode(input)).await.map_err(|error| Error::Unavailable(error.to_string()))
    }
}

/// Output of a command that runs on an edge.
pub struct ExecReceiver(FrameReceiver);

impl ExecReceiver {
    /// What comes next; `None` at the end, after [`ExecOutput::Exited`].
    ///
    /// # Errors
    /// The edge is gone or speaks another language.
    pub async fn next(&mut self) -> Result<Option<ExecOutput>, Error> {
        match self.0.recv_frame(CHUNK_FRAME_BYTES_MAX).await {
            Ok(Some(frame)) => {
                codec::decode_bounded(&frame).map(Some).map_err(|e| Error::Unavailable(format!("output: {e}")))
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
            _ => Err(another_question()),
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
            _ => Err(another_question()),
        }
    }

    /// A stream to an edge that is connected to this server.
    pub(crate) async fn own_edge_stream(&self, node: NodeId) -> Result<Stream, Error> {
        let no_path = || Error::NotFound("No path to node".to_owned());
        let connection = self.inner.edges.get(node).ok_or_else(no_path)?;
        // An edge that has all its streams in use makes this wait.
        let opened = tokio::time::timeout(FIRST_FRAME_WAIT, connection.open_stream()).await;
        opened.map_err(|_| no_path())?.map_err(|_| no_path())
    }

    /// A stream to an edge, through the server that it is connected to.
    pub(crate) async fn edge_stream(&self, node: NodeId) -> Result<Stream, Error> {
        if self.inner.edges.heard_ago(node).is_some_and(|ago| ago < HEARD_LATELY) {
            return self.own_edge_stream(node).await;
        }
        match self.edge_stream_of_fellow(node).await {
            Some(stream) => Ok(stream),
            None => self.own_edge_stream(node).await,
        }
    }

    /// Files of a directory of an alloc.
    ///
    /// # Errors
    /// The alloc is unknown, there is no such directory, or its node can't be reached.
    pub async fn list_files(&self, alloc_id: AllocId, path: &str) -> Result<Vec<FileInfo>, Error> {
        let request = FilesRequest { alloc_id, path: path.to_owned(), wanted: FilesWanted::List };
        match self.call_edge(alloc_id, &ToEdge::Files(request)).await? {
            (FromEdge::Files(files), stream) => all_pages(files, stream).await,
            (FromEdge::Refused(error), _) => Err(refused(error)),
            _ => Err(another_question()),
        }
    }

    /// One file of an alloc.
    ///
    /// # Errors
    /// The alloc is unknown, there is no such file, or its node can't be reached.
    pub async fn stat_file(&self, alloc_id: AllocId, path: &str) -> Result<FileInfo, Error> {
        let request = FilesRequest { alloc_id, path: path.to_owned(), wanted: FilesWanted::Stat };
        match self.call_edge(alloc_id, &ToEdge::Files(request)).await? {
            (FromEdge::File(file), _) => Ok(file),
            (FromEdge::Refused(error), _) => Err(refused(error)),
            _ => Err(another_question()),
        }
    }

    /// Bytes of a file of an alloc (`wanted` is [`FilesWanted::Read`]).
    ///
    /// # Errors
    /// The alloc is unknown, there is no such file, or its node can't be reached.
    pub async fn read_file(&self, request: FilesRequest) -> Result<LogStream, Error> {
        match self.call_edge(request.alloc_id, &ToEdge::Files(request)).await? {
            (FromEdge::Logs, stream) => Ok(LogStream { stream }),
            (FromEdge::Refused(error), _) => Err(refused(error)),
            _ => Err(another_question()),
        }
    }

    /// Runs a command inside a task.
    ///
    /// # Errors
    /// The alloc or task is unknown, the command can't be started, or its node can't be reached.
    pub async fn exec(&self, request: ExecRequest) -> Result<(ExecSender, ExecReceiver), Error> {
        match self.call_edge(request.alloc_id, &ToEdge::Exec(request)).await? {
            (FromEdge::Exec, stream) => {
                let (sender, receiver) = stream.split();
                Ok((ExecSender(sender), ExecReceiver(receiver)))
            }
            (FromEdge::Refused(error), _) => Err(refused(error)),
            _ => Err(another_question()),
        }
    }

    /// Ends tasks of an alloc and starts them again: the one of that name; without a name those that run, or all.
    ///
    /// # Errors
    /// The alloc or task is unknown or does not run, or its node can't be reached.
    pub async fn restart_tasks(&self, alloc_id: AllocId, task: String, all: bool) -> Result<(), Error> {
        self.have_done(alloc_id, &ToEdge::RestartTasks { alloc_id, task, all }).await
    }

    /// Sends a signal to a task of an alloc; without a name to all that run.
    ///
    /// # Errors
    /// The alloc or task is unknown or does not run, or its node can't be reached.
    pub async fn signal_tasks(&self, alloc_id: AllocId, task: String, signal: String) -> Result<(), Error> {
        self.have_done(alloc_id, &ToEdge::SignalTasks { alloc_id, task, signal }).await
    }

    /// What a node uses now.
    ///
    /// # Errors
    /// The node is unknown or can't be reached.
    pub async fn node_stats(&self, node_id: NodeId) -> Result<NodeStats, Error> {
        let unknown = || Error::NotFound(format!("Unknown node {node_id}"));
        self.reading().snapshot.node(node_id).ok_or_else(unknown)?;
        match self.call_node(node_id, &ToEdge::NodeStats).await? {
            (FromEdge::NodeStats(stats), _) => Ok(*stats),
            (FromEdge::Refused(error), _) => Err(refused(error)),
            _ => Err(another_question()),
        }
    }

    /// Has an edge remove what is left of an ended alloc.
    ///
    /// # Errors
    /// The alloc is unknown, runs or is needed, or its node can't be reached.
    pub async fn collect_alloc(&self, alloc_id: AllocId) -> Result<(), Error> {
        self.have_done(alloc_id, &ToEdge::CollectAllocs { alloc_id: Some(alloc_id) }).await
    }

    /// Has an edge remove what is left of all its ended allocs.
    ///
    /// # Errors
    /// The node is unknown or can't be reached.
    pub async fn collect_allocs_of_node(&self, node_id: NodeId) -> Result<(), Error> {
        let unknown = || Error::NotFound(format!("Unknown node {node_id}"));
        self.reading().snapshot.node(node_id).ok_or_else(unknown)?;
        match self.call_node(node_id, &ToEdge::CollectAllocs { alloc_id: None }).await? {
            (FromEdge::Done, _) => Ok(()),
            (FromEdge::Refused(error), _) => Err(refused(error)),
            _ => Err(another_question()),
        }
    }

    /// The metadata of a node.
    ///
    /// # Errors
    /// The node is unknown or can't be reached.
    pub async fn node_meta(&self, node_id: NodeId) -> Result<NodeMeta, Error> {
        self.ask_meta(node_id, &ToEdge::ReadMeta).await
    }

    /// Sets metadata of a node, and takes away keys without a value.
    ///
    /// # Errors
    /// The node is unknown or can't be reached, or it is too much.
    pub async fn apply_node_meta(
        &self,
        node_id: NodeId,
        meta: BTreeMap<String, Option<String>>,
    ) -> Result<NodeMeta, Error> {
        self.ask_meta(node_id, &ToEdge::ApplyMeta { meta }).await
    }

    async fn ask_meta(&self, node_id: NodeId, request: &ToEdge) -> Result<NodeMeta, Error> {
        let unknown = || Error::NotFound(format!("Unknown node {node_id}"));
        self.reading().snapshot.node(node_id).ok_or_else(unknown)?;
        match self.call_node(node_id, request).await? {
            (FromEdge::NodeMeta(meta), _) => Ok(*meta),
            (FromEdge::Refused(error), _) => Err(refused(error)),
            _ => Err(another_question()),
        }
    }

    async fn have_done(&self, alloc_id: AllocId, request: &ToEdge) -> Result<(), Error> {
        match self.call_edge(alloc_id, request).await? {
            (FromEdge::Done, _) => Ok(()),
            (FromEdge::Refused(error), _) => Err(refused(error)),
            _ => Err(another_question()),
        }
    }

    async fn call_edge(&self, alloc_id: AllocId, request: &ToEdge) -> Result<(FromEdge, Stream), Error> {
        let snapshot = self.reading().snapshot;
        let unknown = || Error::NotFound(format!("Unknown allocation \"{alloc_id}\""));
        let node = snapshot.alloc(alloc_id).ok_or_else(unknown)?.node_id;
        self.call_node(node, request).await
    }

    async fn call_node(&self, node: NodeId, request: &ToEdge) -> Result<(FromEdge, Stream), Error> {
        let mut stream = self.edge_stream(node).await?;
        let unavailable = |e: drover_transport::StreamError| Error::Unavailable(e.to_string());
        let asked = async {
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

fn another_question() -> Error {
    Error::Unavailable("the edge answered another question".to_owned())
}

fn refused(error: RpcError) -> Error {
    match error {
        RpcError::NotFound { message } => Error::NotFound(message),
        RpcError::Invalid { message } => Error::Invalid(message),
        RpcError::Forbidden { message } => Error::Forbidden(message),
        RpcError::Unavailable { .. } | RpcError::NotLeader { .. } => Error::Unavailable(error.to_string()),
    }
}

/// A list of files whose first page has come.
async fn all_pages(mut files: Vec<FileInfo>, mut stream: Stream) -> Result<Vec<FileInfo>, Error> {
    let mut bytes_left = FILES_BYTES_MAX;
    let broken = |text: String| Error::Unavailable(format!("list of files: {text}"));
    loop {
        let frame = tokio::time::timeout(FIRST_FRAME_WAIT, stream.recv_frame(REQUEST_BYTES_MAX)).await;
        let frame = frame.map_err(|_| broken("the edge is silent".to_owned()))?;
        let Some(frame) = frame.map_err(|error| broken(error.to_string()))? else { return Ok(files) };
        let page: Vec<FileInfo> = codec::decode_bounded(&frame).map_err(|error| broken(error.to_string()))?;
        let left = bytes_left.checked_sub(frame.len());
        let Some(left) = left.filter(|_| !page.is_empty() && files.len() + page.len() <= FILES_MAX) else {
            return Err(broken("too long".to_owned()));
        };
        bytes_left = left;
        files.extend(page);
    }
}
