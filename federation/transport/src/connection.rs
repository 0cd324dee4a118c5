//! A connection to one machine: calls, streams in both directions, proofs of a shared secret, and its end.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use drover_certs::Secret;
use quinn::{SendDatagramError, Side};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;

use crate::addresses::AddressSeat;
use crate::clock::Clock;
use crate::close::{CloseCode, Closed, reason_bytes};
use crate::protocol::Protocol;
use crate::settings;
use crate::stream::{Stream, StreamError};

const EXPORTER_LABEL: &[u8] = b"EXPORTER-drover-proof/1";

/// The wall clock may be set while a connection lasts, so a certificate's end is looked at again at least this often.
const END_CHECK: Duration = Duration::from_secs(600);

/// A connection. Copies are the same one; when the last copy and the last stream are gone, it is closed.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    quinn: quinn::Connection,
    protocol: Protocol,
    /// Closes the connection when its time has come. Ended with the last copy, since it holds the connection itself.
    timer: AbortHandle,
    /// Free again when the connection is gone.
    _seats: Seats,
}

/// What an accepted connection takes of what is bounded: an enrolment's seat, and its address's. Held, not read.
#[derive(Default)]
pub(crate) struct Seats {
    pub(crate) _enrolment: Option<OwnedSemaphorePermit>,
    pub(crate) _address: Option<AddressSeat>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

/// When a connection ends by itself.
pub(crate) enum End {
    /// With the other side's certificate.
    Certificate { not_after: std::time::SystemTime, clock: Clock },
    /// After so long.
    After(Duration),
}

/// What a connection has carried so far, as UDP payload: handshake, acknowledgements and what was sent twice included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets sent.
    pub sent: u64,
    /// Bytes in them.
    pub sent_bytes: u64,
    /// Packets received.
    pub received: u64,
    /// Bytes in them.
    pub received_bytes: u64,
}

/// TLS gave no keying material, or the connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection gives no keying material for a proof")]
pub struct ProofError;

/// Why a datagram was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// The connection has ended.
    #[error(transparent)]
    Closed(Closed),
    /// It is larger than [`Connection::datagram_max`].
    #[error("the datagram is too large for the path")]
    TooLarge,
    /// This protocol has none.
    #[error("the other side takes no datagrams")]
    NoDatagrams,
}

impl From<SendDatagramError> for DatagramError {
    fn from(error: SendDatagramError) -> Self {
        match error {
            SendDatagramError::ConnectionLost(error) => DatagramError::Closed(error.into()),
            SendDatagramError::TooLarge => DatagramError::TooLarge,
            SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled => DatagramError::NoDatagrams,
        }
    }
}

impl Connection {
    pub(crate) fn new(quinn: quinn::Connection, protocol: Protocol, end: End, seats: Seats) -> Connection {
        let timer = tokio::spawn(close_at(quinn.clone(), end)).abort_handle();
        Connection(Arc::new(Inner { quinn, protocol, timer, _seats: seats }))
    }

    /// Whether both are copies of the same connection.
    pub fn same_as(&self, other: &Connection) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What is spoken on it.
    pub fn protocol(&self) -> Protocol {
        self.0.protocol
    }

    /// Where the other side is now. An edge's address may change while the connection lasts: no key for anything.
    pub fn remote_address(&self) -> SocketAddr {
        self.0.quinn.remote_address()
    }

    /// The present estimate of the time there and back.
    pub fn round_trip(&self) -> Duration {
        self.0.quinn.rtt()
    }

    /// What it has carried so far.
    pub fn traffic(&self) -> Traffic {
        let stats = self.0.quinn.stats();
        let (sent, received) = (stats.udp_tx, stats.udp_rx);
        Traffic {
            sent: sent.datagrams,
            sent_bytes: sent.bytes,
            received: received.datagrams,
            received_bytes: received.bytes,
        }
    }

    /// Lets an edge that was accepted open as many streams at a time as its protocol allows at all. It begins with few, which is
    /// all that an idle one needs: memory is set aside for each, used or not. To be called before those few are all in use.
    pub fn take_more_streams(&self) {
        if self.0.protocol == Protocol::Edge {
            settings::widen_for_edge(&self.0.quinn);
        }
    }

