//! The renewal of a region's certificate by a server of another region: a region that was founded by a token has not the root's key,
//! which its certificate is renewed with.
//!
//! Its leader asks the servers of other regions, one of which has that key. It shows the certificate that the region has, and proves
//! that the region's key is here: whoever has stolen no more than a machine's certificate gets nothing.

use std::time::{Duration, SystemTime};

use drover_certs::authority::AuthorityError;
use drover_certs::{Authority, Lifetimes, RegionName};
use drover_protocol::codec;
use drover_protocol::edge::RpcError;
use drover_protocol::server::{FromPeer, ToPeer};

use crate::links::number_of_text;
use crate::server::Server;
use crate::{chance, region_forward};

/// Servers of all other regions that are asked at a time.
const ASKED_MAX: usize = 32;
/// How long it may take until a stream to one of them is open.
const OPEN_TIME_MAX: Duration = Duration::from_secs(3);
/// The longest time for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Asks the other regions' servers for a later certificate, in PEM.
///
/// # Errors
/// None of them has one to give, and why not.
pub(crate) async fn ask(server: &Server, authority: &Authority) -> Result<String, String> {
    let own = authority.region().to_string();
    let request = codec::encode(&ToPeer::RenewRegion {
        region: own.clone(),
        certificate: authority.to_pem().intermediate,
        proof: authority.prove_key().map_err(|e| e.to_string())?,
    });
    let directory = server.inner.membership.directory();
    let regions = directory.regions();
    let mut last = "the root's key is not here, and no server of another region is known that may have it".to_owned();
    let others = regions.iter().filter(|region| **region != own).flat_map(|region| directory.of_region(region));
    let mut others: Vec<_> = others.filter(|member| member.status.is_live()).collect();
    if !others.is_empty() {
        // Others first each time: the one that has the root's key may stand behind all that are asked.
        let first = (chance::seed() % others.len() as u64) as usize;
        others.rotate_left(first);
    }
    for member in others.into_iter().take(ASKED_MAX) {
        let Some(number) = number_of_text(&member.id) else { continue };
        let name = member.full_name();
        let asked = async {
            let links = server.links_to(&member.region, &regions)?;
            let opened = links.open(number, &member.rpc.to_string(), OPEN_TIME_MAX).await;
            let mut stream = opened.map_err(|error| error.to_string())?;
            region_forward::ask(&mut stream, &request).await
        };
        match tokio::time::timeout(ANSWER_TIME_MAX, asked).await {
            Ok(Ok(FromPeer::RegionCertificate { pem })) => return Ok(pem),
            Ok(Ok(FromPeer::Refused(error))) => last = format!("{name}: {error}"),
            Ok(Ok(_)) => last = format!("{name} answered another question"),
            Ok(Err(error)) => last = format!("{name}: {error}"),
            Err(_) => last = format!("{name} gave no answer in time"),
        }
    }
    Err(last)
}

impl Server {
    /// Renews the certificate of a region below this one's root for a server of that region.
    pub(crate) fn renew_other_region(
        &self,
        region: &str,
        certificate: &str,
        proof: &[u8],
    ) -> Result<FromPeer, RpcError> {
        let unavailable = |message: &str| RpcError::Unavailable { message: message.to_owned() };
        let invalid = |error: &dyn std::fmt::Display| RpcError::Invalid { message: error.to_string() };
        let name: RegionName = region.parse().map_err(|error| invalid(&error))?;
        let authority = self.authority().ok_or_else(|| unavailable("no certificate yet"))?;
        let now = authority.floored(SystemTime::now());
        match authority.renew_other(&name, certificate, proof, now, &Lifetimes::default()) {
            Ok(pem) => {
                tracing::info!(region, "the certificate of another region was renewed");
                Ok(FromPeer::RegionCertificate { pem })
            }
            Err(AuthorityError::NoRootKey) => Err(unavailable("the root's key is not here")),
            Err(error) => {
                tracing::warn!(region, %error, "the certificate of another region was not renewed");
                Err(invalid(&error))
            }
        }
    }
}
