//! What a certificate of drover says about its holder: region, role and node.

use std::fmt;
use std::str::FromStr;

use crate::region::RegionName;

/// The longest node name in a certificate, in bytes.
pub const NODE_MAX: usize = 128;

/// What a machine may do in its region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Takes part in the region's consensus and answers RPCs.
    Server,
    /// Runs allocs: an edge client.
    Client,
}

/// The holder of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The region that the holder belongs to.
    pub region: RegionName,
    /// What it may do there.
    pub role: Role,
    /// Which machine it is: the id of a node, or the name of a server.
    pub node: String,
}

/// Why an identity cannot be put in a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The node name is empty, too long, or holds a character that has no place in a URI.
    #[error("a node is named by 1 to 128 of a-z, A-Z, 0-9, '.', '_' and '-', not by {0:?}")]
    Node(String),
    /// No role of this name.
    #[error("a role is server or client, not {0:?}")]
    Role(String),
}

impl Role {
    /// The role as it stands in names: `server` or `client`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Server => "server",
            Role::Client => "client",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "server" => Ok(Role::Server),
            "client" => Ok(Role::Client),
            other => Err(IdentityError::Role(other.to_owned())),
        }
    }
}

impl Identity {
    /// An identity whose node name has been checked.
    pub fn new(region: RegionName, role: Role, node: &str) -> Result<Identity, IdentityError> {
        let identity = Identity { region, role, node: node.to_owned() };
        identity.check()?;
        Ok(identity)
    }

    /// Whether the node name has a shape that certificates carry; the fields are public, so every issuer asks again.
    pub fn check(&self) -> Result<(), IdentityError> {
        if is_node_name(&self.node) { Ok(()) } else { Err(IdentityError::Node(self.node.clone())) }
    }

    /// The DNS name that states role and region: `server.<region>.drover` or `client.<region>.drover`.
    pub fn dns_name(&self) -> String {
        role_name(self.role, &self.region, "drover")
    }

    /// The URI that states all three: `drover://<region>/<role>/<node>`.
    pub fn uri(&self) -> String {
        format!("drover://{}/{}/{}", self.region, self.role, self.node)
    }

    /// Reads what [`Identity::uri`] writes; anything else is `None`.
    pub fn from_uri(uri: &str) -> Option<Identity> {
        let mut parts = uri.strip_prefix("drover://")?.split('/');
        let (region, role, node) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        Identity::new(RegionName::new(region).ok()?, role.parse().ok()?, node).ok()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri())
    }
}

/// The DNS name of a role under `top` (`drover`, or `nomad` in certificates that people made themselves).
pub fn role_name(role: Role, region: &RegionName, top: &str) -> String {
    format!("{role}.{region}.{top}")
}

fn is_node_name(node: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !node.is_empty() && node.len() <= NODE_MAX && node.bytes().all(fits) && node != "." && node != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_reads_back() {
        let identity = Identity::new(RegionName::new("west").unwrap(), Role::Client, "5a1b-2.x_y").unwrap();
        assert_eq!(identity.uri(), "drover://west/client/5a1b-2.x_y");
        assert_eq!(identity.dns_name(), "client.west.drover");
        assert_eq!(Identity::from_uri(&identity.uri()), Some(identity));
    }

    #[test]
    fn other_uris_are_none() {
        for bad in [
            "drover://west/client/",
            "drover://west/client",
            "drover://west/client/a/b",
            "drover://West/client/a",
            "drover://west/Client/a",
            "drover://west/root/a",
            "drover:///client/a",
            "spiffe://west/client/a",
            "DROVER://west/client/a",
            "drover://west/client/a b",
            "drover://west/client/..",
            "drover://a.west/client/a",
        ] {
            assert_eq!(Identity::from_uri(bad), None, "{bad}");
        }
        assert!(Identity::new(RegionName::new("west").unwrap(), Role::Server, &"n".repeat(129)).is_err());
    }
}
