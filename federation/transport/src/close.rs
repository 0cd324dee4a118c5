//! Why connections end: the codes that one side gives and the reason that the other side reads.

use std::fmt;

use quinn::{ConnectionError, VarInt};

/// The longest reason that is sent or kept, in characters.
const REASON_MAX: usize = 256;

/// The number given when a connection is closed or a stream is broken off. Callers use numbers from 256 on for their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u32);

impl CloseCode {
    /// Nothing is wrong; nobody needs the connection or stream any more.
    pub const DONE: CloseCode = CloseCode(0);
    /// The protocol takes callers with a certificate only.
    pub const NO_CERTIFICATE: CloseCode = CloseCode(1);
    /// The certificate has ended, before the connection was made or during it.
    pub const CERTIFICATE_ENDED: CloseCode = CloseCode(2);
    /// The certificate names nobody.
    pub const CERTIFICATE_REFUSED: CloseCode = CloseCode(3);
    /// The caller belongs to another region.
    pub const WRONG_REGION: CloseCode = CloseCode(4);
    /// The caller has a role that may not speak this protocol.
    pub const WRONG_ROLE: CloseCode = CloseCode(5);
    /// There are too many of these already; come back later.
    pub const BUSY: CloseCode = CloseCode(6);
    /// An enrolment took too long.
    pub const ENROLMENT_OVER: CloseCode = CloseCode(7);
    /// The endpoint is going away.
    pub const SHUTDOWN: CloseCode = CloseCode(8);
    /// A frame was larger than its reader allows.
    pub const FRAME_TOO_LARGE: CloseCode = CloseCode(9);
    /// The handshake took too long.
    pub const TOO_SLOW: CloseCode = CloseCode(10);
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({self})")
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            CloseCode::DONE => f.write_str("done"),
            CloseCode::NO_CERTIFICATE => f.write_str("no certificate"),
            CloseCode::CERTIFICATE_ENDED => f.write_str("certificate ended"),
            CloseCode::CERTIFICATE_REFUSED => f.write_str("certificate refused"),
            CloseCode::WRONG_REGION => f.write_str("wrong region"),
            CloseCode::WRONG_ROLE => f.write_str("wrong role"),
            CloseCode::BUSY => f.write_str("busy"),
            CloseCode::ENROLMENT_OVER => f.write_str("enrolment took too long"),
            CloseCode::SHUTDOWN => f.write_str("shutting down"),
            CloseCode::FRAME_TOO_LARGE => f.write_str("frame too large"),
            CloseCode::TOO_SLOW => f.write_str("too slow"),
            CloseCode(number) => write!(f, "code {number}"),
        }
    }
}

impl From<CloseCode> for VarInt {
    fn from(code: CloseCode) -> Self {
        VarInt::from_u32(code.0)
    }
}

impl From<VarInt> for CloseCode {
    fn from(code: VarInt) -> Self {
        CloseCode(u32::try_from(code.into_inner()).unwrap_or(u32::MAX))
    }
}

/// Why a connection is no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The other side closed it.
    #[error("closed by the other side: {code}{}{reason}", separator(reason))]
    ByPeer {
        /// Its number.
        code: CloseCode,
        /// Its words.
        reason: String,
    },
    /// This side closed it.
    #[error("closed by this side")]
    Here,
    /// One side did not accept what the other showed in the handshake.
    #[error("the handshake failed: {0}")]
    Handshake(String),
    /// Nothing was heard for the idle timeout.
    #[error("nothing heard from the other side")]
    TimedOut,
    /// The other side does not know the connection: it was restarted.
    #[error("the other side has forgotten the connection")]
    Reset,
    /// Something else in the transport.
    #[error("the connection failed: {0}")]
    Failed(String),
}

impl From<ConnectionError> for Closed {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Closed::ByPeer {
                code: CloseCode::from(close.error_code),
                reason: readable(&String::from_utf8_lossy(&close.reason)),
            },
            ConnectionError::ConnectionClosed(close) if is_handshake(u64::from(close.error_code)) => {
                let said = readable(&String::from_utf8_lossy(&close.reason));
                Closed::Handshake(format!("the other side says: {}{}{said}", close.error_code, separator(&said)))
            }
            ConnectionError::TransportError(error) if is_handshake(u64::from(error.code)) => {
                Closed::Handshake(readable(own_words(&error.reason)))
            }
            ConnectionError::TimedOut => Closed::TimedOut,
            ConnectionError::Reset => Closed::Reset,
            ConnectionError::LocallyClosed => Closed::Here,
            other => Closed::Failed(readable(&other.to_string())),
        }
    }
}

fn separator(text: &str) -> &'static str {
    if text.is_empty() { "" } else { ": " }
}

/// QUIC reports TLS alerts as codes 0x100 to 0x1ff.
fn is_handshake(code: u64) -> bool {
    (0x100..0x200).contains(&code)
}

/// What this crate itself has to say of a certificate, without what the TLS library puts around it.
fn own_words(reason: &str) -> &str {
    let inside = reason.strip_prefix("invalid peer certificate: Other(OtherError(");
    inside.and_then(|inside| inside.strip_suffix("))")).unwrap_or(reason)
}

/// Text from the other side, fit for a log: bounded and without control characters.
fn readable(text: &str) -> String {
    text.chars().take(REASON_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A reason as it is sent: bounded.
pub(crate) fn reason_bytes(reason: &str) -> Vec<u8> {
    reason.chars().take(REASON_MAX).collect::<String>().into_bytes()
}
