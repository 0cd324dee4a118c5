//! The digest by which everything in a registry is named and checked.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256, SHA512};
use serde::{Deserialize, Serialize};

/// A text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no digest (sha256:<64 hex digits>)")]
pub struct DigestError(String);

/// `sha256:<hex>` or `sha512:<hex>`, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The whole text, `sha256:<hex>`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hexadecimal digits alone. Safe as a file name.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher(Context::new(&SHA256), "sha256");
        hasher.update(bytes);
        hasher.finish()
    }

    /// Something that makes a digest of the same kind as this one.
    pub(crate) fn hasher(&self) -> Hasher {
        if self.0.starts_with("sha512:") {
            Hasher(Context::new(&SHA512), "sha512")
        } else {
            Hasher(Context::new(&SHA256), "sha256")
        }
    }

    /// Whether `bytes` have this digest.
    pub(crate) fn fits(&self, bytes: &[u8]) -> bool {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish() == *self
    }
}

/// Takes bytes and makes a [`Digest`] of them.
#[derive(Clone)]
pub(crate) struct Hasher(Context, &'static str);

impl Hasher {
    pub(crate) fn sha256() -> Self {
        Self(Context::new(&SHA256), "sha256")
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        let mut text = format!("{}:", self.1);
        for byte in self.0.finish().as_ref() {
            text.push_str(&format!("{byte:02x}"));
        }
        Digest(text)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = match text.split_once(':') {
            Some(("sha256", hex)) if hex.len() == 64 => hex,
            Some(("sha512", hex)) if hex.len() == 128 => hex,
            _ => return Err(DigestError(text.chars().take(160).collect())),
        };
        if digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(DigestError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_strictly() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        assert!(empty.parse::<Digest>().unwrap().fits(b""));
        assert!(format!("sha512:{}", "0a".repeat(64)).parse::<Digest>().is_ok());
        for wrong in ["", "sha256:", "sha256:../../etc", &empty.to_uppercase(), &empty[..70], "md5:abc"] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }
}
