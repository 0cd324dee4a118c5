//! The text of a join token: `drover-join-` and then, in base64url, a version byte, the content and a checksum.
//!
//! The checksum finds a token that was cut or mistyped before anything is dialled. It protects nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use drover_model::JoinTokenId;
use serde::{Deserialize, Serialize};

/// How every token begins.
pub const PREFIX: &str = "drover-join-";
/// The longest text that is read, in bytes.
pub const TEXT_BYTES_MAX: usize = 4 << 10;
const VERSION: u8 = 1;

/// What a join token says. Its debug form hides the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokenText {
    /// Which token.
    pub id: JoinTokenId,
    /// The fingerprint of the root that the region's servers must show.
    pub fingerprint: [u8; 32],
    /// What is sent once the other side has shown that root.
    pub secret: [u8; 32],
    /// `client` or `server`.
    pub role: String,
    /// The region to join.
    pub region: String,
    /// RPC addresses of its servers.
    pub addresses: Vec<String>,
}

impl std::fmt::Debug for JoinTokenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinTokenText({}, {} of {})", self.id, self.role, self.region)
    }
}

/// The text is no join token. It is not repeated: it may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinTokenTextError {
    /// It does not begin as one, or holds characters that none has.
    #[error("not a join token: one begins with {PREFIX:?}")]
    Form,
    /// Something is missing or changed.
    #[error("the join token is incomplete or mistyped")]
    Checksum,
    /// Another version of drover made it.
    #[error("the join token has version {0}, this is version {VERSION}")]
    Version(u8),
}

impl JoinTokenText {
    /// The text, secret included.
    pub fn reveal(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(crate::codec::encode(self));
        bytes.extend(checksum(&bytes).to_be_bytes());
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads a text; blanks around it don't matter.
    pub fn parse(text: &str) -> Result<JoinTokenText, JoinTokenTextError> {
        let text = text.trim();
        let body = text.strip_prefix(PREFIX).filter(|_| text.len() <= TEXT_BYTES_MAX).ok_or(JoinTokenTextError::Form)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| JoinTokenTextError::Form)?;
        let (content, sum) = bytes.split_last_chunk::<4>().ok_or(JoinTokenTextError::Checksum)?;
        if checksum(content) != u32::from_be_bytes(*sum) {
            return Err(JoinTokenTextError::Checksum);
        }
        match content.split_first() {
            Some((&VERSION, message)) => crate::codec::decode(message).map_err(|_| JoinTokenTextError::Form),
            Some((other, _)) => Err(JoinTokenTextError::Version(*other)),
            None => Err(JoinTokenTextError::Checksum),
        }
    }
}

/// FNV-1a with 32 bits.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinTokenText {
        JoinTokenText {
            id: JoinTokenId::from_random([1; 16]),
            fingerprint: [2; 32],
            secret: [3; 32],
            role: "client".to_owned(),
            region: "global".to_owned(),
            addresses: vec!["10.0.0.1:4647".to_owned()],
        }
    }

    #[test]
    fn a_token_reads_back() {
        let text = token().reveal();
        assert!(text.starts_with(PREFIX));
        assert_eq!(JoinTokenText::parse(&format!(" {text}\n")), Ok(token()));
    }

    #[test]
    fn other_texts_are_refused() {
        let text = token().reveal();
        assert_eq!(JoinTokenText::parse("hello"), Err(JoinTokenTextError::Form));
        assert_eq!(JoinTokenText::parse(&text.replace('-', "+")), Err(JoinTokenTextError::Form));
        assert_eq!(JoinTokenText::parse(PREFIX), Err(JoinTokenTextError::Checksum));
        for cut in PREFIX.len()..text.len() {
            assert!(JoinTokenText::parse(&text[..cut]).is_err(), "cut at {cut}");
        }
        assert!(JoinTokenText::parse(&format!("{PREFIX}{}", "A".repeat(TEXT_BYTES_MAX))).is_err());
    }
}
