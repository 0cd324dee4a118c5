//! Ports of this host that the rules of any agent's bridge lead elsewhere, as the kernel has them: they are there when their agent
//! is not.

use std::io;
use std::net::IpAddr;

use crate::netlink::{attributes, text_of};
use crate::nft::{self, Family};
use crate::rules::{PORTS, TABLE_PREFIX};

/// A port that leads to an alloc of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The node.
    pub node_id: String,
    /// The address of the host; none means every one.
    pub host_ip: Option<IpAddr>,
    /// The port.
    pub host_port: u16,
}

impl std::fmt::Display for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Published { node_id, host_ip, host_port } = self;
        match host_ip {
            Some(ip) => write!(f, "{ip}:{host_port}")?,
            None => write!(f, "port {host_port} of every address")?,
        }
        write!(f, " is published by another agent on this host (node {})", node_id.get(..8).unwrap_or(node_id))
    }
}

impl Published {
    /// Whether it takes what comes to that port. `ip` none means every address.
    pub fn takes(&self, ip: Option<IpAddr>, port: u16) -> bool {
        self.host_port == port && (self.host_ip.is_none() || ip.is_none() || self.host_ip == ip)
    }
}

/// All ports that lead to allocs of other nodes: one look at the kernel's rules, however many ports are asked about.
///
/// # Errors
/// The kernel does not say what there is.
pub fn published_elsewhere(node_id: &str) -> io::Result<Vec<Published>> {
    let mut found: Vec<Published> = Vec::new();
    for family in [Family::V4, Family::V6] {
        nft::rules(family, None, |body| {
            // One rule for each protocol.
            let its = read(body).filter(|its| its.node_id != node_id && found.last() != Some(its));
            found.extend(its);
        })?;
    }
    Ok(found)
}

/// A rule of a chain of ports; none for any other.
fn read(body: &[u8]) -> Option<Published> {
    let text = |wanted: u16| attributes(body, 4).find(|(kind, _)| *kind == wanted).map(|(_, value)| text_of(value));
    let node_id = text(1)?.strip_prefix(TABLE_PREFIX)?.to_owned();
    if text(2)? != PORTS {
        return None;
    }
    let (mut host_ip, mut host_port) = (None, None);
    let (_, expressions) = attributes(body, 4).find(|(kind, _)| *kind == 4)?;
    // What the next comparison is about: part of the packet, and the place there.
    let mut about = (0, 0);
    for (_, expression) in attributes(expressions, 0) {
        let part = |wanted: u16| attributes(expression, 0).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let (name, data) = (text_of(part(1)?), part(2).unwrap_or_default());
        let field = |wanted: u16| attributes(data, 0).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let number = |wanted: u16| Some(u32::from_be_bytes(*field(wanted)?.first_chunk()?));
        match name.as_str() {
            "payload" => about = (number(2)?, number(3)?),
            "cmp" => {
                let value = attributes(field(3)?, 0).find(|(kind, _)| *kind == 1)?.1;
                match about {
                    (2, 2) => host_port = Some(u16::from_be_bytes(*value.first_chunk()?)),
                    (1, _) => host_ip = address(value),
                    _ => {}
                }
                about = (0, 0);
            }
            _ => about = (0, 0),
        }
    }
    Some(Published { node_id, host_ip, host_port: host_port? })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
