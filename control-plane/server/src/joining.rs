//! How a server gets the region's keys from another: as a fellow on its host, or with a join token.
//!
//! The other side has to show the root that is expected before anything is sent that is worth stealing, and the keys come on
//! that same connection: sealed by TLS, proved in both directions, never a second time.

use std::net::SocketAddr;
use std::time::Duration;

use drover_certs::{Authority, AuthorityPem, Fingerprint, JoinToken, KeyPair, RegionName, Role, Secret};
use drover_protocol::codec;
use drover_protocol::enrol::{ENROL_BYTES_MAX, EnrolAnswer, EnrolRequest, Proof};
use drover_protocol::host_file::HostFile;
use drover_transport::{CloseCode, Endpoint, Enrolment};

use crate::ended;

/// The longest time until the other side has shown who it is.
const DIAL_TIME_MAX: Duration = Duration::from_secs(5);
/// The longest time for the answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

/// Who asks.
pub struct Joiner<'a> {
    /// What to dial from.
    pub endpoint: &'a Endpoint,
    /// Its region.
    pub region: &'a RegionName,
    /// Its id.
    pub id: &'a str,
    /// Its datacenter.
    pub datacenter: &'a str,
    /// The region's keys that it has, whose certificate has ended.
    pub ended: Option<&'a Authority>,
}

/// Why there are no keys. The text is for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JoiningError(String);

fn because(error: impl std::fmt::Display) -> JoiningError {
    JoiningError(error.to_string())
}

impl Joiner<'_> {
    /// Proves that it can read the file of a server on this host, and has that server prove the same.
    pub async fn by_host_file(&self, file: &HostFile) -> Result<Authority, JoiningError> {
        let address: SocketAddr = file.rpc.parse().map_err(because)?;
        let fingerprint: Fingerprint = file.fingerprint.parse().map_err(because)?;
        let secret: Secret = file.secret.parse().map_err(because)?;
        let enrolment =
            self.endpoint.enrol(address, self.region, &fingerprint, DIAL_TIME_MAX).await.map_err(because)?;
        let mac = enrolment.connection.prove(&secret).map_err(because)?;
        let (authority, proof) = self.ask(&enrolment, &fingerprint, Proof::HostFile { mac }).await?;
        if !proof.is_some_and(|mac| enrolment.connection.check_proof(&secret, &mac)) {
            return Err(JoiningError(format!("the server at {address} does not know the secret in its own file")));
        }
        enrolment.connection.close(CloseCode::DONE, "");
        Ok(authority)
    }

    /// Spends a use of the join token.
    pub async fn by_token(&self, address: SocketAddr, token: &JoinToken) -> Result<Authority, JoiningError> {
        let fingerprint = token.fingerprint;
        // A region's first server is admitted by those of another.
        let at = token.at.as_ref().unwrap_or(self.region);
        let enrolment = self.endpoint.enrol(address, at, &fingerprint, DIAL_TIME_MAX).await.map_err(because)?;
        let proof = Proof::Token { secret: token.secret.reveal() };
        let (authority, _) = self.ask(&enrolment, &fingerprint, proof).await?;
        enrolment.connection.close(CloseCode::DONE, "");
        Ok(authority)
    }

    async fn ask(
        &self,
        enrolment: &Enrolment,
        fingerprint: &Fingerprint,
        proof: Proof,
    ) -> Result<(Authority, Option<[u8; 32]>), JoiningError> {
        // The certificate is not kept: with the region's keys it issues its own.
        let csr = KeyPair::generate().and_then(|key| key.signing_request()).map_err(because)?;
        let request = EnrolRequest {
            csr,
            node: self.id.to_owned(),
            role: Role::Server.as_str().to_owned(),
            node_pool: String::new(),
            datacenter: self.datacenter.to_owned(),
            region: self.region.to_string(),
            proof,
            held: self.ended.map(ended::held).transpose().map_err(because)?,
        };
        let request = codec::encode(&request);
        let asked = tokio::time::timeout(ANSWER_TIME_MAX, enrolment.connection.call(&request, ENROL_BYTES_MAX));
        let answer = asked.await.map_err(because)?.map_err(because)?;
        let no_keys = || JoiningError("no keys were given".to_owned());
        let (authority, mac) = match (codec::decode::<EnrolAnswer>(&answer).map_err(because)?, self.ended) {
            (EnrolAnswer::Issued { keys: Some(keys), mac, .. }, Some(ended)) => {
                (ended::renewed(ended, keys.region).map_err(because)?, mac)
            }
            (EnrolAnswer::Issued { keys: Some(keys), mac, .. }, None) => {
                let texts = AuthorityPem { root: keys.root, root_key: None, intermediate: keys.region, key: keys.key };
                (Authority::from_pem(&texts).map_err(because)?, mac)
            }
            (EnrolAnswer::RegionRenewed { certificate }, Some(ended)) => {
                (ended::renewed(ended, certificate).map_err(because)?, None)
            }
            (EnrolAnswer::Refused { reason }, _) => return Err(JoiningError(format!("the server refuses: {reason}"))),
            (EnrolAnswer::Issued { keys: None, .. } | EnrolAnswer::RegionRenewed { .. }, _) => return Err(no_keys()),
        };
        if authority.fingerprint() != *fingerprint || authority.region() != self.region {
            return Err(JoiningError(format!("the keys that were given are of {authority:?}")));
        }
        Ok((authority, mac))
    }
}
