//! The key of `server { encrypt }`: proved on every connection, on top of the certificates.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use drover_certs::Secret;

/// Why a text is no gossip key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not base64.
    #[error("a gossip key is written in base64")]
    Form,
    /// It has another length.
    #[error("a gossip key has 16, 24 or 32 bytes, not {0}")]
    Length(usize),
}

/// Reads a key as `server { encrypt }` has it: 16, 24 or 32 bytes in base64.
pub fn gossip_key(text: &str) -> Result<Secret, KeyError> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| KeyError::Form)?;
    if !matches!(bytes.len(), 16 | 24 | 32) {
        return Err(KeyError::Length(bytes.len()));
    }
    Ok(Secret::derived("drover gossip key", &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_three_lengths_are_taken() {
        for len in [16, 24, 32] {
            let text = STANDARD.encode(vec![7; len]);
            let (first, second) = (gossip_key(&text).unwrap(), gossip_key(&format!("{text}\n")).unwrap());
            assert_eq!(first.reveal(), second.reveal());
        }
        assert_ne!(
            gossip_key(&STANDARD.encode([7; 16])).unwrap().reveal(),
            gossip_key(&STANDARD.encode([7; 32])).unwrap().reveal()
        );
        assert_eq!(gossip_key(&STANDARD.encode([7; 17])).unwrap_err(), KeyError::Length(17));
        assert_eq!(gossip_key("?").unwrap_err(), KeyError::Form);
    }
}
