//! The key by which a machine is the same one every time, where its certificate says only what it may do.
//!
//! The machine makes the key at its first start, and its node id is derived from it: whoever says that it is this node signs the
//! key material of the connection. Two machines that share one certificate can so never speak for each other, and nobody keeps a
//! list of who is who.

use std::fmt;

use ring::digest::{Context, SHA256};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey};

use crate::key::{KeyError, KeyPair, POINT_LEN};

/// The bytes of an [`introduction`](NodeKey::introduce): the public point and the signature.
pub const INTRODUCTION_LEN: usize = POINT_LEN + SIGNATURE_LEN;

const SIGNATURE_LEN: usize = 64;

/// What the id of a node is derived with: another purpose gives another id.
const PURPOSE: &[u8] = b"drover node id/1";

/// A machine's own key. Copies share it.
#[derive(Clone)]
pub struct NodeKey(KeyPair);

/// No signature could be made: the operating system gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot sign with the node's key")]
pub struct IntroduceError;

impl NodeKey {
    /// A new random key.
    pub fn generate() -> Result<NodeKey, KeyError> {
        Ok(NodeKey(KeyPair::generate()?))
    }

    /// Reads what [`NodeKey::to_pem`] wrote.
    pub fn from_pem(text: &str) -> Result<NodeKey, KeyError> {
        Ok(NodeKey(KeyPair::from_pem(text)?))
    }

    /// The private key as PEM, for a file that only its owner may read.
    pub fn to_pem(&self) -> String {
        self.0.to_pem()
    }

    /// The id of the node that has this key, as text.
    pub fn node(&self) -> String {
        node_of(self.0.public_key().point())
    }

    /// Says who this is, to whoever has the same `material`: the key material of one connection and one direction.
    pub fn introduce(&self, material: &[u8]) -> Result<[u8; INTRODUCTION_LEN], IntroduceError> {
        let random = SystemRandom::new();
        let pkcs8 = self.0.inner().serialize_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random);
        let signature = key.map_err(|_| IntroduceError)?.sign(&random, material).map_err(|_| IntroduceError)?;
        let mut introduction = [0; INTRODUCTION_LEN];
        introduction[..POINT_LEN].copy_from_slice(self.0.public_key().point());
        introduction[POINT_LEN..].copy_from_slice(signature.as_ref());
        Ok(introduction)
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.node())
    }
}

/// The id of the node that has made this introduction over `material`; `None` when it was made over another, or by another key.
pub fn introduced(material: &[u8], introduction: &[u8; INTRODUCTION_LEN]) -> Option<String> {
    let (point, signature) = introduction.split_at(POINT_LEN);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(material, signature).ok()?;
    Some(node_of(point))
}

/// A UUID whose bits are those of a hash of the point: nobody finds a second key with the same one.
fn node_of(point: &[u8]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(PURPOSE);
    context.update(point);
    let mut id = [0; 16];
    id.copy_from_slice(&context.finish().as_ref()[..16]);
    // "A version of one's own", and the usual variant.
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    let digits = crate::secret::to_hex(&id);
    let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
    format!("{a}-{b}-{c}-{d}-{e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_introduction_counts_for_its_key_and_connection_only() {
        let (one, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
        let introduction = one.introduce(b"this connection").unwrap();
        assert_eq!(introduced(b"this connection", &introduction), Some(one.node()));
        assert_eq!(introduced(b"another connection", &introduction), None);
        // The other's point with this signature, and a damaged signature.
        let mut mixed = other.introduce(b"this connection").unwrap();
        mixed[POINT_LEN..].copy_from_slice(&introduction[POINT_LEN..]);
        assert_eq!(introduced(b"this connection", &mixed), None);
        let mut damaged = introduction;
        damaged[INTRODUCTION_LEN - 1] ^= 1;
        assert_eq!(introduced(b"this connection", &damaged), None);
        assert_eq!(introduced(b"this connection", &[0; INTRODUCTION_LEN]), None);
    }

    #[test]
    fn the_id_stays_with_the_key() {
        let key = NodeKey::generate().unwrap();
        assert_eq!(NodeKey::from_pem(&key.to_pem()).unwrap().node(), key.node());
        assert_ne!(NodeKey::generate().unwrap().node(), key.node());
        let id = key.node();
        assert_eq!((id.len(), &id[14..15], id.matches('-').count()), (36, "8", 4));
    }
}
