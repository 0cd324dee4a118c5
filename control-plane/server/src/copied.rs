//! A data directory that was copied: two servers with one identity would both vote with it, and the region's log would go apart.
//!
//! A server keeps the address at which it takes RPCs. One that starts at another asks the old address first, before it takes
//! part in anything: whoever proves this server's own identity there runs on a copy, or on what this one is a copy of.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use drover_certs::Identity;
use drover_transport::{CloseCode, Endpoint, EndpointOptions, Protocol};

use crate::authority::write_private;
use crate::settings::StartError;

const FILE: &str = "rpc-address";
/// How long the old address has for its answer. Only a server that has moved waits for it.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Looks whether another process has this server's identity, and keeps the address. `show` gives an endpoint what this server shows
/// others; nothing for one that has no certificate yet, which nobody else can have either.
///
/// # Errors
/// One has, or the address can't be kept.
pub async fn check(
    dir: &Path,
    address: SocketAddr,
    identity: &Identity,
    show: impl Fn(&Endpoint) -> Result<(), StartError>,
) -> Result<(), StartError> {
    let path = dir.join(FILE);
    let unusable = |source| StartError::DataDir { dir: path.clone(), source };
    let before = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<SocketAddr>().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        // What it says is a hint: damaged it is written anew.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
        Err(error) => return Err(unusable(error)),
    };
    if before == Some(address) {
        return Ok(());
    }
    if let Some(before) = before
        && is_there(before, identity, show).await?
    {
        return Err(StartError::Copied { dir: dir.to_path_buf(), address: before });
    }
    write_private(&path, address.to_string().as_bytes()).map_err(unusable)
}

/// True when a server with that identity answers at the address.
async fn is_there(
    address: SocketAddr,
    identity: &Identity,
    show: impl Fn(&Endpoint) -> Result<(), StartError>,
) -> Result<bool, StartError> {
    let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let endpoint = Endpoint::bind(EndpointOptions::dial_only(SocketAddr::new(any, 0))).map_err(StartError::Bind)?;
    show(&endpoint)?;
    let answer = endpoint.dial(address, &identity.region, Protocol::Server, ANSWER_MAX).await;
    let is_there = answer.is_ok_and(|peer| peer.identity.node == identity.node);
    endpoint.shutdown(CloseCode::DONE, "asked who is here").await;
    Ok(is_there)
}
