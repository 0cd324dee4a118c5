//! What a server is told at its start, and what it tells about itself.

use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// How many servers the region begins with. Only 1 is taken.
    pub bootstrap_expect: u32,
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// More than one server was asked for.
    #[error("bootstrap_expect = {0}: a region of more than one server is not there yet, set it to 1")]
    BootstrapExpect(u32),
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
    /// The region's keys can't be made, read or kept.
    #[error("set up the region's authority")]
    Authority(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The RPC port can't be had.
    #[error("open the RPC port")]
    Bind(#[source] drover_transport::endpoint::BindError),
    /// The log can't be used.
    #[error(transparent)]
    Log(#[from] drover_raft::StartError),
    /// The region could not be formed.
    #[error("form the region")]
    Bootstrap(#[source] drover_raft::ProposeError),
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
    /// SHA-256 of the region's root, in hex.
    pub fingerprint: String,
}
