//! The form of a message: MessagePack with field names. Framing and size limits are the transport's.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("message of {len} bytes can't be read")]
pub struct DecodeError {
    /// Its length.
    pub len: usize,
    /// Why.
    #[source]
    pub source: rmp_serde::decode::Error,
}

/// The bytes of a message.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(message).expect("the messages hold nothing that MessagePack can't express")
}

/// The message that these bytes are.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    rmp_serde::from_slice(bytes).map_err(|source| DecodeError { len: bytes.len(), source })
}
