//! Certificates that people make with their own authority, and how they are read: Nomad's names, keys of any usual kind.
//!
//! Such a certificate states a role and a region by a name such as `server.global.nomad` or `client.global.drover`; other names
//! beside it (`localhost`, addresses) are for other uses and say nothing here. It names no machine: that is the
//! [`NodeKey`](crate::NodeKey)'s part.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::sign::CertifiedKey;

use crate::anchors::certificates_from_pem;
use crate::der;
use crate::identity::{Identity, Role};
use crate::presented::{PresentedError, identity_of, role_names_of};
use crate::region::RegionName;

/// The most certificates in a chain that people made.
pub const OWN_CHAIN_MAX: usize = 8;

/// What a certificate says of its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its region.
    pub region: RegionName,
    /// What it may do there. Who has a server's certificate may speak as a client as well, where it names no node.
    pub role: Role,
    /// The node, where the certificate names one.
    pub node: Option<String>,
}

/// A certificate of one's own with its key. Copies share them.
#[derive(Clone)]
pub struct OwnCertificate {
    holder: Holder,
    not_before: SystemTime,
    not_after: SystemTime,
    certified: Arc<CertifiedKey>,
}

/// Why texts are no certificate of one's own.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// The text is not PEM.
    #[error("cannot read the PEM text")]
    Pem(#[source] pem::PemError),
    /// An empty chain, or one longer than [`OWN_CHAIN_MAX`].
    #[error("the chain has {0} certificates, 1 to {OWN_CHAIN_MAX} expected")]
    Count(usize),
    /// The certificate states no role.
    #[error("cannot tell what the certificate is for")]
    Names(#[from] PresentedError),
    /// A date lies before 1970.
    #[error("the certificate's dates cannot be read")]
    Dates,
    /// No private key in the text, or several.
    #[error("exactly one private key expected")]
    KeyCount,
    /// The TLS library cannot use the key.
    #[error("cannot use the private key")]
    Key(#[source] rustls::Error),
    /// The certificate shows another public key.
    #[error("the key belongs to another certificate")]
    KeyMismatch,
}

impl Holder {
    /// Reads a certificate as one of an own authority: whole where it is of drover's kind, else its role names alone.
    pub fn of_own(leaf_der: &[u8]) -> Result<Holder, PresentedError> {
        let certificate = der::parse(leaf_der).ok_or(PresentedError::NotACertificate)?;
        if let Ok(identity) = identity_of(&certificate) {
            return Ok(identity.into());
        }
        let (role, region) = role_names_of(&certificate)?;
        Ok(Holder { region, role, node: None })
    }

    /// The role in which it may speak a protocol that is for `wanted`; none if it may not.
    pub fn in_role(&self, wanted: Role) -> Option<Role> {
        let covers = self.role == wanted || (self.node.is_none() && self.role == Role::Server);
        covers.then_some(wanted)
    }
}

impl From<Identity> for Holder {
    fn from(identity: Identity) -> Self {
        Holder { region: identity.region, role: identity.role, node: Some(identity.node) }
    }
}

impl fmt::Display for Holder {
    /// The URI of a node, or the name that states role and region.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holder { region, role, node } = self;
        match node {
            Some(node) => write!(f, "drover://{region}/{role}/{node}"),
            None => write!(f, "{role}.{region}"),
        }
    }
}

impl OwnCertificate {
    /// Reads chain and key from PEM texts, the machine's own certificate first.
    pub fn from_pem(chain: &str, key: &str) -> Result<OwnCertificate, OwnError> {
        OwnCertificate::read(chain, key, |leaf| Ok(Holder::of_own(leaf)?))
    }

    /// The same, taken for a holder's whatever its names say: for tests of those who are shown it.
    #[doc(hidden)]
    pub fn pretended(chain: &str, key: &str, holder: Holder) -> Result<OwnCertificate, OwnError> {
        OwnCertificate::read(chain, key, |_| Ok(holder))
    }

    fn read(
        chain: &str,
        key: &str,
        holder: impl FnOnce(&[u8]) -> Result<Holder, OwnError>,
    ) -> Result<OwnCertificate, OwnError> {
        let chain = certificates_from_pem(chain).map_err(OwnError::Pem)?;
        if chain.is_empty() || chain.len() > OWN_CHAIN_MAX {
            return Err(OwnError::Count(chain.len()));
        }
        let holder = holder(&chain[0])?;
        let (not_before, not_after) = der::parse(&chain[0]).as_ref().and_then(der::validity).ok_or(OwnError::Dates)?;
        let key = rustls::crypto::ring::sign::any_supported_type(&private_key(key)?).map_err(OwnError::Key)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(OwnError::KeyMismatch),
            Err(error) => return Err(OwnError::Key(error)),
        }
        Ok(OwnCertificate { holder, not_before, not_after, certified: Arc::new(certified) })
    }

    /// What it says.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// The machine's own certificate and those behind it.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Chain and key for the TLS library.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }

    /// The first second at which it counts.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// The last second at which it counts.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }
}

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnCertificate({})", self.holder)
    }
}

/// The one private key of a PEM text, in any of the three usual forms.
fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, OwnError> {
    let parts = pem::parse_many(text).map_err(OwnError::Pem)?;
    let mut keys = parts.into_iter().filter_map(|part| match part.tag() {
        "PRIVATE KEY" => Some(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(part.into_contents()))),
        "EC PRIVATE KEY" => Some(PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(part.into_contents()))),
        "RSA PRIVATE KEY" => Some(PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(part.into_contents()))),
        _ => None,
    });
    match (keys.next(), keys.next()) {
        (Some(key), None) => Ok(key),
        _ => Err(OwnError::KeyCount),
    }
}

#[cfg(test)]
mod tests;
