//! The certificate of one machine: its chain, what it says, how long it counts, and the key that belongs to it.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use crate::anchors::{certificates_from_pem, certificates_to_pem};
use crate::der;
use crate::identity::Identity;
use crate::key::{KeyError, KeyPair, PublicKey};
use crate::presented::{PresentedError, identity_of};

/// The most certificates in a chain: leaf, intermediate, and room for one between.
pub const CHAIN_MAX: usize = 3;

/// A machine's certificate with the intermediate that signed it. The root is not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    chain: Vec<CertificateDer<'static>>,
    identity: Identity,
    public_key: PublicKey,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// A machine's certificate and the private key for it.
#[derive(Debug, Clone)]
pub struct Credentials {
    leaf: Leaf,
    key: KeyPair,
}

/// Why a chain is no machine's certificate, or does not go with a key.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// The text is not PEM.
    #[error("cannot read the PEM text")]
    Pem(#[source] pem::PemError),
    /// An empty chain, or one longer than [`CHAIN_MAX`].
    #[error("the chain has {0} certificates, 1 to {CHAIN_MAX} expected")]
    Count(usize),
    /// The first certificate names no machine.
    #[error("cannot tell whose certificate it is")]
    Identity(#[from] PresentedError),
    /// A date lies before 1970.
    #[error("the certificate's dates cannot be read")]
    Dates,
    /// The private key cannot be read.
    #[error("cannot read the certificate's key")]
    Key(#[from] KeyError),
    /// The certificate shows another public key.
    #[error("the key belongs to another certificate")]
    KeyMismatch,
}

impl Leaf {
    /// Reads a chain, the machine's own certificate first. Signatures are not checked here: whoever is shown the chain does that.
    pub fn from_chain(chain: Vec<CertificateDer<'static>>) -> Result<Leaf, LeafError> {
        if chain.is_empty() || chain.len() > CHAIN_MAX {
            return Err(LeafError::Count(chain.len()));
        }
        let certificate = der::parse(&chain[0]).ok_or(PresentedError::NotACertificate)?;
        let identity = identity_of(&certificate)?;
        let public_key = PublicKey::of(&certificate).ok_or(PresentedError::Key)?;
        let (not_before, not_after) = der::validity(&certificate).ok_or(LeafError::Dates)?;
        Ok(Leaf { chain, identity, public_key, not_before, not_after })
    }

    /// Reads what [`Leaf::to_pem`] wrote.
    pub fn from_pem(text: &str) -> Result<Leaf, LeafError> {
        Leaf::from_chain(certificates_from_pem(text).map_err(LeafError::Pem)?)
    }

    /// The chain as PEM, the machine's own certificate first.
    pub fn to_pem(&self) -> String {
        certificates_to_pem(&self.chain)
    }

    /// The chain in DER, the machine's own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Whose certificate it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The key that it certifies.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The first second at which it counts.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// The last second at which it counts.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// When its holder asks for the next one: at two thirds of its life.
    pub fn renew_at(&self) -> SystemTime {
        renewal_time(self.not_before, self.not_after)
    }
}

impl Credentials {
    /// Pairs a certificate with its key; another certificate's key is refused.
    pub fn new(leaf: Leaf, key: KeyPair) -> Result<Credentials, LeafError> {
        if key.public_key() != leaf.public_key {
            return Err(LeafError::KeyMismatch);
        }
        Ok(Credentials { leaf, key })
    }

    /// Reads a chain and a key from their PEM forms.
    pub fn from_pem(chain: &str, key: &str) -> Result<Credentials, LeafError> {
        Credentials::new(Leaf::from_pem(chain)?, KeyPair::from_pem(key)?)
    }

    /// The certificate.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// The private key.
    pub fn key(&self) -> &KeyPair {
        &self.key
    }

    /// Chain and key for the TLS library; `root` is appended where the other side knows it by its fingerprint only.
    pub fn certified_key(&self, root: Option<&CertificateDer<'static>>) -> Result<Arc<CertifiedKey>, rustls::Error> {
        let chain = self.leaf.chain.iter().chain(root).cloned().collect();
        let key = rustls::crypto::ring::sign::any_ecdsa_type(&self.key.private_key_der())?;
        Ok(Arc::new(CertifiedKey::new(chain, key)))
    }
}

/// Two thirds of the way from the first to the last second.
pub(crate) fn renewal_time(not_before: SystemTime, not_after: SystemTime) -> SystemTime {
    let life = not_after.duration_since(not_before).unwrap_or_default();
    not_before + life / 3 * 2
}
