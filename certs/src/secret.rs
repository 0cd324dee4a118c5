//! Shared secrets: what a join token carries and what the agents of one host prove to each other.
//!
//! A secret is shown only to a side that has proved itself, and a side that only checks it keeps it as a [`SecretHash`].

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

const SECRET_LEN: usize = 32;

/// 32 random bytes. Its debug form shows nothing; [`Secret::reveal`] gives the text form.
#[derive(Clone)]
pub struct Secret([u8; SECRET_LEN]);

/// The SHA-256 of a secret. Enough to recognise it, useless to guess it: the secret is random and long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretHash(pub [u8; 32]);

/// Why there is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Random,
    /// The text is not 64 hexadecimal digits.
    #[error("a secret has 64 hexadecimal digits")]
    Form,
}

impl Secret {
    /// A new random secret.
    pub fn generate() -> Result<Secret, SecretError> {
        let mut bytes = [0; SECRET_LEN];
        SystemRandom::new().fill(&mut bytes).map_err(|_| SecretError::Random)?;
        Ok(Secret(bytes))
    }

    /// The secret that belongs to a key which people configure, for one purpose: another purpose gives another secret. The key must be
    /// as hard to guess as a secret.
    pub fn derived(purpose: &str, key: &[u8]) -> Secret {
        let mut bytes = [0; SECRET_LEN];
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), purpose.as_bytes());
        bytes.copy_from_slice(derived.as_ref());
        Secret(bytes)
    }

    /// The text form, 64 hexadecimal digits, for a file or a token that only its owner may read.
    pub fn reveal(&self) -> String {
        to_hex(&self.0)
    }

    /// What the checking side stores.
    pub fn hash(&self) -> SecretHash {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, &self.0).as_ref());
        SecretHash(bytes)
    }

    /// HMAC-SHA256 of `message` under this secret.
    pub fn mac(&self, message: &[u8]) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hmac::sign(&self.key(), message).as_ref());
        bytes
    }

    /// Whether `mac` is [`Secret::mac`] of `message`, in a time that does not depend on where they differ.
    pub fn verify_mac(&self, message: &[u8], mac: &[u8]) -> bool {
        hmac::verify(&self.key(), message, mac).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        from_hex(text).map(Secret).ok_or(SecretError::Form)
    }
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let nibble = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(nibble(pair[0])? << 4 | nibble(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_hash_follow_the_secret() {
        let secret = Secret::generate().unwrap();
        let again: Secret = secret.reveal().parse().unwrap();
        assert_eq!(again.hash(), secret.hash());
        assert_ne!(Secret::generate().unwrap().hash(), secret.hash());
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        for bad in ["", "00", &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(bad.parse::<Secret>().err(), Some(SecretError::Form), "{bad}");
        }
    }

    #[test]
    fn a_mac_is_bound_to_secret_and_message() {
        let secret = Secret::generate().unwrap();
        let mac = secret.mac(b"a");
        assert!(secret.verify_mac(b"a", &mac));
        assert!(!secret.verify_mac(b"b", &mac));
        assert!(!secret.verify_mac(b"a", &mac[..31]));
        assert!(!secret.verify_mac(b"a", &[]));
        assert!(!Secret::generate().unwrap().verify_mac(b"a", &mac));
    }
}
