//! A server as the others see it.

use std::fmt;
use std::net::SocketAddr;

/// The longest name, id or HTTP address of a member, in bytes.
pub const NAME_MAX: usize = 128;
/// The longest region, datacenter or version of a member, in bytes.
pub const LABEL_MAX: usize = 63;
/// The highest incarnation: what is beyond is no wall clock and leaves no room to grow.
pub const INCARNATION_MAX: u64 = 1 << 62;

/// How a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberStatus {
    /// It answers.
    Alive,
    /// It answers and has said that it is about to go.
    Leaving,
    /// It said that it was going, or was declared gone by somebody, and is gone.
    Left,
    /// It answers nobody and has not said goodbye.
    Failed,
}

impl MemberStatus {
    /// As clients of the API read it.
    pub fn as_str(self) -> &'static str {
        match self {
            MemberStatus::Alive => "alive",
            MemberStatus::Leaving => "leaving",
            MemberStatus::Left => "left",
            MemberStatus::Failed => "failed",
        }
    }

    /// Whether it answers: it can be sent a request.
    pub fn is_live(self) -> bool {
        matches!(self, MemberStatus::Alive | MemberStatus::Leaving)
    }
}

impl fmt::Display for MemberStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One server, as it describes itself. All of it is hearsay but for what a handshake proves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The server's own name, without its region. Together with the region it is unique.
    pub name: String,
    /// The region it serves.
    pub region: String,
    /// Its datacenter.
    pub datacenter: String,
    /// The id in its certificate: a UUID that lives as long as its data directory.
    pub id: String,
    /// Where it takes gossip.
    pub gossip: SocketAddr,
    /// Where it takes RPC.
    pub rpc: SocketAddr,
    /// Where its HTTP API is, as a URL or `host:port`; empty where it has none.
    pub http: String,
    /// The version of its program.
    pub version: String,
    /// How many servers it waits for before it forms a region; 0 where it never does.
    pub bootstrap_expect: u32,
    /// Whether its region exists already: it has a log with members.
    pub is_bootstrapped: bool,
    /// Whether it leads its region, as it believes. A hint for the first place to ask.
    pub is_leader: bool,
    /// Grows with every change of what it says of itself and with every return. Start with the wall clock in milliseconds, so that
    /// a restart is newer than what the others remember.
    pub incarnation: u64,
    /// How it is. Ignored in what a server says of itself.
    pub status: MemberStatus,
}

/// Why something is no member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// A text is empty, too long, or has characters that nobody should print.
    #[error("a member's {field} has 1 to {max} printable characters, not {text:?}")]
    Text {
        /// Which.
        field: &'static str,
        /// What it is, shortened.
        text: String,
        /// The most bytes.
        max: usize,
    },
    /// The region is no DNS label.
    #[error("a region is named by one lower-case DNS label, not {0:?}")]
    Region(String),
    /// An address that nobody can reach.
    #[error("a member's {field} address is reachable, which {address} is not")]
    Address {
        /// Which.
        field: &'static str,
        /// What it is.
        address: SocketAddr,
    },
    /// The incarnation is beyond all clocks.
    #[error("incarnation {0} is too high")]
    Incarnation(u64),
}

impl Member {
    /// Whether this can be a member at all: texts within their bounds, addresses that can be dialled.
    pub fn check(&self) -> Result<(), MemberError> {
        check_text("name", &self.name, 1, NAME_MAX)?;
        check_text("id", &self.id, 1, NAME_MAX)?;
        check_text("datacenter", &self.datacenter, 1, LABEL_MAX)?;
        check_text("version", &self.version, 0, LABEL_MAX)?;
        check_text("HTTP address", &self.http, 0, NAME_MAX)?;
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let region = &self.region;
        let dashed = region.starts_with('-') || region.ends_with('-');
        if region.is_empty() || region.len() > LABEL_MAX || dashed || !region.bytes().all(fits) {
            return Err(MemberError::Region(shortened(region)));
        }
        for (field, address) in [("gossip", self.gossip), ("RPC", self.rpc)] {
            if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
                return Err(MemberError::Address { field, address });
            }
        }
        if self.incarnation > INCARNATION_MAX {
            return Err(MemberError::Incarnation(self.incarnation));
        }
        Ok(())
    }

    /// The name that is unique in a federation, and that people see: `name.region`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.name, self.region)
    }
}

fn check_text(field: &'static str, text: &str, min: usize, max: usize) -> Result<(), MemberError> {
    let printable = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if (min..=max).contains(&text.len()) && printable {
        return Ok(());
    }
    Err(MemberError::Text { field, text: shortened(text), max })
}

fn shortened(text: &str) -> String {
    text.chars().take(NAME_MAX).collect()
}
