//! An edge's heartbeats: when they go, and the one stream on which they follow each other.
//!
//! On an idle connection they are all that is sent, and often enough that nothing else need keep it alive. One costs three
//! packets: itself, its answer, which acknowledges it, and the acknowledgement of that.

use std::time::Duration;

use anyhow::{Context, Result};
use drover_model::NodeId;
use drover_protocol::codec;
use drover_protocol::edge::{REQUEST_BYTES_MAX, ToServer};
use drover_protocol::heartbeat::HeartbeatAnswer;
use drover_transport::{Connection, Stream, StreamError};

/// The shortest time between two heartbeats, whatever a server says.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// The time until the next heartbeat is due where this one could not be taken.
pub const SOON: Duration = Duration::from_secs(1);

/// How long to wait, where the next heartbeat is due after `ttl`.
///
/// A lost packet is sent again by QUIC itself, within a second. What is left for the rest of `ttl`, and for the ten seconds of grace that
/// servers give, is a connection that leads nowhere: it is given up when a heartbeat has no answer after eight seconds, and another
/// one is registered on before the node counts as missing.
pub fn wait(ttl: Duration) -> Duration {
    (ttl * 2 / 3).max(WAIT_MIN)
}

/// The heartbeats of one connection.
pub struct Heartbeats {
    node_id: NodeId,
    stream: Option<Stream>,
}

impl Heartbeats {
    /// Of that node; none was sent yet.
    pub fn new(node_id: NodeId) -> Heartbeats {
        Heartbeats { node_id, stream: None }
    }

    /// Sends one and waits for the answer. The time that it may take is the caller's to bound; one that was given up is the last.
    ///
    /// # Errors
    /// The connection has ended, or the server speaks another language.
    pub async fn beat(&mut self, connection: &Connection) -> Result<HeartbeatAnswer> {
        if let Some(mut stream) = self.stream.take()
            && let Some(answer) = next(&mut stream).await?
        {
            self.stream = Some(stream);
            return Ok(answer);
        }
        // The first one, or the server has ended the stream.
        let mut stream = connection.open_stream().await?;
        stream.send_frame(&codec::encode(&ToServer::Heartbeat { node_id: self.node_id })).await?;
        let frame = stream.recv_frame(REQUEST_BYTES_MAX).await?.context("the server gave no answer")?;
        self.stream = Some(stream);
        Ok(HeartbeatAnswer::Told(codec::decode(&frame)?))
    }
}

/// One more on the stream; nothing when the server takes no more on this one.
async fn next(stream: &mut Stream) -> Result<Option<HeartbeatAnswer>> {
    match stream.send_frame(&[]).await {
        Err(StreamError::Stopped(_)) => return Ok(None),
        sent => sent?,
    }
    match stream.recv_frame(REQUEST_BYTES_MAX).await? {
        Some(frame) => Ok(Some(HeartbeatAnswer::decode(&frame)?)),
        None => Ok(None),
    }
}
