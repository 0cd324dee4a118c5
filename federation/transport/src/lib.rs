//! QUIC with mutual TLS between the machines of a federation: one UDP port for RPC and one for gossip, one protocol per ALPN, framed
//! streams, and datagrams for gossip.
//!
//! An [`Endpoint`] dials and accepts. A handler gets a [`Peer`], whose identity has been proved, or on the enrolment protocol a
//! [`Candidate`], who has none yet; one function makes either of them after the handshake (see [`peer`]). Over the [`Connection`]
//! either side opens streams of length-prefixed frames. What the frames mean is not known here.
//!
//! Only this crate names quinn.

pub mod clock;
pub mod close;
pub mod connection;
pub mod endpoint;
pub mod peer;
pub mod protocol;
pub mod stream;

mod accept;
mod addresses;
#[cfg(test)]
mod fixture;
mod introduction;
mod settings;
mod short_ids;
mod tls;
mod trust;
mod verify;

pub use clock::Clock;
pub use close::{CloseCode, Closed};
pub use connection::{Connection, DatagramError, Traffic};
pub use endpoint::{DialError, Endpoint, EndpointOptions};
pub use peer::{Accepted, Candidate, Enrolment, Peer, Presented};
pub use protocol::Protocol;
pub use stream::{FrameReceiver, FrameSender, Stream, StreamError};
pub use trust::TrustError;
