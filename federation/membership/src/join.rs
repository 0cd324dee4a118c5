//! Joining: who was asked, who answered, and why the others did not.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The port where gossip is taken unless something else was said.
pub const GOSSIP_PORT: u16 = 4648;

/// An address that did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// Where.
    pub address: SocketAddr,
    /// Why, in one line.
    pub reason: String,
}

/// What came of a join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// How many of the addresses answered.
    pub answered: usize,
    /// Those that did not.
    pub unanswered: Vec<Unanswered>,
}

/// Nobody answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// There was nobody to ask.
    #[error("there is no address to join")]
    NoAddress,
    /// None of them answered.
    #[error("none of {} answered: {}", .0.len(), Reasons(.0))]
    NobodyAnswered(Vec<Unanswered>),
    /// This server has left or was shut down.
    #[error("this server takes part in gossip no more")]
    Stopped,
}

/// Trying to join until somebody answers.
#[derive(Debug, Clone)]
pub struct RetryJoin {
    /// Whom to ask, as `host`, `host:port`, or an address; names are looked up before every attempt.
    pub addresses: Vec<String>,
    /// The time between two attempts.
    pub interval: Duration,
    /// The most attempts; `None` for as long as it takes.
    pub attempts_max: Option<u32>,
}

/// Why trying came to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryJoinError {
    /// Nobody answered in as many attempts as were allowed.
    #[error("nobody answered in {attempts} attempts; the last: {last}")]
    GaveUp {
        /// How many.
        attempts: u32,
        /// What the last one met.
        last: String,
    },
    /// This server has left or was shut down.
    #[error("this server takes part in gossip no more")]
    Stopped,
}

/// The socket addresses behind `text`: an address, `host:port`, or a host with the usual port.
pub async fn resolve(text: &str) -> io::Result<Vec<SocketAddr>> {
    let bare = text.trim();
    if let Ok(address) = bare.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    if let Ok(ip) = bare.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(vec![SocketAddr::new(ip, GOSSIP_PORT)]);
    }
    let (host, port) = match bare.rsplit_once(':') {
        Some((host, port)) => match port.parse() {
            Ok(port) => (host, port),
            Err(_) => return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{bare:?} is no address"))),
        },
        None => (bare, GOSSIP_PORT),
    };
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

struct Reasons<'a>(&'a [Unanswered]);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, one) in self.0.iter().enumerate() {
            let separator = if nth == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", one.address, one.reason)?;
        }
        Ok(())
    }
}