    /// One question, one answer, on a stream of their own. An answer of more than `answer_max` bytes is an error. The time that it
    /// may take is the caller's to bound; dropping the future breaks the stream off.
    pub async fn call(&self, request: &[u8], answer_max: usize) -> Result<Bytes, StreamError> {
        let mut stream = self.open_stream().await?;
        // Whoever answers without reading to the end stops the request; the answer counts all the same.
        match stream.send_frame(request).await {
            Ok(()) => stream.finish(),
            Err(StreamError::Stopped(_)) => {}
            Err(error) => return Err(error),
        }
        stream.recv_frame(answer_max).await?.ok_or(StreamError::NoAnswer)
    }

    /// Opens a stream. Waits while the other side has as many open as it allows. The other side learns of it with the first frame.
    pub async fn open_stream(&self) -> Result<Stream, Closed> {
        let (sender, receiver) = self.0.quinn.open_bi().await?;
        Ok(Stream::new(sender, receiver, self.clone()))
    }

    /// The next stream that the other side has opened. Safe to drop and call again.
    pub async fn accept_stream(&self) -> Result<Stream, Closed> {
        let (sender, receiver) = self.0.quinn.accept_bi().await?;
        Ok(Stream::new(sender, receiver, self.clone()))
    }

    /// The most bytes that a datagram to the other side may have now; `None` where it takes none. It grows once the path's size is
    /// known.
    pub fn datagram_max(&self) -> Option<usize> {
        self.0.quinn.max_datagram_size()
    }

    /// Sends a datagram, which may get lost. Never waits: where too many wait to be sent, the oldest is dropped.
    pub fn send_datagram(&self, datagram: Bytes) -> Result<(), DatagramError> {
        Ok(self.0.quinn.send_datagram(datagram)?)
    }

    /// The next datagram from the other side. Safe to drop and call again.
    pub async fn recv_datagram(&self) -> Result<Bytes, Closed> {
        Ok(self.0.quinn.read_datagram().await?)
    }

    /// Ends the connection and all its streams at once; the other side reads code and reason.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.0.quinn.close(code.into(), &reason_bytes(reason));
    }

    /// Waits for the end of the connection and says why it ended. Holding this future keeps the connection.
    pub async fn closed(&self) -> Closed {
        self.0.quinn.closed().await.into()
    }

    /// Why the connection has ended; `None` while it lasts.
    pub fn close_reason(&self) -> Option<Closed> {
        self.0.quinn.close_reason().map(Closed::from)
    }

    /// This side's proof that it knows `secret`. It counts on this connection and for this side only: it cannot be relayed or
    /// sent back.
    pub fn prove(&self, secret: &Secret) -> Result<[u8; 32], ProofError> {
        Ok(secret.mac(&self.exported(self.0.quinn.side())?))
    }

    /// Whether `proof` is the other side's proof that it knows `secret`. Takes the same time wherever they differ.
    pub fn check_proof(&self, secret: &Secret, proof: &[u8]) -> bool {
        let other = if self.0.quinn.side().is_client() { Side::Server } else { Side::Client };
        self.exported(other).is_ok_and(|exported| secret.verify_mac(&exported, proof))
    }

    /// Key material that only the two ends of this connection have, another for each direction.
    fn exported(&self, prover: Side) -> Result<[u8; 32], ProofError> {
        let context: &[u8] = if prover.is_client() { b"dialler" } else { b"listener" };
        let mut material = [0; 32];
        self.0.quinn.export_keying_material(&mut material, EXPORTER_LABEL, context).map_err(|_| ProofError)?;
        Ok(material)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({:?}, {})", self.0.protocol, self.0.quinn.remote_address())
    }
}

async fn close_at(connection: quinn::Connection, end: End) {
    match end {
        End::After(time) => {
            tokio::time::sleep(time).await;
            connection.close(CloseCode::ENROLMENT_OVER.into(), b"an enrolment takes less time than this");
        }
        End::Certificate { not_after, clock } => {
            while let Ok(left) = not_after.duration_since(clock.now()) {
                tokio::time::sleep(left.min(END_CHECK) + Duration::from_millis(1)).await;
            }
            connection.close(CloseCode::CERTIFICATE_ENDED.into(), b"the other side's certificate has ended");
        }
    }
}

#[cfg(test)]
mod tests;
