//! The way to the other servers: streams of frames, given by whoever owns the network.
//!
//! One call of raft is one stream. Its first frame says what it is; the rest is this crate's own (`wire.rs`). The
//! implementor proves who is at the other end, keeps order inside a stream and never gives half a frame.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// The longest frame. A longer one is neither sent nor taken: the implementor closes the stream with
/// [`PeerError::TooLong`] before it makes room for it.
pub const FRAME_BYTES_MAX: usize = crate::node::COMMAND_BYTES_MAX + (1 << 20);

/// Another server of the region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number in the region. The implementor makes sure that this server, and no other, is at the end of the stream.
    pub number: u64,
    /// Where it took RPCs when it joined. The implementor may know a newer address.
    pub address: String,
}

/// Why a stream could not be opened or went no further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Nobody is reached there, or somebody else is.
    #[error("server {number} is not reached: {reason}")]
    Unreachable {
        /// Who was called.
        number: u64,
        /// Why.
        reason: String,
    },
    /// The stream ended before its time.
    #[error("stream was closed: {reason}")]
    Closed {
        /// Why.
        reason: String,
    },
    /// A frame over the limit.
    #[error("frame of {len} bytes is over the limit of {FRAME_BYTES_MAX}")]
    TooLong {
        /// Its length.
        len: usize,
    },
}

/// Both halves of a stream.
pub type Link = (Box<dyn FrameSender>, Box<dyn FrameReceiver>);

/// Opens streams to other servers.
pub trait Peers: Send + Sync + 'static {
    /// Opens a stream to a server; gives up after `deadline`.
    fn open(&self, peer: Peer, deadline: Duration) -> BoxFuture<'static, Result<Link, PeerError>>;
}

/// The half that sends. Dropping it without [`Self::finish`] resets the stream.
pub trait FrameSender: Send {
    /// Sends a frame; waits while the other side takes none.
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), PeerError>>;

    /// Says that no frame follows.
    fn finish(&mut self) -> BoxFuture<'_, Result<(), PeerError>>;
}

/// The half that receives. Dropping it tells the other side to stop.
pub trait FrameReceiver: Send {
    /// The next frame, or nothing once the other side has finished. Must be safe to drop while it waits.
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>>;
}

/// The peers of a region of one server: there is nobody to call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Peers for Alone {
    fn open(&self, peer: Peer, _deadline: Duration) -> BoxFuture<'static, Result<Link, PeerError>> {
        let reason = "this region has one server".to_owned();
        Box::pin(async move { Err(PeerError::Unreachable { number: peer.number, reason }) })
    }
}
