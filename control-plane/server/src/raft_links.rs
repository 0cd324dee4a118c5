//! Raft's way to the other servers: its streams over the transport's protocol `raft`.

use std::time::Duration;

use bytes::Bytes;
use drover_raft::peers::{FRAME_BYTES_MAX, FrameReceiver, FrameSender, Link, Peer, PeerError, Peers};
use drover_transport::{CloseCode, Stream, StreamError};
use futures_util::future::BoxFuture;

use crate::links::Links;

/// Given to raft at its start.
pub struct RaftLinks(pub Links);

impl Peers for RaftLinks {
    fn open(&self, peer: Peer, deadline: Duration) -> BoxFuture<'static, Result<Link, PeerError>> {
        let links = self.0.clone();
        Box::pin(async move {
            match links.open(peer.number, &peer.address, deadline).await {
                Ok(stream) => Ok(halves(stream)),
                Err(error) => Err(PeerError::Unreachable { number: peer.number, reason: error.to_string() }),
            }
        })
    }
}

/// A stream as raft takes it.
pub fn halves(stream: Stream) -> Link {
    let (sender, receiver) = stream.split();
    (Box::new(Sender { sender, is_finished: false }), Box::new(Receiver(receiver)))
}

struct Sender {
    sender: drover_transport::FrameSender,
    is_finished: bool,
}

struct Receiver(drover_transport::FrameReceiver);

fn closed(error: StreamError) -> PeerError {
    match error {
        StreamError::TooLarge { len, .. } => PeerError::TooLong { len },
        other => PeerError::Closed { reason: other.to_string() },
    }
}

impl FrameSender for Sender {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), PeerError>> {
        Box::pin(async move {
            if frame.len() > FRAME_BYTES_MAX {
                return Err(PeerError::TooLong { len: frame.len() });
            }
            self.sender.send_frame(&frame).await.map_err(closed)
        })
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<(), PeerError>> {
        Box::pin(async move {
            self.is_finished = true;
            self.sender.finish();
            Ok(())
        })
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // The transport would finish it: half a message must not look like a whole one.
        if !self.is_finished {
            self.sender.reset(CloseCode::DONE);
        }
    }
}

impl FrameReceiver for Receiver {
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>> {
        Box::pin(async move { self.0.recv_frame(FRAME_BYTES_MAX).await.map_err(closed) })
    }
}
