//! How a machine gets its certificate (ALPN `enrol`).
//!
//! The joiner makes its key itself and sends a CSR. It proves that it may join in one of three ways: a join token, the
//! secret in the file of a server on the same host (as a MAC over the TLS exporter: it never travels), or the
//! certificate that it has and renews.

use serde::{Deserialize, Serialize};

/// The longest enrolment message, in bytes.
pub const ENROL_BYTES_MAX: usize = 64 << 10;

/// Asks for a certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// The request in DER. Only its public key counts.
    #[serde(with = "serde_bytes")]
    pub csr: Vec<u8>,
    /// The joiner's node id as text.
    pub node: String,
    /// `client` or `server`.
    pub role: String,
    /// The pool it says it is in.
    pub node_pool: String,
    /// The datacenter it says it is in.
    pub datacenter: String,
    /// The region it joins; empty means that of the server that is asked. Another is founded by this joiner.
    #[serde(default)]
    pub region: String,
    /// Why it may join.
    pub proof: Proof,
    /// The region's key is at the joiner already, and its certificate has ended: it wants a later one for that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldRegion>,
}

/// What a server shows of the region's authority that it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRegion {
    /// The region's certificate, in PEM.
    pub certificate: String,
    /// A request signed with its key, in DER.
    #[serde(with = "serde_bytes")]
    pub proof: Vec<u8>,
}

/// Why a machine may join.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Proof {
    /// A join token; the secret is sent only after the other side's chain was checked against the token's fingerprint.
    Token {
        /// Its secret, as the token's text has it.
        secret: String,
    },
    /// It can read the file of this server on the same host: MAC over the TLS exporter under the file's secret.
    HostFile {
        /// The joiner's MAC.
        mac: [u8; 32],
    },
    /// The certificate of this connection, expired perhaps, for the same key and node.
    Renewal,
}

/// What every server of a region holds: enough to issue, not enough to found regions. Its debug form hides the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionKeys {
    /// The root's certificate, in PEM.
    pub root: String,
    /// The region's certificate, in PEM.
    pub region: String,
    /// The key that belongs to it, in PEM.
    pub key: String,
}

impl std::fmt::Debug for RegionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegionKeys(..)")
    }
}

/// The answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum EnrolAnswer {
    /// A certificate.
    Issued {
        /// Leaf, intermediate and root, in DER.
        chain: Vec<serde_bytes::ByteBuf>,
        /// The region's name.
        region: String,
        /// The server's MAC over the exporter, when the joiner proved itself by the host file.
        mac: Option<[u8; 32]>,
        /// Where this server takes RPCs.
        servers: Vec<String>,
        /// What a server needs to issue certificates itself; for servers only.
        #[serde(default)]
        keys: Option<RegionKeys>,
    },
    /// No certificate.
    Refused {
        /// Why, for the joiner's log.
        reason: String,
    },
    /// A later certificate for the region whose key the joiner holds.
    RegionRenewed {
        /// In PEM.
        certificate: String,
    },
}
