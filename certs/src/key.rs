//! Keys of machines and authorities (ECDSA on P-256), and the request by which a machine asks for a certificate.

use std::fmt;
use std::sync::Arc;

use rcgen::{CertificateParams, CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::pki_types::{CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::public_key::PublicKey as ParsedKey;

/// The largest signing request that is read, in bytes; ours have about 200.
pub const SIGNING_REQUEST_MAX: usize = 4096;

/// An uncompressed point on P-256: 0x04 and two coordinates.
pub(crate) const POINT_LEN: usize = 65;

/// A private key with its public half. Copies share the key.
#[derive(Clone)]
pub struct KeyPair(Arc<rcgen::KeyPair>);

/// The public half of a key on P-256.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey([u8; POINT_LEN]);

/// What went wrong with a key or a signing request.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system gave no randomness, or the library refused to make a key.
    #[error("cannot make a key")]
    Make(#[source] rcgen::Error),
    /// The text is not the PEM form of a P-256 key.
    #[error("cannot read a P-256 key")]
    Read(#[source] rcgen::Error),
    /// A signing request could not be built.
    #[error("cannot make a signing request")]
    MakeRequest(#[source] rcgen::Error),
    /// A signing request is larger than [`SIGNING_REQUEST_MAX`].
    #[error("the signing request has {len} bytes, more than {SIGNING_REQUEST_MAX}")]
    RequestTooLarge {
        /// Its size in bytes.
        len: usize,
    },
    /// A signing request cannot be read, or its signature is not by the key it shows.
    #[error("the signing request is not valid")]
    Request(#[source] rcgen::Error),
    /// A signing request shows a key of another kind.
    #[error("the signing request's key is not a P-256 key")]
    RequestKey,
}

impl KeyPair {
    /// A new random key.
    pub fn generate() -> Result<KeyPair, KeyError> {
        let pair = rcgen::KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(KeyError::Make)?;
        Ok(KeyPair(Arc::new(pair)))
    }

    /// Reads what [`KeyPair::to_pem`] wrote.
    pub fn from_pem(text: &str) -> Result<KeyPair, KeyError> {
        let pair =
            rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(text, &PKCS_ECDSA_P256_SHA256).map_err(KeyError::Read)?;
        Ok(KeyPair(Arc::new(pair)))
    }

    /// Reads a P-256 key in the form of [`KeyPair::to_pem`], or in that of Nomad and OpenSSL (SEC1).
    pub fn from_any_pem(text: &str) -> Result<KeyPair, KeyError> {
        let parts = pem::parse_many(text).unwrap_or_default();
        let Some(sec1) = parts.iter().find(|part| part.tag() == "EC PRIVATE KEY") else {
            return KeyPair::from_pem(text);
        };
        let pkcs8 = pkcs8_of_sec1(sec1.contents()).ok_or(KeyError::Read(rcgen::Error::CouldNotParseKeyPair))?;
        let pkcs8 = PrivatePkcs8KeyDer::from(pkcs8);
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ECDSA_P256_SHA256);
        Ok(KeyPair(Arc::new(pair.map_err(KeyError::Read)?)))
    }

    /// The private key as PKCS#8 PEM, for a file that only its owner may read.
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        let point = self.0.public_key_raw().try_into().expect("a generated or read P-256 key has a point of 65 bytes");
        PublicKey(point)
    }

    /// A signing request (PKCS#10, DER) that shows the public half and proves possession of the private one. It asks for no names:
    /// the signer sets them.
    pub fn signing_request(&self) -> Result<Vec<u8>, KeyError> {
        let request = CertificateParams::default().serialize_request(&*self.0).map_err(KeyError::MakeRequest)?;
        Ok(request.der().to_vec())
    }

    /// The private key for a TLS library.
    pub fn private_key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.serialize_der()))
    }

    pub(crate) fn inner(&self) -> &rcgen::KeyPair {
        &self.0
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(..)")
    }
}

impl PublicKey {
    /// Takes the key, and nothing else, out of a signing request: names, dates and rights that it asks for are never looked at.
    pub fn from_signing_request(request_der: &[u8]) -> Result<PublicKey, KeyError> {
        if request_der.len() > SIGNING_REQUEST_MAX {
            return Err(KeyError::RequestTooLarge { len: request_der.len() });
        }
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request_der))
            .map_err(KeyError::Request)?;
        // The library derives the curve from the signature's algorithm, so the point's length is checked as well.
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(KeyError::RequestKey);
        }
        PublicKey::from_point(request.public_key.der_bytes()).ok_or(KeyError::RequestKey)
    }

    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Option<PublicKey> {
        match certificate.public_key().parsed().ok()? {
            ParsedKey::EC(point) => PublicKey::from_point(point.data()),
            _ => None,
        }
    }

    pub(crate) fn point(&self) -> &[u8; POINT_LEN] {
        &self.0
    }

    fn from_point(point: &[u8]) -> Option<PublicKey> {
        let point: [u8; POINT_LEN] = point.try_into().ok()?;
        (point[0] == 4).then_some(PublicKey(point))
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:02x}{:02x}..)", self.0[1], self.0[2])
    }
}

/// The PKCS#8 form of a SEC1 key on P-256, as the TLS library wants it: without the curve's name inside, with the public point.
fn pkcs8_of_sec1(sec1: &[u8]) -> Option<Vec<u8>> {
    /// Of a SEC1 key: version 1, and the private number's 32 bytes follow.
    const SEC1_HEAD: [u8; 5] = [0x02, 0x01, 0x01, 0x04, SCALAR_LEN as u8];
    const SCALAR_LEN: usize = 32;
    /// Version 0, "a key on an elliptic curve, prime256v1", and what is around the private number.
    const HEAD: [u8; 36] = [
        0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
        0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01, 0x04, 0x20,
    ];
    const BEFORE_POINT: [u8; 5] = [0xa1, 0x44, 0x03, 0x42, 0x00];
    let inside = sec1.get(2..)?.strip_prefix(&SEC1_HEAD)?;
    let (scalar, rest) = inside.split_at_checked(SCALAR_LEN)?;
    // The curve's name may stand between; the point is last.
    let (before, point) = rest.split_at_checked(rest.len().checked_sub(POINT_LEN)?)?;
    before.ends_with(&BEFORE_POINT).then(|| [&HEAD[..], scalar, &BEFORE_POINT, point].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_pem() {
        let key = KeyPair::generate().unwrap();
        assert_eq!(KeyPair::from_pem(&key.to_pem()).unwrap().public_key(), key.public_key());
        assert!(KeyPair::from_pem("nonsense").is_err());
    }

    #[test]
    fn a_request_hands_over_the_key() {
        let key = KeyPair::generate().unwrap();
        let request = key.signing_request().unwrap();
        assert_eq!(PublicKey::from_signing_request(&request).unwrap(), key.public_key());
    }

    #[test]
    fn damaged_large_and_foreign_requests_are_refused() {
        let mut damaged = KeyPair::generate().unwrap().signing_request().unwrap();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert!(matches!(PublicKey::from_signing_request(&damaged), Err(KeyError::Request(_))));
        assert!(matches!(PublicKey::from_signing_request(&[0; 5000]), Err(KeyError::RequestTooLarge { len: 5000 })));
        assert!(PublicKey::from_signing_request(&[]).is_err());
        for other in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384] {
            let key = rcgen::KeyPair::generate_for(other).unwrap();
            let request = CertificateParams::default().serialize_request(&key).unwrap();
            assert!(matches!(PublicKey::from_signing_request(request.der()), Err(KeyError::RequestKey)));
        }
    }
}
