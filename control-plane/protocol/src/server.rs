//! Between servers (ALPN `server`): what one asks of another, mostly a follower of its leader.
//!
//! The asker opens a stream per request: the first frame is a [`ToPeer`], the answer a [`FromPeer`].

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::NodeId;
use serde::{Deserialize, Serialize};

use crate::edge::{FromServer, HttpHead, HttpRequest, RpcError, ToServer};

/// The longest message between servers, in bytes.
pub const SERVER_BYTES_MAX: usize = 64 << 20;

/// What a server asks of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToPeer {
    /// Commit this command (in the form of the log). For the leader.
    Propose {
        /// The command's bytes.
        #[serde(with = "serde_bytes")]
        command: Vec<u8>,
    },
    /// The index up to which a read is linearizable. For the leader.
    ReadIndex,
    /// What an edge asked of the sender, who has proved which node it is. For the leader.
    OfEdge {
        /// The node.
        node_id: NodeId,
        /// What it asks.
        request: Box<ToServer>,
    },
    /// How long ago this edge was heard here.
    EdgeHeard {
        /// The node.
        node_id: NodeId,
    },
    /// Open a stream to this edge: after [`FromPeer::Done`] the stream is the edge's.
    EdgeStream {
        /// The node.
        node_id: NodeId,
    },
    /// The region shall be formed of these servers. Each promises itself to one such set at a time.
    Form {
        /// RPC addresses by server id.
        members: BTreeMap<String, String>,
    },
    /// Take this server out of the region's log. For the leader.
    RemoveServer {
        /// Its id.
        id: String,
    },
    /// Hand leadership to that server, or to any that is fit. For the leader.
    TransferLeadership {
        /// Its id.
        to: Option<String>,
    },
    /// How well the servers are. For the leader.
    Health,
    /// The region's certificate as it is now, in PEM: who has the root's key has renewed it perhaps.
    RegionCertificate,
    /// A later certificate for that region, whose own servers have not the root's key.
    RenewRegion {
        /// The region's name, which is the sender's.
        region: String,
        /// Its certificate as it is now, in PEM.
        certificate: String,
        /// A signing request in DER, signed with the region's key: proof that the key is there.
        #[serde(with = "serde_bytes")]
        proof: Vec<u8>,
    },
    /// Put the state of a snapshot in the place of the region's: its bytes follow in frames. For the leader.
    Restore {
        /// How many bytes.
        len: u64,
    },
    /// A request of the HTTP API for the region of the server that is asked. After [`FromPeer::Http`] the body follows in frames.
    Http(Box<HttpRequest>),
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers<'a> {
    /// Servers of the same region.
    OwnRegion,
    /// Servers of any region below the same root.
    AnyRegion,
    /// Servers of the region that the request is about.
    Region(&'a str),
}

impl Callers<'_> {
    /// A server of `asking` may ask one of `asked`.
    pub fn admit(&self, asking: &str, asked: &str) -> bool {
        match self {
            Callers::OwnRegion => asking == asked,
            Callers::AnyRegion => true,
            Callers::Region(region) => asking == *region,
        }
    }
}

impl ToPeer {
    /// Who may ask this. There is no request without a row here.
    pub fn callers(&self) -> Callers<'_> {
        match self {
            ToPeer::Propose { .. }
            | ToPeer::ReadIndex
            | ToPeer::OfEdge { .. }
            | ToPeer::EdgeHeard { .. }
            | ToPeer::EdgeStream { .. }
            | ToPeer::Form { .. }
            | ToPeer::RemoveServer { .. }
            | ToPeer::TransferLeadership { .. }
            | ToPeer::Health
            | ToPeer::Restore { .. }
            | ToPeer::RegionCertificate => Callers::OwnRegion,
            ToPeer::RenewRegion { region, .. } => Callers::Region(region),
            // Whoever sent the request is judged by its token, as on the server's own HTTP address.
            ToPeer::Http(_) => Callers::AnyRegion,
        }
    }
}

/// The answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromPeer {
    /// Committed and applied.
    Proposed {
        /// Raft index.
        index: u64,
        /// The state's answer, in the form of messages.
        #[serde(with = "serde_bytes")]
        answer: Vec<u8>,
    },
    /// Wait for this index, then read.
    ReadIndex {
        /// Raft index.
        index: u64,
    },
    /// What the edge is told.
    OfEdge(FromServer),
    /// How long ago the edge was heard; none when it is not connected here.
    EdgeHeard {
        /// Since its last request.
        ago: Option<Duration>,
    },
    /// It was done.
    Done,
    /// How well the servers are.
    Health(RegionHealth),
    /// The region's certificate.
    RegionCertificate {
        /// In PEM.
        pem: String,
    },
    /// The head of the HTTP answer.
    Http(HttpHead),
    /// It was not done.
    Refused(RpcError),
}

/// How well the servers of a region are, as their leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegionHealth {
    /// Every server is well.
    pub is_healthy: bool,
    /// How many voters may be lost before the region stands still.
    pub failure_tolerance: usize,
    /// By id.
    pub servers: Vec<ServerHealth>,
}

/// How well one server is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerHealth {
    /// Its id.
    pub id: String,
    /// Its name among the members.
    pub name: String,
    /// Where it takes RPCs.
    pub address: String,
    /// What gossip says of it.
    pub status: String,
    /// Its version.
    pub version: String,
    /// It leads.
    pub is_leader: bool,
    /// It votes.
    pub is_voter: bool,
    /// It is well.
    pub is_healthy: bool,
    /// How long ago the leader heard it; none when it never did.
    pub last_contact: Option<Duration>,
    /// The term of its last entry.
    pub last_term: u64,
    /// The index of its last entry.
    pub last_index: u64,
    /// Since when it is as well as it is, in nanoseconds since 1970.
    pub stable_since: i64,
}
