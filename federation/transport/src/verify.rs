//! Judges the chains that the other side shows in the handshake.
//!
//! A dialler wants a server of one region, below its own anchors or below a root known by fingerprint. A listener takes any chain
//! below its anchors, an expired one or none too: nothing here knows the protocol that was chosen, so [`crate::peer`] decides after
//! the handshake who may stay.
//!
//! A chain of drover's own making that has not begun tells that this machine's clock is behind: authorities make nothing for later.
//! It is judged as of its beginning, so that clocks that were set back keep nobody apart. Own authorities may make certificates for
//! later, and theirs wait for their time.

use std::fmt;
use std::sync::Arc;

use drover_certs::identity::role_name;
use drover_certs::presented::{read_begin, read_end, read_identity};
use drover_certs::{Fingerprint, Holder, RegionName, Role};
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
#[derive(thiserror::Error)]
#[error("the other side belongs to another authority: no certificate with fingerprint {0}")]
pub(crate) struct OtherAuthority(Fingerprint);

/// The other side's certificate comes from an authority that this side does not believe.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stranger {
    /// Both have certificates of drover's making: the two were formed apart.
    #[error(
        "the other side belongs to another authority; to join its region, start with an empty data_dir and a token that `drover \
         server join-token create` or `drover node join-token create` makes there"
    )]
    Formed,
    /// Both have certificates that people made.
    #[error(
        "the other side's certificate comes from another authority than those in tls {{ ca_file }}; add that one on both sides"
    )]
    OwnOther,
    /// This side's were made by people, the other's by drover.
    #[error(
        "the other side has no certificate of your own authority but one that drover issued: set tls {{ rpc = true, ca_file, \
         cert_file, key_file }} there too, or take rpc out here"
    )]
    OwnHere,
    /// The other side's were made by people, this side's by drover.
    #[error(
        "the other side uses certificates of an own authority: set tls {{ rpc = true, ca_file, cert_file, key_file }} here too, \
         or take rpc out there"
    )]
    OwnThere,
}

/// The TLS library prints the debug form of what it was given: it is for people here.
impl fmt::Debug for OtherAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A dialler's judge: accepts a server of one region, or of any.
#[derive(Debug)]
pub(crate) struct RegionServer {
    believed: Believed,
    /// The names of which it must have one. `None` where any region will do: the roots have judged the chain, name constraints
    /// included, and who it is stands in the certificate.
    names: Option<[ServerName<'static>; 2]>,
    /// This side's certificate is one that people made.
    is_own: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl RegionServer {
    pub(crate) fn new(
        region: Option<&RegionName>,
        believed: Believed,
        is_own: bool,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> RegionServer {
        // Certificates that people make with their own tools carry `.nomad` names only.
        let names = region.map(|region| {
            ["drover", "nomad"].map(|top| {
                ServerName::try_from(role_name(Role::Server, region, top)).expect("a region's name is a DNS label")
            })
        });
        RegionServer { believed, names, is_own, algorithms }
    }

    /// The time to judge a chain at.
    fn time(&self, now: UnixTime, end_entity: &CertificateDer<'_>, behind: &[CertificateDer<'_>]) -> UnixTime {
        if self.is_own { now } else { begun(now, end_entity, behind) }
    }

    fn stranger(&self, shown: &CertificateDer<'_>) -> Stranger {
        let is_theirs_own = read_identity(shown).is_err() && Holder::of_own(shown).is_ok();
        match (self.is_own, is_theirs_own) {
            (false, false) => Stranger::Formed,
            (false, true) => Stranger::OwnThere,
            (true, false) => Stranger::OwnHere,
            (true, true) => Stranger::OwnOther,
        }
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
        let now = self.time(now, end_entity, intermediates);
        verify_server_cert_signed_by_trust_anchor(&certificate, &roots, intermediates, now, algorithms).map_err(
            |error| match error {
                // Authorities of one name with different keys are strangers as well.
                Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                    refused(self.stranger(end_entity))
                }
                other => other,
            },
        )?;
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
        let now = if trust.is_own() { now } else { begun(now, end_entity, intermediates) };
        let judged = trust.callers.verify_client_cert(end_entity, intermediates, now);
        let Err(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) =
            judged
        else {
            return judged;
        };
        // An expired certificate may still enrol. Everything but its end is judged, as of its last second.
        let Some(not_after) = read_end(end_entity) else { return judged };
        trust.callers.verify_client_cert(end_entity, intermediates, unix_time(not_after))
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

/// Now, or when the last of these certificates begins. What a stranger adds to a chain only makes the rest of it older.
fn begun(now: UnixTime, end_entity: &CertificateDer<'_>, behind: &[CertificateDer<'_>]) -> UnixTime {
    let chain = std::iter::once(end_entity).chain(behind);
    chain.filter_map(|certificate| read_begin(certificate)).map(unix_time).fold(now, UnixTime::max)
}

fn refused(why: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::fixture::{DAY, HOUR, authority, forged, issued, region};

    #[test]
    fn a_chain_from_later_is_judged_as_of_its_beginning() {
        let west = authority("west");
        let (algorithms, begin) =
            (rustls::crypto::ring::default_provider().signature_verification_algorithms, SystemTime::now());
        let judge = |is_own: bool, at: SystemTime| {
            let believed = Believed::Roots(Arc::new(west.anchors().root_store().unwrap()));
            let judge = RegionServer::new(Some(&region("west")), believed, is_own, algorithms);
            let shown = issued(&west, Role::Server, "s1", begin, HOUR);
            let dialled = ServerName::try_from("server.west.drover").unwrap();
            let chain: Vec<CertificateDer<'_>> = shown.leaf().chain().to_vec();
            judge.verify_server_cert(&chain[0], &chain[1..], &dialled, &[], unix_time(at)).is_ok()
        };
        // Before the leaf, before the region itself, and before everything.
        for early in [begin - DAY, begin - 200 * DAY, SystemTime::UNIX_EPOCH] {
            assert!(judge(false, early));
            assert!(!judge(true, early), "people may have made it for later");
        }
        assert!(judge(false, begin) && judge(true, begin));
        assert!(!judge(false, begin + DAY), "what has ended has ended");
    }

    #[test]
    fn a_server_is_known_by_either_name_of_its_region() {
        let west = authority("west");
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let believed = Believed::Roots(Arc::new(west.anchors().root_store().unwrap()));
        let judge = RegionServer::new(Some(&region("west")), believed, false, algorithms);
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
