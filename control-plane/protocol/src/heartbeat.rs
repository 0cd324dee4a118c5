//! The heartbeats that follow the first one on its stream: nothing one way, and the other way mostly a number.
//!
//! The first one is a [`crate::edge::ToServer::Heartbeat`] with a [`FromServer`] as its answer, as every request. As long as the edge
//! does not end the stream, each empty frame is another heartbeat, and is answered by a [`HeartbeatAnswer`]. Thousands of idle edges,
//! and those on metered lines, pay for these few bytes and for nothing else.

use std::time::Duration;

use crate::codec::{self, DecodeError};
use crate::edge::FromServer;

/// The longest heartbeat after the first, in bytes.
pub const HEARTBEAT_BYTES_MAX: usize = 0;

/// The answer to a heartbeat after the first.
#[derive(Clone, Debug)]
pub enum HeartbeatAnswer {
    /// Heard, and the servers are those that were named last on this stream. The next one is due after this time, in whole
    /// milliseconds.
    Due(Duration),
    /// Something else, or other servers.
    Told(FromServer),
}

impl HeartbeatAnswer {
    /// Its bytes: those of a number, or those of the message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            HeartbeatAnswer::Due(time) => codec::encode(&u32::try_from(time.as_millis()).unwrap_or(u32::MAX)),
            HeartbeatAnswer::Told(answer) => codec::encode(answer),
        }
    }

    /// Reads them. No message begins as a number does.
    pub fn decode(bytes: &[u8]) -> Result<HeartbeatAnswer, DecodeError> {
        match codec::decode::<u32>(bytes) {
            Ok(millis) => Ok(HeartbeatAnswer::Due(Duration::from_millis(millis.into()))),
            Err(_) => codec::decode(bytes).map(HeartbeatAnswer::Told),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::RpcError;

    #[test]
    fn an_answer_reads_back_and_mostly_takes_three_bytes() {
        let due = HeartbeatAnswer::Due(Duration::from_micros(17_123_456));
        assert!(due.encode().len() <= 3);
        let read = HeartbeatAnswer::decode(&due.encode()).unwrap();
        assert!(matches!(read, HeartbeatAnswer::Due(time) if time == Duration::from_millis(17_123)), "{read:?}");
        let refused = FromServer::Refused(RpcError::NotFound { message: "node not found".to_owned() });
        let read = HeartbeatAnswer::decode(&HeartbeatAnswer::Told(refused).encode()).unwrap();
        assert!(matches!(read, HeartbeatAnswer::Told(FromServer::Refused(RpcError::NotFound { .. }))), "{read:?}");
        let alive = FromServer::Alive { heartbeat_ttl: Duration::from_secs(10), servers: vec!["a:1".to_owned()] };
        let read = HeartbeatAnswer::decode(&HeartbeatAnswer::Told(alive).encode()).unwrap();
        assert!(matches!(read, HeartbeatAnswer::Told(FromServer::Alive { .. })), "{read:?}");
    }

    #[test]
    fn other_bytes_are_refused() {
        assert!(HeartbeatAnswer::decode(b"").is_err());
        assert!(HeartbeatAnswer::decode(&[0xc1]).is_err());
        assert!(HeartbeatAnswer::decode(&codec::encode(&-1)).is_err());
    }
}
