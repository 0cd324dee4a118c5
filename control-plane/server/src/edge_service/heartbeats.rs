//! The heartbeats of one edge, one after the other on a stream of theirs.

use drover_model::NodeId;
use drover_protocol::codec;
use drover_protocol::edge::{FromServer, ToServer};
use drover_protocol::heartbeat::{HEARTBEAT_BYTES_MAX, HeartbeatAnswer};
use drover_transport::Stream;
use tokio::time::Instant;

use super::answer_anywhere;
use crate::metrics;
use crate::server::Server;

/// Answers the heartbeat that was read and those that follow, until the edge ends the stream or is gone.
pub(super) async fn serve(server: &Server, node_id: NodeId, mut stream: Stream) {
    let mut named: Option<Vec<String>> = None;
    loop {
        let (request, began) = (ToServer::Heartbeat { node_id }, Instant::now());
        let name = metrics::edge_request(&request);
        server.inner.edges.heard(node_id);
        // In a box, since this future stays for as long as the edge does, and the box goes with the answer.
        let answer = Box::pin(answer_anywhere(server, node_id, request)).await;
        metrics::edge_answered(name, answer.is_ok(), began.elapsed());
        let frame = match answer.unwrap_or_else(FromServer::Refused) {
            FromServer::Alive { heartbeat_ttl, servers } if named.as_ref() == Some(&servers) => {
                HeartbeatAnswer::Due(heartbeat_ttl).encode()
            }
            answer => {
                if let FromServer::Alive { servers, .. } = &answer {
                    named = Some(servers.clone());
                }
                codec::encode(&answer)
            }
        };
        // An edge that is gone asks again when it is back.
        if stream.send_frame(&frame).await.is_err() {
            return;
        }
        drop(frame);
        let Ok(Some(_)) = stream.recv_frame(HEARTBEAT_BYTES_MAX).await else {
            stream.finish();
            return;
        };
    }
}
