//! Join tokens: how a machine without a certificate gets its first one.

use drover_model::{JoinTokenId, Timestamp};
use serde::{Deserialize, Serialize};

/// A join token as the state keeps it: the secret only as a hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JoinToken {
    /// Its id.
    pub id: JoinTokenId,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// `client` or `server`.
    pub role: String,
    /// Uses left; none means no limit.
    pub uses_left: Option<u32>,
    /// Not good after this time.
    pub expires_at: Timestamp,
    /// The pool a joining client must be in; empty means any.
    pub node_pool: String,
    /// The datacenter a joining client must be in; empty means any.
    pub datacenter: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The new region whose first server it admits; empty for a machine of this region.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
}

impl JoinToken {
    /// It still admits somebody at that time.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        now < self.expires_at && self.uses_left != Some(0)
    }
}
