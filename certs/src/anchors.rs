//! The roots that a machine believes, and their fingerprints.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use crate::der;
use crate::leaf::Leaf;

/// The most roots a machine believes at once: two while a federation changes its root, some more for people's own.
pub const ANCHORS_MAX: usize = 16;

const PEM_TAG: &str = "CERTIFICATE";

/// The SHA-256 of a root certificate's DER, by which a joiner knows the authority. Its text form is lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// One or more root certificates. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchors(Vec<CertificateDer<'static>>);

/// Why certificates cannot serve as anchors, or a text is no fingerprint.
#[derive(Debug, thiserror::Error)]
pub enum AnchorsError {
    /// The text is not PEM.
    #[error("cannot read the PEM text")]
    Pem(#[source] pem::PemError),
    /// None at all, or more than [`ANCHORS_MAX`].
    #[error("{0} root certificates given, 1 to {ANCHORS_MAX} expected")]
    Count(usize),
    /// One of them is no certificate of an authority.
    #[error("one of the root certificates is not an authority's certificate")]
    NotAnAuthority,
    /// The text is not 64 hexadecimal digits.
    #[error("a fingerprint has 64 hexadecimal digits")]
    Fingerprint,
}

impl Fingerprint {
    /// The fingerprint of one certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Fingerprint {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Fingerprint(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = AnchorsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        crate::secret::from_hex(text).map(Fingerprint).ok_or(AnchorsError::Fingerprint)
    }
}

impl Anchors {
    /// Checks that each certificate is an authority's.
    pub fn new(roots: Vec<CertificateDer<'static>>) -> Result<Anchors, AnchorsError> {
        if roots.is_empty() || roots.len() > ANCHORS_MAX {
            return Err(AnchorsError::Count(roots.len()));
        }
        let is_authority = |root: &CertificateDer<'_>| {
            let certificate = der::parse(root)?;
            Some(certificate.basic_constraints().ok()??.value.ca)
        };
        if !roots.iter().all(|root| is_authority(root) == Some(true)) {
            return Err(AnchorsError::NotAnAuthority);
        }
        Ok(Anchors(roots))
    }

    /// Reads what [`Anchors::to_pem`] wrote.
    pub fn from_pem(text: &str) -> Result<Anchors, AnchorsError> {
        Anchors::new(certificates_from_pem(text).map_err(AnchorsError::Pem)?)
    }

    /// All roots as PEM, one after the other.
    pub fn to_pem(&self) -> String {
        certificates_to_pem(&self.0)
    }

    /// The root with this fingerprint, if it is among them.
    pub fn find(&self, fingerprint: &Fingerprint) -> Option<&CertificateDer<'static>> {
        self.0.iter().find(|root| Fingerprint::of(root) == *fingerprint)
    }

    /// The root whose key signed the end of `leaf`'s chain, if it is among them.
    pub fn issuer_of(&self, leaf: &Leaf) -> Option<&CertificateDer<'static>> {
        self.issuer_of_chain(leaf.chain())
    }

    /// The same of a chain that people made.
    pub fn issuer_of_chain(&self, chain: &[CertificateDer<'static>]) -> Option<&CertificateDer<'static>> {
        let last = der::parse(chain.last()?)?;
        let signed = |root: &CertificateDer<'_>| {
            der::parse(root).is_some_and(|root| last.verify_signature(Some(root.public_key())).is_ok())
        };
        self.0.iter().find(|root| signed(root))
    }

    /// The roots in the order given.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.0
    }

    /// The roots in the form in which the TLS library wants them.
    pub fn root_store(&self) -> Result<RootCertStore, rustls::Error> {
        let mut store = RootCertStore::empty();
        self.0.iter().try_for_each(|root| store.add(root.clone()))?;
        Ok(store)
    }
}

pub(crate) fn certificates_from_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, pem::PemError> {
    let parts = pem::parse_many(text)?;
    let certificates = parts.into_iter().filter(|part| part.tag() == PEM_TAG);
    Ok(certificates.map(|part| CertificateDer::from(part.into_contents())).collect())
}

pub(crate) fn certificates_to_pem(certificates: &[CertificateDer<'_>]) -> String {
    let parts: Vec<_> = certificates.iter().map(|der| pem::Pem::new(PEM_TAG, der.to_vec())).collect();
    pem::encode_many_config(&parts, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}
