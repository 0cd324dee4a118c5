//! What an edge may ask: register, heartbeat, what it shall run, and to report.

mod heartbeats;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_leader::{alloc_report, node_evals};
use drover_model::alloc::{Alloc, AllocUpdate};
use drover_model::eval::EvalTrigger;
use drover_model::node::{Eligibility, Node, NodeStatus};
use drover_model::{AllocId, NodeId, Timestamp};
use drover_protocol::codec;
use drover_protocol::edge::{
    FromServer, NODE_ALLOCS_BYTES_MAX, NodeAllocs, REQUEST_BYTES_MAX, RpcError, ToServer, WantedAlloc,
};
use drover_state::{Command, Snapshot};
use drover_transport::{Connection, Peer, Stream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::error::Error;
use crate::metrics;
use crate::peer_service::rpc_error;
use crate::server::{Reading, Server};
use crate::watch::Watch;
use crate::{chance, clock, forward};

/// Requests of one edge that are worked on at a time; it has no more streams than that.
const REQUESTS_MAX: usize = 64;
/// With so many under way an edge gets places for [`REQUESTS_MAX`] streams; an idle one has two and needs few.
const REQUESTS_BUSY: usize = 5;
/// Requests of one edge that are read at a time: together they are all that it can make this server hold.
const READ_MAX: usize = 4;
/// How long a request may take to arrive.
const READ_TIME_MAX: Duration = Duration::from_secs(30);
/// The longest description that a node gives of itself, in bytes: it is written to the log each time.
const NODE_BYTES_MAX: usize = 512 << 10;
/// How long an edge's request waits for a leader.
const LEADER_WAIT_MAX: Duration = Duration::from_secs(3);
/// How often a request is asked of a leader, and the wait between.
const ATTEMPTS_MAX: u32 = 3;
const ATTEMPT_WAIT: Duration = Duration::from_millis(100);
/// Allocs per pushed frame, so that no frame comes near its limit.
const ALLOCS_PER_FRAME: usize = 64;
/// A push stream looks again after this time even if nothing woke it: a lost wake-up must not last.
const WATCH_RECHECK: Duration = Duration::from_secs(300);

/// Serves one edge until its connection ends.
pub async fn serve(server: Server, peer: Peer) {
    let Ok(node_id) = peer.identity.node.parse::<NodeId>() else {
        peer.connection.close(drover_transport::CloseCode::CERTIFICATE_REFUSED, "the certificate names no node");
        return;
    };
    server.inner.edges.insert(node_id, peer.connection.clone());
    let places = Arc::new(Semaphore::new(REQUESTS_MAX));
    let reads = Arc::new(Semaphore::new(READ_MAX));
    let mut is_busy = false;
    while let Ok(stream) = peer.connection.accept_stream().await {
        let Ok(place) = places.clone().acquire_owned().await else {
            break;
        };
        if !is_busy && REQUESTS_MAX - places.available_permits() >= REQUESTS_BUSY {
            is_busy = true;
            peer.connection.take_more_streams();
        }
        let (server, reads, connection) = (server.clone(), reads.clone(), peer.connection.clone());
        tokio::spawn(async move {
            serve_stream(&server, node_id, &connection, stream, &reads).await;
            drop(place);
        });
    }
    server.inner.edges.remove(node_id, &peer.connection);
}

/// A request and the bytes it came in; none when it did not come in time.
async fn read(stream: &mut Stream, reads: &Semaphore) -> Option<(usize, Result<ToServer, codec::DecodeError>)> {
    let _place = reads.acquire().await.ok()?;
    let read = tokio::time::timeout(READ_TIME_MAX, stream.recv_frame(REQUEST_BYTES_MAX)).await;
    let frame = read.ok()?.ok()??;
    Some((frame.len(), codec::decode_bounded(&frame)))
}

async fn serve_stream(
    server: &Server,
    node_id: NodeId,
    connection: &Connection,
    mut stream: Stream,
    reads: &Semaphore,
) {
    let Some((len, request)) = read(&mut stream, reads).await else {
        return;
    };
    let (began, name) = (Instant::now(), request.as_ref().ok().and_then(metrics::edge_request));
    let answer = match request {
        Err(error) => Err(RpcError::Invalid { message: error.to_string() }),
        Ok(ToServer::Register { .. }) if len > NODE_BYTES_MAX => {
            let message = format!("node of {len} bytes is over the limit of {NODE_BYTES_MAX}");
            Err(RpcError::Invalid { message })
        }
        // Here and below: what takes a moment is in a box, so that the two streams that stay as long as the edge does, its
        // heartbeats and its allocs, do not hold the room for it.
        Ok(request @ (ToServer::Register { .. } | ToServer::ReportAllocs { .. }))
            if names(&request) == Some(node_id) =>
        {
            server.inner.edges.heard(node_id);
            Box::pin(answer_anywhere(server, node_id, request)).await
        }
        Ok(ToServer::Heartbeat { node_id: named }) if named == node_id => {
            heartbeats::serve(server, node_id, stream).await;
            return;
        }
        Ok(ToServer::WatchAllocs { node_id: named }) if named == node_id => {
            push_allocs(server, node_id, connection, stream).await;
            return;
        }
        Ok(ToServer::Forward(request)) => {
            Box::pin(forward::serve(server, request, stream)).await;
            return;
        }
        Ok(_) => Err(RpcError::Forbidden { message: "the certificate is another node's".to_owned() }),
    };
    metrics::edge_answered(name, answer.is_ok(), began.elapsed());
    let answer = answer.unwrap_or_else(FromServer::Refused);
    // An edge that is gone asks again when it is back.
    if stream.send_frame(&codec::encode(&answer)).await.is_ok() {
        stream.finish();
    }
}

/// The node that a request is about; none for requests that are answered on streams of their own.
fn names(request: &ToServer) -> Option<NodeId> {
    match request {
        ToServer::Register { node } => Some(node.id),
        ToServer::Heartbeat { node_id } | ToServer::ReportAllocs { node_id, .. } => Some(*node_id),
        ToServer::WatchAllocs { .. } | ToServer::Forward(_) => None,
    }
}

/// Answers on the leader, which hears the edges: here, or by asking it. All of these may be done twice, so one that was lost
/// with its leader is asked of the next one.
async fn answer_anywhere(server: &Server, node_id: NodeId, request: ToServer) -> Result<FromServer, RpcError> {
    if !server.is_leader() && server.wait_for_leader(LEADER_WAIT_MAX).await && !server.is_leader() {
        for attempt in 1.. {
            match server.ask_for_edge(node_id, request.clone()).await {
                Err(Error::NoLeader | Error::Unavailable(_)) if attempt < ATTEMPTS_MAX => {
                    tokio::time::sleep(ATTEMPT_WAIT).await;
                }
                result => return result.map_err(rpc_error),
            }
            if server.is_leader() {
                break;
            }
        }
    }
    answer_here(server, node_id, request).await
}

/// Answers as the leader.
pub async fn answer_here(server: &Server, node_id: NodeId, request: ToServer) -> Result<FromServer, RpcError> {
    match request {
        ToServer::Register { node } if node.id == node_id => register(server, *node).await,
        ToServer::Heartbeat { node_id: named } if named == node_id => heartbeat(server, node_id).await,
        ToServer::ReportAllocs { node_id: named, updates } if named == node_id => {
            report(server, node_id, updates).await
        }
        _ => Err(RpcError::Forbidden { message: "the certificate is another node's".to_owned() }),
    }
}

fn alive(server: &Server, node_id: NodeId) -> FromServer {
    FromServer::Alive { heartbeat_ttl: server.inner.heard.heard(node_id), servers: server.peers() }
}

async fn register(server: &Server, mut node: Node) -> Result<FromServer, RpcError> {
    let now = clock::now();
    described(&mut node);
    let snapshot = server.read(false).await.map_err(rpc_error)?.snapshot;
    let evals = node_evals::evals(&snapshot, node.id, EvalTrigger::NodeUpdate, now, chance::seed());
    let node_id = node.id;
    server.propose(Command::RegisterNode { node: Box::new(node), evals, at: now }).await.map_err(rpc_error)?;
    Ok(alive(server, node_id))
}

/// What a node may say of itself stays; what operators and servers decide begins anew.
fn described(node: &mut Node) {
    node.status = NodeStatus::Ready;
    node.scheduling_eligibility = Eligibility::Eligible;
    node.drain_strategy = None;
    node.last_drain = None;
    node.events.clear();
    node.last_alloc_update_index = 0;
    node.last_missed_heartbeat_index = 0;
    node.computed_class = drover_model::computed_class::computed_class(node);
}

async fn heartbeat(server: &Server, node_id: NodeId) -> Result<FromServer, RpcError> {
    let now = clock::now();
    let snapshot = server.read(false).await.map_err(rpc_error)?.snapshot;
    let Some(node) = snapshot.node(node_id) else {
        // It was purged, or this server has lost it: the edge registers again.
        return Err(RpcError::NotFound { message: "node not found".to_owned() });
    };
    if node.status != NodeStatus::Ready {
        let evals = node_evals::evals(&snapshot, node_id, EvalTrigger::NodeUpdate, now, chance::seed());
        let back = Command::UpdateNodeStatus {
            node_id,
            status: NodeStatus::Ready,
            event: "Node reregistered by heartbeat".to_owned(),
            evals,
            at: now,
        };
        server.propose(back).await.map_err(rpc_error)?;
    }
    Ok(alive(server, node_id))
}

async fn report(server: &Server, node_id: NodeId, mut updates: Vec<AllocUpdate>) -> Result<FromServer, RpcError> {
    let now = clock::now();
    let snapshot = server.read(false).await.map_err(rpc_error)?.snapshot;
    for update in &mut updates {
        if let Some(alloc) = snapshot.alloc(update.alloc_id) {
            set_clock(update, alloc, now);
        }
    }
    let evals = alloc_report::evals(&snapshot, node_id, &updates, now, chance::seed());
    let command = Command::UpdateAllocs { node_id, updates, evals, at: now };
    let (index, _) = server.propose(command).await.map_err(rpc_error)?;
    Ok(FromServer::Reported { index })
}

/// Deadlines and delays are counted from these times, and an edge's clock may be years off: one that can't be becomes now,
/// or stays what it was reported as before.
fn set_clock(update: &mut AllocUpdate, alloc: &Alloc, now: Timestamp) {
    let possible = |time: Timestamp| alloc.create_time <= time && time <= now;
    let settle = |time: &mut Timestamp, before: Option<Timestamp>| {
        if !time.is_never() && !possible(*time) {
            *time = before.filter(|before| possible(*before)).unwrap_or(now);
        }
    };
    if update.healthy.is_some() {
        if update.health_at.is_never() {
            update.health_at = now;
        }
        settle(&mut update.health_at, alloc.deployment_status.map(|health| health.timestamp));
    }
    for (name, task) in &mut update.task_states {
        let before = alloc.task_states.get(name);
        settle(&mut task.started_at, before.map(|before| before.started_at));
        settle(&mut task.finished_at, before.map(|before| before.finished_at));
    }
}

/// Pushes what the node shall run: everything at first, then what changed, for as long as the edge listens.
async fn push_allocs(server: &Server, node_id: NodeId, connection: &Connection, mut stream: Stream) {
    let mut sent = Sent::default();
    let mut whole = true;
    loop {
        let waiter = server.wait_for(&Watch::WantedOfNode(node_id));
        // An edge ends what the first frames don't name: they are never of an older state than was acknowledged.
        let Ok(Reading { snapshot, .. }) = Box::pin(server.read(!whole)).await else { return };
        for frame in changes(&snapshot, node_id, &mut sent, whole) {
            let bytes = codec::encode(&frame);
            if bytes.len() > NODE_ALLOCS_BYTES_MAX {
                tracing::error!(%node_id, bytes = bytes.len(), "allocs too large to be pushed");
                return;
            }
            if stream.send_frame(&bytes).await.is_err() {
                return;
            }
        }
        whole = false;
        // Its own reports do not wake this stream, only what servers want.
        tokio::select! {
            _ = waiter.changed(Instant::now() + WATCH_RECHECK) => {}
            _ = connection.closed() => return,
        }
    }
}

/// What an edge was sent of its allocs.
#[derive(Default)]
struct Sent {
    /// When servers had last changed what they want of each.
    of: BTreeMap<AllocId, u64>,
    /// No change of before this raft index is news.
    next_index: u64,
    /// Of the state that it was read from.
    begun_index: u64,
}

impl Sent {
    /// The allocs of which the edge has to hear, and which it has that are gone. Where the state goes on from the one before, only
    /// those that changed are looked at: a node may have thousands that have ended.
    fn news<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        node_id: NodeId,
        whole: bool,
    ) -> (Vec<&'s Arc<Alloc>>, Vec<AllocId>) {
        let goes_on = !whole && self.begun_index == snapshot.begun_index();
        let since = self.next_index;
        (self.begun_index, self.next_index) = (snapshot.begun_index(), snapshot.index().saturating_add(1));
        let recent = Some(since).filter(|_| goes_on).and_then(|since| snapshot.wanted_on_node_since(node_id, since));
        let recent: Option<Vec<&Arc<Alloc>>> = recent.map(Iterator::collect);
        let mut news = Vec::new();
        for alloc in recent.unwrap_or_else(|| snapshot.allocs_of_node(node_id).collect()) {
            let index = alloc.alloc_modify_index;
            if self.of.get(&alloc.id) != Some(&index) && snapshot.job_of_alloc(alloc).is_some() {
                self.of.insert(alloc.id, index);
                news.push(alloc);
            }
        }
        let mut removals = Vec::new();
        if !goes_on || self.of.len() != snapshot.count_on_node(node_id) {
            let is_gone = |id: &AllocId| snapshot.alloc(*id).is_none_or(|alloc| alloc.node_id != node_id);
            removals = self.of.keys().copied().filter(is_gone).collect();
            for id in &removals {
                self.of.remove(id);
            }
        }
        (news, removals)
    }
}

/// The frames that bring the edge from what it was sent to what is now.
fn changes(snapshot: &Snapshot, node_id: NodeId, sent: &mut Sent, whole: bool) -> Vec<NodeAllocs> {
    let (news, removals) = sent.news(snapshot, node_id, whole);
    let wanted =
        |alloc: &Arc<Alloc>| Some(WantedAlloc { alloc: (**alloc).clone(), job: snapshot.job_of_alloc(alloc)?.clone() });
    let upserts: Vec<WantedAlloc> = news.into_iter().filter_map(wanted).collect();
    if upserts.is_empty() && removals.is_empty() && !whole {
        return Vec::new();
    }
    let index = snapshot.index();
    let mut frames: Vec<NodeAllocs> = Vec::new();
    let mut upserts = upserts.into_iter().peekable();
    loop {
        let part: Vec<WantedAlloc> = upserts.by_ref().take(ALLOCS_PER_FRAME).collect();
        let complete = upserts.peek().is_none();
        frames.push(NodeAllocs { index, whole, complete, upserts: part, removals: Vec::new() });
        if complete {
            break;
        }
    }
    if let Some(last) = frames.last_mut() {
        last.removals = removals;
    }
    frames
}

#[cfg(test)]
mod tests;
