//! Short connection ids, for an endpoint that only dials: every packet to it carries one, heartbeats' answers among them.

use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator};
use rustls::crypto::SecureRandom;

use crate::{settings, tls};

/// Makes ids of [`settings::DIALLED_ID_BYTES`] bytes. quinn asks again for one that is in use.
pub(crate) struct ShortIds {
    random: &'static dyn SecureRandom,
    /// Stands in for randomness, which never fails once the system is up.
    made: u32,
}

impl ShortIds {
    pub(crate) fn new() -> ShortIds {
        ShortIds { random: tls::provider().secure_random, made: 0 }
    }
}

impl ConnectionIdGenerator for ShortIds {
    fn generate_cid(&mut self) -> ConnectionId {
        self.made = self.made.wrapping_add(1);
        let mut id: [u8; settings::DIALLED_ID_BYTES] = self.made.to_be_bytes();
        // Where it fails, two connections of one endpoint can be seen to be of one: nothing else depends on it.
        let _ = self.random.fill(&mut id);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        settings::DIALLED_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
