//! Judges the chains that the other side shows in the handshake.
//!
//! A dialler wants a server of one region, below its own anchors or below a root known by fingerprint. A listener takes any chain
//! below its anchors, an expired one or none too: nothing here knows the protocol that was chosen, so [`crate::peer`] decides after
//! the handshake who may stay.

use std::sync::Arc;

use drover_certs::identity::role_name;
use drover_certs::{Fingerprint, Leaf, RegionName, Role};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible, RootCertStore,
    SignatureScheme,
};

use crate::clock::unix_time;
use crate::trust::TrustCell;

/// Whom a dialler believes.
#[derive(Debug, Clone)]
pub(crate) enum Believed {
    /// The roots it has.
    Roots(Arc<RootCertStore>),
    /// The one root with this fingerprint, which the other side must show.
    Fingerprint(Fingerprint),
}

/// The other side showed no root with the wanted fingerprint.
#[derive(Debug, thiserror::Error)]
#[error("the other side belongs to another authority: no certificate with fingerprint {0}")]
pub(crate) struct OtherAuthority(Fingerprint);

/// A dialler's judge: accepts a server of one region, or of any.
#[derive(Debug)]
pub(crate) struct RegionServer {
    believed: Believed,
    /// The names of which it must have one. `None` where any region will do: the roots have judged the chain, name constraints
    /// included, and who it is stands in the certificate.
    names: Option<[ServerName<'static>; 2]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl RegionServer {
    pub(crate) fn new(
        region: Option<&RegionName>,
        believed: Believed,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> RegionServer {
        // Certificates that people make with their own tools carry `.nomad` names only.
        let names = region.map(|region| {
            ["drover", "nomad"].map(|top| {
                ServerName::try_from(role_name(Role::Server, region, top)).expect("a region's name is a DNS label")
            })
        });
        RegionServer { believed, names, algorithms }
    }

    fn roots(&self, shown: &[CertificateDer<'_>]) -> Result<Arc<RootCertStore>, Error> {
        match &self.believed {
            Believed::Roots(roots) => Ok(roots.clone()),
            Believed::Fingerprint(wanted) => {
                let root = shown.iter().find(|certificate| Fingerprint::of(certificate) == *wanted);
                let root = root.ok_or_else(|| refused(OtherAuthority(*wanted)))?;
                let mut roots = RootCertStore::empty();
                roots.add(root.clone().into_owned())?;
                Ok(Arc::new(roots))
            }
        }
    }
}

impl ServerCertVerifier for RegionServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let roots = self.roots(intermediates)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &roots, intermediates, now, algorithms)?;
        if let Some([drover, nomad]) = &self.names {
            verify_server_name(&certificate, drover)
                .or_else(|first| verify_server_name(&certificate, nomad).map_err(|_| first))?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A listener's judge of callers, by the anchors of the moment.
#[derive(Debug)]
pub(crate) struct Callers {
    pub(crate) trust: Arc<TrustCell>,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Callers {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let trust = self.trust.current().ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let judged = trust.callers.verify_client_cert(end_entity, intermediates, now);
        let Err(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) =
            judged
        else {
            return judged;
        };
        // An expired certificate may still enrol. Everything but its end is judged, as of its last second.
        let leaf = Leaf::from_chain(vec![end_entity.clone().into_owned()]).map_err(refused)?;
        trust.callers.verify_client_cert(end_entity, intermediates, unix_time(leaf.not_after()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn refused(why: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::fixture::{authority, forged, region};

    #[test]
    fn a_server_is_known_by_either_name_of_its_region() {
        let west = authority("west");
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let believed = Believed::Roots(Arc::new(west.anchors().root_store().unwrap()));
        let judge = RegionServer::new(Some(&region("west")), believed, algorithms);
        let cases: [(&[&str], bool); 6] = [
            (&["server.west.drover"], true),
            (&["server.west.nomad"], true),
            (&["client.west.drover"], false),
            (&["client.west.nomad"], false),
            (&["west.drover"], false),
            (&[], false),
        ];
        for (names, expected) in cases {
            let shown = forged(&west, names, &["drover://west/server/s1"]);
            let dialled = ServerName::try_from("server.west.drover").unwrap();
            let now = unix_time(SystemTime::now());
            let judged = judge.verify_server_cert(&shown.cert[0], &shown.cert[1..], &dialled, &[], now);
            assert_eq!(judged.is_ok(), expected, "{names:?}: {judged:?}");
        }
    }
}
