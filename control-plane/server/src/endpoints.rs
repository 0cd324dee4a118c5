//! The two ports of a server: for RPC, and for gossip.

use std::time::Duration;

use drover_transport::{Endpoint, EndpointOptions, Protocol};

use crate::settings::{Settings, StartError};

/// Bounds on RPC connections; each is off when none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RpcLimits {
    /// The longest handshake.
    pub handshake_time_max: Option<Duration>,
    /// The most connections of edges and joiners from one address. Servers among themselves are not counted.
    pub connections_per_client_max: Option<usize>,
}

/// Opens both.
pub(crate) fn bind(settings: &Settings) -> Result<(Endpoint, Endpoint), StartError> {
    let rpc = bounded(EndpointOptions::listen(settings.rpc_bind), settings.rpc_limits);
    let gossip = EndpointOptions::gossip(settings.gossip_bind);
    let gossip = EndpointOptions { accepts: vec![Protocol::Gossip, Protocol::Enrol], ..gossip };
    let rpc = Endpoint::bind(rpc).map_err(StartError::Bind)?;
    let gossip = Endpoint::bind(bounded(gossip, settings.rpc_limits)).map_err(StartError::BindGossip)?;
    Ok((rpc, gossip))
}

fn bounded(options: EndpointOptions, limits: RpcLimits) -> EndpointOptions {
    EndpointOptions {
        handshake_time_max: limits.handshake_time_max,
        connections_per_address_max: limits.connections_per_client_max,
        ..options
    }
}
