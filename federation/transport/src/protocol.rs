//! The protocols, and who may speak each.

use drover_certs::{Holder, RegionName, Role};

use crate::close::CloseCode;
use crate::peer::Refusal;

/// A protocol, told apart by its ALPN name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Consensus between the servers of one region.
    Raft,
    /// RPC between servers, of one region or of two.
    Server,
    /// An edge client and the servers of its region.
    Edge,
    /// Getting or renewing a certificate: also for those who have none, or an expired one.
    Enrol,
    /// Who is there, between servers of all regions, on a port of its own. The only one with datagrams.
    Gossip,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Protocol; 5] =
        [Protocol::Raft, Protocol::Server, Protocol::Edge, Protocol::Enrol, Protocol::Gossip];
    /// Those that share the port for RPC.
    pub const RPC: [Protocol; 4] = [Protocol::Raft, Protocol::Server, Protocol::Edge, Protocol::Enrol];

    /// The ALPN name.
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Protocol::Raft => b"drover-raft/1",
            Protocol::Server => b"drover-server/1",
            Protocol::Edge => b"drover-edge/1",
            Protocol::Enrol => b"drover-enrol/1",
            Protocol::Gossip => b"drover-gossip/1",
        }
    }

    pub(crate) fn from_alpn(name: &[u8]) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|protocol| protocol.alpn() == name)
    }

    /// Whether both ends are servers, which open many streams at once.
    pub(crate) fn is_between_servers(self) -> bool {
        matches!(self, Protocol::Raft | Protocol::Server)
    }

    /// Whether only servers speak it.
    pub(crate) fn is_for_servers(self) -> bool {
        self.is_between_servers() || self == Protocol::Gossip
    }

    /// The role in which a caller with this certificate speaks this protocol to a server of `region`, if it may.
    pub(crate) fn admits(self, caller: &Holder, region: &RegionName) -> Result<Role, Refusal> {
        let (wanted, own_region_only) = match self {
            Protocol::Raft => (Role::Server, true),
            Protocol::Server | Protocol::Gossip => (Role::Server, false),
            Protocol::Edge => (Role::Client, true),
            // Both roles renew here; the region is that of the signer.
            Protocol::Enrol => (caller.role, true),
        };
        let Some(role) = caller.in_role(wanted) else {
            return Err(Refusal::new(
                CloseCode::WRONG_ROLE,
                format!("this protocol is for a {wanted}, not for {caller}"),
            ));
        };
        if own_region_only && caller.region != *region {
            let reason = format!("this server is of region {region}, {caller} is not");
            return Err(Refusal::new(CloseCode::WRONG_REGION, reason));
        }
        Ok(role)
    }
}
