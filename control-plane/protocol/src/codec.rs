//! The form of a message: MessagePack with field names. Framing and size limits are the transport's.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bounds;

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

/// The message that these bytes are, from a server.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    bounds::read(bytes).map_err(|source| DecodeError { len: bytes.len(), source })
}

/// The message that these bytes are, from an edge or a stranger: one that would fill much more memory than it has bytes is
/// refused before anything of it is kept.
pub fn decode_bounded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    bounds::check(bytes).map_err(|source| DecodeError { len: bytes.len(), source })?;
    decode(bytes)
}

#[cfg(test)]
mod tests {
    use drover_model::alloc::AllocUpdate;
    use drover_model::node::Node;

    use super::*;
    use crate::edge::ToServer;

    /// A report of `count` updates of one byte each.
    fn empty_updates(count: usize) -> Vec<u8> {
        let node_id = drover_model::NodeId::default();
        let mut bytes = encode(&ToServer::ReportAllocs { node_id, updates: Vec::new() });
        assert_eq!(bytes.pop(), Some(0x90));
        bytes.push(0xdd);
        bytes.extend(u32::try_from(count).unwrap().to_be_bytes());
        bytes.resize(bytes.len() + count, 0x80);
        bytes
    }

    fn nested(depth: usize) -> serde_json::Value {
        (0..depth).fold(serde_json::Value::Null, |inner, _| serde_json::Value::Array(vec![inner]))
    }

    #[test]
    fn a_short_message_that_stands_for_very_much_is_refused() {
        let Ok(ToServer::ReportAllocs { updates, .. }) = decode_bounded(&empty_updates(100)) else {
            panic!("a hundred updates are not too many");
        };
        assert_eq!(updates, vec![AllocUpdate::default(); 100]);
        let error = decode_bounded::<ToServer>(&empty_updates(1 << 20)).unwrap_err();
        assert_eq!(error.source.to_string(), "more than 524288 values");
    }

    #[test]
    fn a_message_that_lies_deep_is_refused() {
        let register = |depth| {
            let node = Box::new(Node { drain_strategy: Some(nested(depth)), ..Node::default() });
            decode::<ToServer>(&encode(&ToServer::Register { node }))
        };
        assert!(register(150).is_ok());
        assert!(register(200).is_err());
        let bomb = vec![0x91; 1 << 20];
        assert!(decode::<ToServer>(&bomb).is_err());
    }
}
