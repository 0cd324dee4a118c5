//! What a server is told at its start, and what it tells about itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use drover_raft::{LogLength, Pace};
use drover_state::autopilot::AutopilotConfig;

use crate::kept_snapshots::KeptSnapshots;

/// What a server is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name; members are listed as `<name>.<region>`.
    pub name: String,
    /// Its region: one lower-case DNS label.
    pub region: String,
    /// Its datacenter.
    pub datacenter: String,
    /// Where its log and keys are; it is made when it is not there.
    pub data_dir: PathBuf,
    /// Where it takes RPCs (UDP). Port 0 takes a free one.
    pub rpc_bind: SocketAddr,
    /// Where others reach it; the bound address when none.
    pub rpc_advertise: Option<SocketAddr>,
    /// Where its HTTP API answers, for those on the same host.
    pub http_advertise: String,
    /// How many servers the region begins with; 0 waits to be taken into one that exists.
    pub bootstrap_expect: u32,
    /// Where it takes gossip (UDP). Port 0 takes a free one.
    pub gossip_bind: SocketAddr,
    /// Where others reach its gossip; the bound address when none.
    pub gossip_advertise: Option<SocketAddr>,
    /// A key that all servers must know to take part in gossip, on top of their certificates: [`crate::gossip_key`].
    pub gossip_key: Option<drover_certs::Secret>,
    /// How it finds other servers.
    pub join: JoinSettings,
    /// A join token, for the first start on a host where no server of the region runs.
    pub join_token: Option<String>,
    /// Certificates of the operator's own for RPC, in place of the region's automatic authority.
    pub own_tls: Option<crate::own_tls::OwnTls>,
    /// Bounds on RPC connections.
    pub rpc_limits: crate::endpoints::RpcLimits,
    /// No other server is given the region's keys: for `agent -dev`, whose region ends with its process.
    pub stays_alone: bool,
    /// The rules for looking after servers, until somebody sets others.
    pub autopilot: AutopilotConfig,
    /// The snapshots that the server keeps by itself.
    pub kept_snapshots: KeptSnapshots,
    /// How many log entries the event stream keeps for those who come late; none for no event stream.
    pub event_buffer: Option<usize>,
    /// How long the region's log gets.
    pub raft_log: LogLength,
    /// How often it is looked whether the log needs a snapshot; with each entry when none.
    pub raft_snapshot_interval: Option<Duration>,
    /// How fast the region's servers miss each other; the same on all of them.
    pub raft_pace: Pace,
    /// The version of the program.
    pub version: String,
}

/// How many log entries the event stream keeps when nothing else is said.
pub const EVENT_BUFFER_DEFAULT: usize = 100;

/// How a server finds others.
#[derive(Clone, Debug)]
pub struct JoinSettings {
    /// Gossip addresses that are tried once.
    pub once: Vec<String>,
    /// Gossip addresses that are tried until one answers.
    pub retry: Vec<String>,
    /// The time between two attempts.
    pub interval: Duration,
    /// How often; none for as long as it takes.
    pub attempts_max: Option<u32>,
}

impl Default for JoinSettings {
    fn default() -> Self {
        Self { once: Vec::new(), retry: Vec::new(), interval: Duration::from_secs(30), attempts_max: None }
    }
}

impl Settings {
    /// The settings of a server that forms a region alone, on free ports of this host.
    pub fn alone(name: &str, data_dir: PathBuf) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            name: name.to_owned(),
            region: "global".to_owned(),
            datacenter: "dc1".to_owned(),
            data_dir,
            rpc_bind: any,
            rpc_advertise: None,
            http_advertise: String::new(),
            bootstrap_expect: 1,
            gossip_bind: any,
            gossip_advertise: None,
            gossip_key: None,
            join: JoinSettings::default(),
            join_token: None,
            own_tls: None,
            rpc_limits: crate::endpoints::RpcLimits::default(),
            stays_alone: false,
            autopilot: AutopilotConfig::default(),
            event_buffer: Some(EVENT_BUFFER_DEFAULT),
            kept_snapshots: KeptSnapshots::default(),
            raft_log: LogLength::default(),
            raft_snapshot_interval: None,
            raft_pace: Pace::default(),
            version: String::new(),
        }
    }
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The region's name is none.
    #[error("region {name:?} can't be used")]
    Region {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The data directory can't be used.
    #[error("use data directory {}", dir.display())]
    DataDir {
        /// Where.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has this server's identity.
    #[error(
        "{} is a copy of another server's: that one is at {address}. Stop one of the two, or remove this directory and join as a new server",
        dir.display()
    )]
    Copied {
        /// This server's directory.
        dir: PathBuf,
        /// Where the other one answers.
        address: std::net::SocketAddr,
    },
    /// The region's keys can't be made, read or kept.
    #[error("set up the region's authority from server/tls (root.pem, region.pem)")]
    Authority(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The region's certificate has ended, and nothing here renews it.
    #[error(
        "the certificate of region {region} ended at {end}, and the root's key, which renews it, is not here: run `drover server join-token \
         create -region {region}` on the server that made the authority (its data_dir has server/tls/root-key.pem), name that server in \
         server_join {{ retry_join }} and give the token to this one in DROVER_JOIN_TOKEN or server {{ join_token_file }}; the region's other \
         servers then take a token from this one. If that server is gone for good, move server/tls away: the region gets a new \
         authority, and its machines join anew. Where it has not ended, set this machine's clock"
    )]
    RegionEnded {
        /// The region.
        region: String,
        /// When, as text.
        end: String,
    },
    /// The RPC port can't be had.
    #[error("open the RPC port")]
    Bind(#[source] drover_transport::endpoint::BindError),
    /// The gossip port can't be had.
    #[error("open the gossip port")]
    BindGossip(#[source] drover_transport::endpoint::BindError),
    /// What this server says of itself in gossip does not fit.
    #[error("take part in gossip")]
    Gossip(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The join token is none, or for something else.
    #[error("use the join token")]
    JoinToken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Certificates of the operator's own can't be used.
    #[error("use the certificates in tls")]
    OwnTls(#[from] Box<crate::own_tls::OwnTlsError>),
    /// The log can't be used.
    #[error(transparent)]
    Log(#[from] drover_raft::StartError),
    /// The region could not be formed.
    #[error("form the region")]
    Bootstrap(#[source] drover_raft::MemberError),
    /// The state was not there again in time.
    #[error("recover the state from the log")]
    Recover(#[source] drover_raft::ProposeError),
    /// The operating system gives no randomness.
    #[error("take randomness")]
    Randomness,
}

/// What a server tells about itself.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its datacenter.
    pub datacenter: String,
    /// Its id as text.
    pub id: String,
    /// Where it takes RPCs.
    pub rpc_advertise: SocketAddr,
    /// Where its HTTP API answers.
    pub http_advertise: String,
    /// How many servers the region began with.
    pub bootstrap_expect: u32,
    /// Where it takes gossip.
    pub gossip_advertise: SocketAddr,
    /// The version of the program.
    pub version: String,
    /// It takes no other server in.
    pub stays_alone: bool,
}
