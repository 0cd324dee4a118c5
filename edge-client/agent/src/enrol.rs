//! Getting a certificate: as a neighbour of a server on this host, with a join token, or with the one that ends soon.
//!
//! The server has to show the root that is expected before anything is sent that is worth stealing.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use drover_certs::{Anchors, Credentials, Fingerprint, JoinToken, KeyPair, Leaf, RegionName, Role, Secret};
use drover_model::NodeId;
use drover_protocol::codec;
use drover_protocol::enrol::{ENROL_BYTES_MAX, EnrolAnswer, EnrolRequest, Proof};
use drover_protocol::host_file::HostFile;
use drover_transport::{CloseCode, Endpoint, Enrolment};

use crate::config::EdgeConfig;
use crate::credentials::Trust;

/// The longest time until a server has shown who it is.
pub const DIAL_TIME_MAX: Duration = Duration::from_secs(5);
/// The longest time for the answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

/// Who asks for a certificate.
#[derive(Clone, Copy)]
pub struct Joiner<'a> {
    /// The edge's settings.
    pub config: &'a EdgeConfig,
    /// The node.
    pub node_id: NodeId,
}

impl Joiner<'_> {
    /// Proves that it can read the file of a server on this host, and has that server prove the same.
    pub async fn by_host_file(&self, endpoint: &Endpoint, address: SocketAddr, file: &HostFile) -> Result<Trust> {
        let fingerprint: Fingerprint = file.fingerprint.parse()?;
        let secret: Secret = file.secret.parse()?;
        let enrolment = endpoint.enrol(address, &self.region()?, &fingerprint, DIAL_TIME_MAX).await?;
        let mac = enrolment.connection.prove(&secret)?;
        let (trust, proof) = self.ask(&enrolment, KeyPair::generate()?, Proof::HostFile { mac }).await?;
        let is_proved = proof.is_some_and(|mac| enrolment.connection.check_proof(&secret, &mac));
        if !is_proved {
            bail!("the server at {address} does not know the secret in its own file");
        }
        enrolment.connection.close(CloseCode::DONE, "");
        Ok(trust)
    }

    /// Spends a use of the join token.
    pub async fn by_token(&self, endpoint: &Endpoint, address: SocketAddr, token: &JoinToken) -> Result<Trust> {
        if token.role != Role::Client {
            bail!("the join token is for a {}, this is a client", token.role);
        }
        if token.region != self.region()? {
            bail!("the join token is for region {}, this agent is of region {}", token.region, self.config.region);
        }
        let enrolment = endpoint.enrol(address, &token.region, &token.fingerprint, DIAL_TIME_MAX).await?;
        let proof = Proof::Token { secret: token.secret.reveal() };
        let (trust, _) = self.ask(&enrolment, KeyPair::generate()?, proof).await?;
        enrolment.connection.close(CloseCode::DONE, "");
        Ok(trust)
    }

    /// Shows the certificate that it has and asks for the next one, for the same key.
    pub async fn by_renewal(&self, endpoint: &Endpoint, address: SocketAddr, trust: &Trust) -> Result<Trust> {
        let leaf = trust.credentials.leaf();
        let root = trust.anchors.issuer_of(leaf).or_else(|| trust.anchors.roots().first());
        let fingerprint = Fingerprint::of(root.ok_or_else(|| anyhow!("no root is known"))?);
        let enrolment = endpoint.enrol(address, &self.region()?, &fingerprint, DIAL_TIME_MAX).await?;
        let (renewed, _) = self.ask(&enrolment, trust.credentials.key().clone(), Proof::Renewal).await?;
        enrolment.connection.close(CloseCode::DONE, "");
        Ok(renewed)
    }

    fn region(&self) -> Result<RegionName> {
        RegionName::new(&self.config.region).with_context(|| format!("region {:?}", self.config.region))
    }

    async fn ask(&self, enrolment: &Enrolment, key: KeyPair, proof: Proof) -> Result<(Trust, Option<[u8; 32]>)> {
        let request = EnrolRequest {
            csr: key.signing_request()?,
            node: self.node_id.to_string(),
            role: Role::Client.as_str().to_owned(),
            node_pool: self.config.node_pool.clone(),
            datacenter: self.config.datacenter.clone(),
            region: self.config.region.clone(),
            proof,
            held: None,
        };
        let request = codec::encode(&request);
        let asked = enrolment.connection.call(&request, ENROL_BYTES_MAX);
        let answer = tokio::time::timeout(ANSWER_TIME_MAX, asked).await.context("no answer to the enrolment")??;
        let (chain, mac) = match codec::decode::<EnrolAnswer>(&answer)? {
            EnrolAnswer::Issued { chain, mac, .. } => (chain, mac),
            EnrolAnswer::Refused { reason } => bail!("the server refuses: {reason}"),
            EnrolAnswer::RegionRenewed { .. } => bail!("the server gives a certificate that is for servers only"),
        };
        let own = chain.into_iter().map(serde_bytes::ByteBuf::into_vec).filter(|der| **der != *enrolment.root.as_ref());
        let leaf = Leaf::from_chain(own.map(Into::into).collect()).context("read the certificate that was issued")?;
        let identity = leaf.identity();
        if identity.role != Role::Client
            || identity.node != self.node_id.to_string()
            || identity.region != self.region()?
        {
            bail!("the certificate that was issued is for {identity}");
        }
        let anchors = Anchors::new(vec![enrolment.root.clone()])?;
        Ok((Trust { credentials: Credentials::new(leaf, key)?, anchors }, mac))
    }
}
